"""Examples collected over batches: a sample balanced by class, and the worst predictions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Examples = tuple[Tensor, Tensor, Tensor]  # images, targets, outputs


class Row(NamedTuple):
    """A row of a `BalancedSample`."""

    key: float
    label: int
    position: int
    """Index among all rows that were added."""
    values: tuple[Tensor, ...]


class BalancedSample:
    """At most ``size`` rows of a stream of batches, as many of each class as there are, chosen at random.

    In the order of the rows a file or folder that is sorted by class would show its first class only. The choice
    depends on the seed, the rows and their order, not on the batch size: each row draws a key, and those with the
    lowest keys of each class are kept.

    >>> sample = BalancedSample(4)
    >>> sample.add((torch.arange(100),), torch.tensor([0] * 50 + [1] * 50))
    >>> sample.labels
    [0, 1, 0, 1]
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self.rng = np.random.default_rng(seed)
        self.rows: list[Row] = []
        self.num_seen = 0

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, batch: tuple[Tensor, ...], classes: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            batch: tensors of B rows each.
            classes: (B,), or (B, K) probabilities; None: rows are drawn regardless of their class.
        """
        count = len(batch[0])
        keys = self.rng.random(count)
        labels = np.zeros(count, np.int64) if classes is None else class_labels(classes).cpu().numpy()
        known = [(row.key, row.label) for row in self.rows]
        best = balanced(
            np.array([key for key, _ in known] + keys.tolist()),
            np.array([label for _, label in known] + labels.tolist()),
        )[: self.size]
        self.rows = [
            self.rows[i]
            if (new := i - len(known)) < 0
            else Row(keys[new], int(labels[new]), self.num_seen + new, tuple(part[new].clone() for part in batch))
            for i in best.tolist()
        ]
        self.num_seen += count

    @property
    def labels(self) -> list[int]:
        return [row.label for row in self.rows]

    @property
    def positions(self) -> list[int]:
        """The index of each row among all rows of the stream."""
        return [row.position for row in self.rows]

    def stacked(self) -> tuple[Tensor, ...]:
        """The rows as tensors: the first of each class, in random order, then the second of each, …"""
        return tuple(torch.stack(part) for part in zip(*(row.values for row in self.rows), strict=True))


def balanced(keys: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Indices of rows by their rank among the keys of their class, then by key."""
    order = np.lexsort((keys, labels))
    sorted_labels = labels[order]
    ranks = np.empty(len(keys), np.int64)
    ranks[order] = np.arange(len(keys)) - np.searchsorted(sorted_labels, sorted_labels)
    return np.lexsort((keys, ranks))


def class_labels(target: Tensor) -> Tensor:
    """(N,) classes as they are, or the most probable ones of (N, K)."""
    return target.argmax(1) if target.ndim == 2 else target


def join(left: Examples | None, right: Examples) -> Examples:
    return right if left is None else tuple(torch.cat(pair) for pair in zip(left, right, strict=True))  # type: ignore[return-value]


def take(examples: Examples, rows: slice | Tensor) -> Examples:
    return tuple(t[rows] for t in examples)  # type: ignore[return-value]


def worst(examples: Examples, max_examples: int) -> Examples:
    """The wrong predictions with the highest probability, most confident first."""
    _, target, output = examples
    confidence, predicted = output.float().softmax(1).max(1)
    wrong_confidence = torch.where(predicted != class_labels(target), confidence, -1.0)
    top = wrong_confidence.topk(min(max_examples, len(wrong_confidence)))
    return take(examples, top.indices[top.values >= 0])


def mistakes_heading(num: int) -> str:
    """What a figure of this many mistakes is headed.

    >>> mistakes_heading(1), mistakes_heading(12)
    ('the only mistake', 'the 12 most confident mistakes')
    """
    return "the only mistake" if num == 1 else f"the {num} most confident mistakes"
