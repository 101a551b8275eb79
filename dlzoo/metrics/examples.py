"""Examples collected over batches: the first, and the worst predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    pass


Examples = tuple[Tensor, Tensor, Tensor]  # pictures, targets, outputs


def join(left: Examples | None, right: Examples) -> Examples:
    return right if left is None else tuple(torch.cat(pair) for pair in zip(left, right, strict=True))  # type: ignore[return-value]


def take(examples: Examples, rows: slice | Tensor) -> Examples:
    return tuple(t[rows] for t in examples)  # type: ignore[return-value]


def worst(examples: Examples, most: int) -> Examples:
    """The wrong ones with the highest probability, in falling order."""
    _, target, output = examples
    share, guess = output.float().softmax(1).max(1)
    labels = target.argmax(1) if target.ndim == 2 else target
    surety = torch.where(guess != labels, share, -1.0)
    top = surety.topk(min(most, len(surety)))
    return take(examples, top.indices[top.values >= 0])
