"""Seeded splits: which rows are held out."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from dlzoo.errors import UserError
from dlzoo.specs.base import Target


class Rows(Protocol):
    """What a split must know of the rows: their number, and their targets."""

    @property
    def num_rows(self) -> int: ...

    @property
    def y(self) -> Tensor: ...


def holdout(rows: Rows, target: Target, size: int | float, *, seed: int, last: bool = False) -> tuple[Tensor, Tensor]:
    """Row numbers (kept, held out), each sorted.

    Args:
        size: number of rows to hold out, or their share when below 1.
        seed: the rows are random, for classes stratified: each gives its share, by largest remainder, but where the
            numbers allow at least one row and never its last.
        last: hold out the last rows instead, as the sources of some figures do.
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
        held = torch.cat([own[:k] for own, k in zip(by_class, _shares(counts, num_held), strict=True)])
    mask = torch.zeros(n, dtype=torch.bool)
    mask[held] = True
    return (~mask).nonzero().flatten(), mask.nonzero().flatten()


def few(rows: Rows, keep: Tensor, target: Target, per_class: int, *, seed: int) -> Tensor:
    """Of the row numbers ``keep``, so many random ones of each class, sorted."""
    if target.classes is None:
        raise UserError(f"data.train_per_class is for classes, but this data gives {target.what}")
    order = keep[torch.randperm(len(keep), generator=torch.Generator().manual_seed(seed))]
    labels = rows.y[order]
    found = [order[labels == k][:per_class] for k in range(target.num_outputs)]
    if scarce := [name for name, own in zip(target.names, found, strict=True) if len(own) < per_class]:
        raise UserError(f"data.train_per_class={per_class}: train has fewer rows of {', '.join(scarce)}")
    return torch.cat(found).sort().values


def _shares(counts: list[int], num_held: int) -> list[int]:
    """How many of each class to hold out, by largest remainder; each class is on both sides where numbers allow."""
    n = sum(counts)
    least, most = [min(c // 2, 1) for c in counts], [max(c - 1, 0) for c in counts]
    least = least if sum(least) <= num_held else [0] * len(counts)
    most = most if sum(most) >= num_held else counts
    shares = [min(max(c * num_held // n, low), high) for c, low, high in zip(counts, least, most, strict=True)]
    while missing := num_held - sum(shares):
        step = 1 if missing > 0 else -1
        limit = most if step > 0 else least
        free = [k for k in range(len(counts)) if shares[k] != limit[k]]
        shares[max(free, key=lambda k: step * (counts[k] * num_held - shares[k] * n))] += step
    return shares
