"""The rivals of the experiments: methods that learn, selected on validation rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlzoo.errors import UserError
from scripts import rival_densities, rival_maps, rivals


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


def test_the_rival_of_a_map_has_its_settings() -> None:
    """Its radius is ours divided by the root of 2, since it halves the exponent."""
    cfg = rivals.config_of("som_colors", 0)
    assert {*rivals.methods_for("som_colors", 0)} == {"test/quantization_error", "test/topographic_error"}
    som = rival_maps.with_settings(cfg, 3, seed=0)
    assert som.get_weights().shape == (30, 30, 3)
    for i in (0, 100, 399):
        assert som._learning_rate_decay_function(som._learning_rate, i, 400) == pytest.approx(0.5 * (1 - i / 400))
        sigma = som._sigma_decay_function(som._sigma, i, 400)
        assert sigma * 2**0.5 == pytest.approx(10 * (1 - i / 400))
        apart = som.neighborhood((4, 7), sigma)[6, 10]
        assert apart == pytest.approx(np.exp(-(2**2 + 3**2) / (10 * (1 - i / 400)) ** 2))
    rows = rival_maps.scaled(rivals.data_of("som_colors", 0), "train")
    assert (rows.min(), rows.max(), len(rows)) == (0, 1, 16)


@pytest.mark.parametrize(
    ("name", "metric", "method", "low", "high"),
    [
        ("kmeans_iris", "test/purity", "gaussian_mixture", 0.85, 1.0),  # the classes are nearly Gaussian
        ("counting_rnn", "test/rmse", "least_squares", 0.0, 1e-4),  # the number of ones is linear
        ("q_table_frozenlake", "test/return", "value_iteration", 0.68, 0.8),  # the best policy reaches 0.74
        ("q_table_frozenlake", "test/return", "random", 0.0, 0.05),
    ],
)
def test_methods_of_claimed_metrics(name: str, metric: str, method: str, low: float, high: float) -> None:
    found = rivals.methods_for(name, 0)
    assert {*found} <= {claim["metric"] for claim in rivals.config_of(name, 0).expect}
    assert low <= found[metric][method]() <= high


def test_the_rule_of_a_pole_balances_it() -> None:
    data = rivals.data_of("dqn_cartpole", 0)
    data.test_episodes = 4
    agents = rivals.rival_agents.methods(data)
    assert agents["rule"]() > 200 > 60 > agents["random"]()


def test_a_mixture_of_independent_pixels_finds_the_groups_that_the_pixels_depend_on() -> None:
    """Two groups of rows, each certain of its pixels: log 1/2 a row, where independent pixels have 6 log 1/2."""
    draw = np.random.default_rng(0)
    x = np.repeat(draw.integers(0, 2, (3000, 1)), 6, axis=1).astype(np.float32)
    model = rival_densities.fit(x, 8, lambda rows: rows, draw)
    assert rival_densities.log_likelihood(x, *model).mean() == pytest.approx(np.log(0.5), abs=0.02)
