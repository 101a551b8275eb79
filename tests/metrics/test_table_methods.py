"""Baselines of tables against scikit-learn and constants."""

from __future__ import annotations

import numpy as np
import pytest

from dlzoo.metrics import tables
from dlzoo.metrics.tables import Rows

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 3)).astype("float32")
VALUES = (180_000 + 9_000 * X[:, :1] - 4_000 * X[:, 1:2]).astype("float32")
CLASSES = (X[:, 0] > 0.5).astype("int64")
TRAIN, TEST = slice(0, 150), slice(150, None)


def rows(y: np.ndarray, part: slice) -> Rows:
    return Rows(X[part], y[part])


def test_values_are_measured_in_their_units() -> None:
    results, failures = tables.baselines(rows(VALUES, TRAIN), rows(VALUES, TEST))
    assert not failures
    mean = VALUES[TRAIN].mean()
    assert results["mean"]["mae"] == pytest.approx(float(np.abs(VALUES[TEST] - mean).mean()), rel=1e-5)
    assert results["mean"]["r2"] <= 0
    assert results["linear"]["rmse"] < 1
    assert results["linear"]["rmse"] < results["boosting"]["rmse"] < results["mean"]["rmse"]


def test_classes_are_counted() -> None:
    results, failures = tables.baselines(rows(CLASSES, TRAIN), rows(CLASSES, TEST))
    assert not failures
    assert results["majority"]["accuracy"] == float((CLASSES[TEST] == 0).mean())
    assert results["boosting"]["accuracy"] > results["majority"]["accuracy"]


def test_each_column_of_several_values_has_its_model() -> None:
    both = np.concatenate([VALUES, X[:, 2:]], axis=1)
    results, _ = tables.baselines(rows(both, TRAIN), rows(both, TEST))
    assert results["linear"]["r2"] > 0.999


def test_weights_reach_every_model() -> None:
    """Rows of weight 0 say the opposite: who ignores the weights learns nothing of use."""
    x = np.concatenate([X[TRAIN], X[TRAIN]])
    y = np.concatenate([CLASSES[TRAIN], 1 - CLASSES[TRAIN]])
    weight = np.repeat([1.0, 1e-6], len(X[TRAIN]))
    results, _ = tables.baselines(Rows(x, y, weight), rows(CLASSES, TEST))
    assert results["logistic"]["accuracy"] > 0.95
    assert results["boosting"]["accuracy"] > 0.9


def test_a_single_class_leaves_the_majority() -> None:
    results, failures = tables.baselines(Rows(X, np.zeros(200, "int64")), rows(CLASSES, TEST))
    assert results["majority"]["accuracy"] == float((CLASSES[TEST] == 0).mean())
    assert "class" in failures["logistic"]


def test_of_many_rows_a_sample_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_TRAIN", 20)
    few, _ = tables.baselines(rows(VALUES, TRAIN), rows(VALUES, TEST))
    monkeypatch.undo()
    all_, _ = tables.baselines(rows(VALUES, TRAIN), rows(VALUES, TEST))
    assert few["mean"]["rmse"] != all_["mean"]["rmse"]
