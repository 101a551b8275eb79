"""Calibration: bins by hand, and the error of classifiers that know or do not know how sure they may be."""

from __future__ import annotations

import pytest
import torch

from dlzoo.metrics.calibration import reliability


def test_bins_by_hand() -> None:
    confidence = torch.tensor([0.55, 0.58, 0.95, 0.97, 0.99, float("nan")])
    correct = torch.tensor([True, False, True, True, False, True])
    bins = reliability(confidence, correct)
    assert bins.counts.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 3]
    assert bins.accuracy[[5, 9]].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert bins.confidence[[5, 9]].tolist() == pytest.approx([0.565, 0.97])
    assert bins.expected_error == pytest.approx((2 * 0.065 + 3 * (0.97 - 2 / 3)) / 5)


@pytest.mark.parametrize(("scale", "error"), [(1.0, 0.0), (0.8, 0.15)])
def test_the_error_is_by_how_much_confidence_exceeds_accuracy(scale: float, error: float) -> None:
    generator = torch.Generator().manual_seed(0)
    confidence = 0.5 + 0.5 * torch.rand(50_000, generator=generator)
    correct = torch.rand(50_000, generator=generator) < scale * confidence
    assert reliability(confidence, correct).expected_error == pytest.approx(error, abs=0.01)


def test_a_confidence_on_an_edge_counts_for_the_lower_bin() -> None:
    assert reliability(torch.tensor([0.5]), torch.tensor([True])).counts.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]


def test_certainty_and_nothing_at_all() -> None:
    assert reliability(torch.ones(3), torch.ones(3, dtype=torch.bool)).counts[-1] == 3
    assert reliability(torch.zeros(0), torch.zeros(0, dtype=torch.bool)).expected_error == 0
