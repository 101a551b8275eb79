"""Histograms of weights and gradients, whatever these are: to look at them never ends a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dlzoo.callbacks import weight_histograms
from dlzoo.callbacks.weight_histograms import WeightHistograms, histogram

HUGE = 3e38
ULP = float(np.nextafter(np.float32(1e8), np.float32(2e8)))


@pytest.mark.parametrize(
    "values",
    [
        torch.zeros(4),
        torch.full((4,), 1e30),
        torch.tensor([1e8, ULP]),
        torch.tensor([-HUGE, HUGE]),
        torch.tensor([1.0, float("nan"), float("inf")]),
        torch.full((3,), float("nan")),
        torch.full((3,), -float("inf")),
        torch.tensor([1e-45, 0.0]),
        torch.tensor([]),
        torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    ],
    ids=[
        "zeros",
        "huge and alike",
        "next to each other",
        "largest",
        "with nan",
        "nan",
        "infinite",
        "tiny",
        "none",
        "16",
    ],
)
def test_any_values_are_drawn(values: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[dict[str, Any]] = []
    board = SimpleNamespace(add_histogram_raw=lambda tag, **content: written.append(content))
    monkeypatch.setattr(weight_histograms, "tensorboard", lambda trainer: board)
    WeightHistograms().write(SimpleNamespace(global_step=1), "gradients", [("w", values)])  # type: ignore[arg-type]
    finite = values.double()[values.isfinite()]
    assert len(written) == bool(len(finite))
    for content in written:
        assert sum(content["bucket_counts"]) == content["num"] == len(finite)
        assert np.isfinite([content["sum"], content["sum_squares"]]).all()
        assert (np.diff(content["bucket_limits"]) > 0).all()


def test_ordinary_values_have_their_own_range() -> None:
    counts, edges = histogram(np.array([0.0, 0.1, 1.0]), bins=10)
    assert edges[[0, -1]].tolist() == [0.0, 1.0]
    assert counts.tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 1]
