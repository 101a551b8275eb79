"""The rivals of the experiments: methods that learn, selected on validation rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlzoo.errors import UserError
from scripts import rivals


def parts(x: Any, y: np.ndarray) -> rivals.Splits:
    """Three splits of equal size."""
    third = len(y) // 3
    first, second, last = ((x[i * third : (i + 1) * third], y[i * third : (i + 1) * third]) for i in range(3))
    return first, second, last


@pytest.mark.parametrize("method", [rivals.logistic, rivals.nearest_neighbours, rivals.kernel_ridge])
def test_rivals_of_images(method: Any) -> None:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))[:900]
    options = {"num_features": 400} if method is rivals.kernel_ridge else {}
    assert method(parts(x[order] / 16, y[order]), **options) > 0.88


def texts(num: int) -> tuple[list[str], np.ndarray]:
    """Sentences whose class is decided by a pair of words, not by one of them."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, num)
    noise = rng.choice(["film", "plot", "cast", "end"], (num, 4))
    pairs = {0: ("not good", "very bad"), 1: ("very good", "not bad")}
    return [f"{' '.join(noise[i])} {pairs[y[i]][i % 2]} {noise[i, 0]}" for i in range(num)], y


@pytest.mark.parametrize("method", [rivals.tfidf, rivals.nbsvm])
def test_rivals_of_texts_read_pairs_of_words(method: Any) -> None:
    assert method(parts(*texts(300))) > 0.97


def test_the_best_in_validation_is_tested() -> None:
    class Model:
        def __init__(self, scores: dict[int, float]) -> None:
            self.scores = scores

        def fit(self, x: Any, y: Any) -> Model:
            return self

        def score(self, x: Any, y: Any) -> float:
            return self.scores[x]

    none = np.empty(0)
    models = [Model({1: 0.8, 2: 0.9}), Model({1: 0.9, 2: 0.7})]
    assert rivals.best_on_validation(models, ((0, none), (1, none), (2, none))) == 0.7


def test_forecasters_beat_the_last_value() -> None:
    pytest.importorskip("statsforecast", reason="pip install statsforecast")
    data = rivals.data_of("lstm_air_passengers", 0)
    history, truth = (column[0, :, 0].numpy() for column in data.arrays("test")[:2])
    naive = float(np.sqrt(np.mean((truth - history[-1]) ** 2)))
    assert rivals.forecast(data, "auto_ces") < naive / 2


@pytest.mark.parametrize("content", [{"a": 1}, {"a": {"b": 1}}, {"a": {"b": ["x"]}}, {"a": {"b\n": [1]}}])
def test_forged_values_are_refused(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "results" / "rivals" / "mlp_xor.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"mlp_xor\.json"):
        rivals.load(tmp_path, "mlp_xor")
