"""How well errors tell anomalies from normal steps."""

from __future__ import annotations

import torch
from torch import Tensor


def detection_metrics(error: Tensor, marks: Tensor, threshold: float) -> dict[str, float]:
    """Precision, recall and F1 of the steps above a threshold, average precision over all thresholds, and the fraction
    of marked events, runs of marked steps, of which at least one step is found.

    Those that are not defined, such as recall without marks, are omitted.

    Args:
        error, marks: (H,) float and bool.

    >>> error = torch.tensor([0.0, 3.0, 1.0, 0.0, 2.0])
    >>> detection_metrics(error, torch.tensor([False, True, True, False, False]), 1.5)
    {'precision': 0.5, 'recall': 0.5, 'f1': 0.5, 'event_recall': 1.0, 'average_precision': 0.8333333333333333}
    """
    from sklearn.metrics import average_precision_score

    found = error > threshold
    hits = int((found & marks).sum())
    metrics = {}
    if found.any():
        metrics["precision"] = hits / int(found.sum())
    if marks.any():
        metrics["recall"] = hits / int(marks.sum())
        metrics["f1"] = 2 * hits / int(found.sum() + marks.sum())
        events = event_numbers(marks)
        metrics["event_recall"] = len(events[found & marks].unique()) / int(events.max())
        metrics["average_precision"] = float(average_precision_score(marks.numpy(), error.numpy()))
    return metrics


def event_numbers(marks: Tensor) -> Tensor:
    """(H,) bool -> (H,): the number of the run that a marked step belongs to, from 1.

    >>> event_numbers(torch.tensor([True, True, False, True])).tolist()
    [1, 1, 1, 2]
    """
    before = torch.cat([torch.zeros(1, dtype=torch.bool), marks[:-1]])
    return (marks & ~before).cumsum(0)
