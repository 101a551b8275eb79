"""Seeded splits: which rows are held out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dlzoo.errors import UserError
from dlzoo.specs import Classes, Target

if TYPE_CHECKING:
    from dlzoo.data.loaders import Arrays


def holdout(rows: Arrays, target: Target, size: int | float, *, seed: int, last: bool = False) -> tuple[Tensor, Tensor]:
    """Row numbers (kept, held out), each sorted.

    Args:
        size: number of rows to hold out, or their share when below 1.
        seed: the rows are random, for classes stratified (each class gives its share, at least one row where it has
            two or more, by largest remainder).
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
    if not isinstance(target, Classes):
        held = order[:num_held]
    else:
        labels = rows.y[order]
        counts = torch.bincount(labels, minlength=target.num_outputs)
        quota = counts * (num_held / n)
        take = quota.floor().long().maximum((counts >= 2).long()).minimum(counts)
        for label in torch.argsort(quota - quota.floor(), descending=True).tolist():
            if take.sum() < num_held and take[label] < counts[label]:
                take[label] += 1
        held = torch.cat([order[labels == k][: take[k]] for k in range(target.num_outputs)])
    mask = torch.zeros(n, dtype=torch.bool)
    mask[held] = True
    return (~mask).nonzero().flatten(), mask.nonzero().flatten()
