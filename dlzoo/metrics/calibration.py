"""How far the probabilities of a classifier can be trusted.

C. Guo et al., "On Calibration of Modern Neural Networks", 2017: among predictions made with confidence 80%, 80% should
be right.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Reliability(NamedTuple):
    """Predictions in bins of equal width by confidence."""

    edges: Tensor
    """(B + 1,), from 0 to 1."""
    counts: Tensor
    """(B,)"""
    confidence: Tensor
    """(B,), its mean in each bin; NaN in an empty one."""
    accuracy: Tensor
    """(B,), likewise."""

    @property
    def expected_error(self) -> float:
        """The expected calibration error: the mean over all predictions of |accuracy - confidence| in their bin."""
        gaps = (self.accuracy - self.confidence).abs().nan_to_num(0.0)
        return float((gaps * self.counts).sum() / self.counts.sum().clamp(min=1))


def reliability(confidence: Tensor, correct: Tensor, num_bins: int = 10) -> Reliability:
    """Bin predictions by confidence.

    Args:
        confidence: (N,), the probability of the predicted class; rows that are not finite are omitted.
        correct: (N,), whether it is the true one.

    >>> bins = reliability(torch.tensor([0.9, 0.9, 0.9, 0.5]), torch.tensor([True, True, False, True]), 2)
    >>> bins.counts.tolist(), round(bins.expected_error, 4)
    ([1.0, 3.0], 0.3)
    """
    finite = confidence.isfinite()
    confidence, correct = confidence[finite].double().cpu(), correct[finite].double().cpu()
    edges = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64)
    bins = torch.bucketize(confidence, edges[1:-1])  # a confidence on an edge counts for the lower bin
    counts, confidences, hits = (
        torch.bincount(bins, weights, minlength=num_bins).double()
        for weights in (torch.ones_like(confidence), confidence, correct)
    )
    return Reliability(edges, counts, confidences / counts, hits / counts)
