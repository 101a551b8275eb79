"""MiniSom, the most used self-organising map in Python, with the settings of a config of ``model=som``."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from dlzoo.errors import UserError


def with_settings(cfg: Any, num_features: int, seed: int) -> Any:
    """A map of MiniSom with the grid, neighbourhood, rate and radius of a config; its radius is ours / sqrt(2). Weights
    are drawn from N(0, 1)."""
    try:
        from minisom import MiniSom
    except ImportError:
        raise UserError("the rival of self-organising maps is MiniSom: pip install -e '.[test]'") from None
    from dlzoo.layers.unit_grid import UnitGrid

    net, task = cfg.net, cfg.task
    grid = UnitGrid(net.get("rows", 10), net.get("columns", 10), net.get("grid", "rectangular"))
    sigma = task.get("sigma") or max(grid.rows, grid.columns) / 3
    last = task.get("final_sigma", 1.0)
    som = MiniSom(
        grid.columns, grid.rows, num_features, sigma=sigma / 2**0.5, learning_rate=task.get("learning_rate", 0.5),
        topology=grid.kind, random_seed=seed, decay_function="linear_decay_to_zero",
    )  # fmt: skip
    som._sigma_decay_function = lambda start, step, steps: start + (last / 2**0.5 - start) * step / steps
    som._weights = np.random.default_rng(seed).standard_normal(som._weights.shape)
    return som


def scaled(data: Any, split: str) -> np.ndarray:
    """The rows of a split as a net compares them, (N, F) float64."""
    x = data.arrays(split).x.flatten(1).double().numpy()
    mean, std = (np.array(values or default) for values, default in ((data.spec.mean, 0.0), (data.spec.std, 1.0)))
    return (x - mean) / std


@cache
def errors(name: str, seed: int) -> dict[str, float]:
    """Errors of MiniSom's online rule on the test rows of an experiment; the rows are in a new order in each pass."""
    from scripts.rivals import config_of, data_of

    cfg, data = config_of(name, seed), data_of(name, seed)
    train, test = scaled(data, "train"), scaled(data, "test")
    som, epochs = with_settings(cfg, train.shape[1], seed), cfg.trainer.max_epochs
    order = np.random.default_rng(seed)
    for epoch in range(epochs):
        for row in order.permutation(len(train)):
            som.update(train[row], som.winner(train[row]), epoch, epochs)
    return {
        "test/quantization_error": float(som.quantization_error(test)),
        "test/topographic_error": float(som.topographic_error(test)),
    }
