"""Examples collected over batches: the first ones, and the worst predictions."""

from __future__ import annotations

import torch
from torch import Tensor

Examples = tuple[Tensor, Tensor, Tensor]  # images, targets, outputs


def join(left: Examples | None, right: Examples) -> Examples:
    return right if left is None else tuple(torch.cat(pair) for pair in zip(left, right, strict=True))  # type: ignore[return-value]


def take(examples: Examples, rows: slice | Tensor) -> Examples:
    return tuple(t[rows] for t in examples)  # type: ignore[return-value]


def worst(examples: Examples, max_examples: int) -> Examples:
    """The wrong predictions with the highest probability, most confident first."""
    _, target, output = examples
    confidence, predicted = output.float().softmax(1).max(1)
    labels = target.argmax(1) if target.ndim == 2 else target
    wrong_confidence = torch.where(predicted != labels, confidence, -1.0)
    top = wrong_confidence.topk(min(max_examples, len(wrong_confidence)))
    return take(examples, top.indices[top.values >= 0])
