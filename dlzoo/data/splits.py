"""Seeded splits of rows into training and held-out sets."""

from __future__ import annotations

import heapq
from typing import Protocol

import torch
from torch import Tensor

from dlzoo.errors import UserError
from dlzoo.specs.base import Target


class Rows(Protocol):
    """What a split needs: the number of rows and their targets."""

    @property
    def num_rows(self) -> int: ...

    @property
    def y(self) -> Tensor: ...


def holdout(rows: Rows, target: Target, size: int | float, *, seed: int, last: bool = False) -> tuple[Tensor, Tensor]:
    """Row indices (kept, held out), each sorted.

    Args:
        size: number of rows to hold out (int), or their fraction (float).
        seed: selects random rows, stratified by class with the largest-remainder method; if possible, each class
            has at least one row on both sides.
        last: hold out the last rows instead, as some published results do.
    """
    n = rows.num_rows
    num_held = round(n * size) if isinstance(size, float) else size
    if not 0 < num_held < n:
        raise UserError(
            f"{num_held} of {n} rows cannot be held out: change data.val_size, data.val_fraction or data.test_fraction"
        )
    if last:
        return torch.arange(n - num_held), torch.arange(n - num_held, n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    held = order[:num_held]
    labels = target.strata(rows.y)
    if labels is not None:
        counts = labels.bincount().tolist()
        by_class = order[labels[order].argsort(stable=True)].split(counts)
        held = torch.cat([rows[:k] for rows, k in zip(by_class, _allocate(counts, num_held), strict=True)])
    mask = torch.zeros(n, dtype=torch.bool)
    mask[held] = True
    return (~mask).nonzero().flatten(), mask.nonzero().flatten()


def holdout_groups(groups: Tensor, size: int | float, *, seed: int, rule: str) -> tuple[Tensor, Tensor]:
    """Row indices (kept, held out), each sorted, with all rows of a group on the same side.

    Groups are held out in random order; one with more rows than are still wanted is kept.

    Args:
        groups: (N,) int64, the group of each row.
        size: number of rows to hold out (int), or their fraction (float); fewer if the groups do not add up to it.
        rule: which rows form a group, for the message.
    """
    n = len(groups)
    num_held = round(n * size) if isinstance(size, float) else size
    counts = groups.bincount()
    held, left = torch.zeros(len(counts), dtype=torch.bool), num_held
    for group in torch.randperm(len(counts), generator=torch.Generator().manual_seed(seed)).tolist():
        if 0 < counts[group] <= left:
            held[group] = True
            left -= int(counts[group])
    mask = held[groups]
    if mask.all() or not mask.any():
        raise UserError(
            f"{num_held} of {n} rows cannot be held out: {rule}, in groups of up to {int(counts.max())} rows here; "
            "give more data, or change data.val_size, data.val_fraction or data.test_fraction"
        )
    return (~mask).nonzero().flatten(), mask.nonzero().flatten()


def sample_per_class(rows: Rows, kept: Tensor, target: Target, per_class: int, *, seed: int) -> Tensor:
    """``per_class`` random row indices of each class out of ``kept``, sorted."""
    if target.classes is None:
        raise UserError(f"data.train_per_class requires classes, but this data gives {target.what}")
    order = kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(seed))]
    labels = rows.y[order]
    counts = labels.bincount(minlength=target.num_outputs).tolist()
    by_class = [part[:per_class] for part in order[labels.argsort(stable=True)].split(counts)]
    if scarce := [name for name, sample in zip(target.names, by_class, strict=True) if len(sample) < per_class]:
        raise UserError(
            f"data.train_per_class={per_class}: the training data have fewer rows of {', '.join(scarce)}; lower it"
        )
    return torch.cat(by_class).sort().values


def _allocate(counts: list[int], num_held: int) -> list[int]:
    """Rows to hold out of each class, by the largest-remainder method; if possible, each class is on both sides."""
    n = sum(counts)
    least, most = [min(c // 2, 1) for c in counts], [max(c - 1, 0) for c in counts]
    least = least if sum(least) <= num_held else [0] * len(counts)
    most = most if sum(most) >= num_held else counts
    quotas = [min(max(c * num_held // n, low), high) for c, low, high in zip(counts, least, most, strict=True)]
    missing = num_held - sum(quotas)
    step, limit = (1, most) if missing > 0 else (-1, least)
    free = [(step * (quotas[k] * n - c * num_held), k) for k, c in enumerate(counts) if quotas[k] != limit[k]]
    heapq.heapify(free)  # the largest remainder first, of equal ones the first class
    for _ in range(abs(missing)):
        remainder, k = heapq.heappop(free)
        quotas[k] += step
        if quotas[k] != limit[k]:
            heapq.heappush(free, (remainder + n, k))
    return quotas
