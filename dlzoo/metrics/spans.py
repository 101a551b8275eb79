"""Spans of words, as tags with B-, I- and O mark them, and the F1 of predicted ones.

A span counts as found if its first word, its last word and its kind are right, as in the CoNLL-2000 and CoNLL-2003
shared tasks. Here in place of seqeval, whose last release is of 2020 and which takes all sentences at once: counts add
up over batches and processes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

Span = tuple[int, int, str]
"""First word, the one after the last, and kind."""


def spans_of(tags: Sequence[str]) -> set[Span]:
    """The spans of a sentence. One that begins with I- counts, as in conlleval; a tag without a mark, such as NOUN,
    ends a span and is none.

    >>> sorted(spans_of(["B-PER", "I-PER", "O", "I-LOC", "B-LOC", "I-ORG"]))
    [(0, 2, 'PER'), (3, 4, 'LOC'), (4, 5, 'LOC'), (5, 6, 'ORG')]
    """
    found: set[Span] = set()
    start, kind = 0, ""
    for i, tag in enumerate([*tags, "O"]):
        mark, own = tag[:2], tag[2:] if tag[:2] in ("B-", "I-") else ""
        if kind and (mark != "I-" or own != kind):
            found.add((start, i, kind))
            kind = ""
        if own and not kind:
            start, kind = i, own
    return found


class SpanScores(Metric):
    """Precision, recall and F1 of spans over all sentences; 0 where there are none."""

    right: Tensor
    predicted: Tensor
    actual: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("right", "predicted", "actual"):
            self.add_state(name, torch.tensor(0, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predicted: Sequence[str], actual: Sequence[str]) -> None:
        """The tags of one sentence."""
        found, real = spans_of(predicted), spans_of(actual)
        self.right += len(found & real)
        self.predicted += len(found)
        self.actual += len(real)

    def compute(self) -> dict[str, Tensor]:
        precision, recall = (self.right / total.clamp(min=1) for total in (self.predicted, self.actual))
        return {
            "precision": precision,
            "recall": recall,
            "f1": 2 * self.right / (self.predicted + self.actual).clamp(min=1),
        }
