"""Baselines beside a table's test metrics: which are reported, and what is said of a net below them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dlzoo.callbacks.table_baselines import TableBaselines

FEW = ("trainer=cpu", "logger=none", "callbacks=[checkpoint,table_baselines]")


def prices(folder: Path, num_rows: int = 600) -> Path:
    """Two numbers and a category that explain a price of 90 to 530 nearly linearly."""
    rng = np.random.default_rng(0)
    size, age = rng.uniform(30, 200, num_rows), rng.uniform(0, 80, num_rows)
    kind = rng.choice(["flat", "house", "loft"], num_rows)
    price = 90 + 1.8 * size - 0.6 * age + 60 * (kind == "house") + 25 * (kind == "loft") + rng.normal(0, 12, num_rows)
    path = folder / "prices.csv"
    pd.DataFrame({"size": size, "age": age, "kind": kind, "price": price}).to_csv(path, index=False)
    return path


def results_of(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "outputs").rglob("results.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize("model", ["linear", "mlp"])
def test_the_defaults_come_close_to_linear_regression(model: str, train: Callable[..., Any], tmp_path: Path) -> None:
    """Prices of hundreds are learned with the usual options: not scaled, their R2 was below -10."""
    outcome = train(f"model={model}", "data=csv", f"data.path={prices(tmp_path)}", "data.target=price", *FEW)
    assert outcome.code == 0
    metrics = results_of(tmp_path)["metrics"]
    assert metrics["baseline/r2_linear"] > 0.97
    assert metrics["test/r2"] > metrics["baseline/r2_linear"] - 0.01
    assert metrics["test/rmse"] < metrics["baseline/rmse_linear"] * 1.2
    assert metrics["test/loss"] == pytest.approx(metrics["test/rmse"] ** 2, rel=1e-4), "the loss has the units"
    rows = dict(re.findall(r"^(\w+|baseline \w+) +[\d.]+ +[\d.]+ +([-\d.]+)$", outcome.out, re.MULTILINE))
    assert float(rows[model]) == pytest.approx(metrics["test/r2"], rel=1e-3), "not the method of this name"
    assert float(rows["baseline linear"]) == pytest.approx(metrics["baseline/r2_linear"], rel=1e-3)


def test_a_net_below_a_baseline_is_named(train: Callable[..., Any], tmp_path: Path) -> None:
    words = ("model=linear", "data=csv", f"data.path={prices(tmp_path)}", "data.target=price", *FEW)
    outcome = train(*words, "optimizer.lr=1e-5", "trainer.max_epochs=1")
    assert outcome.code == 0
    assert "warning: test/r2" in outcome.err
    assert "is below the baselines (" in outcome.err
    assert "optimizer.lr" in outcome.err


def test_classes_have_other_rivals(train: Callable[..., Any], tmp_path: Path) -> None:
    outcome = train("model=softmax", "data=iris", *FEW, "trainer.max_epochs=1")
    assert outcome.code == 0
    metrics = results_of(tmp_path)["metrics"]
    assert {name for name in metrics if name.startswith("baseline/accuracy")} == {
        "baseline/accuracy_majority",
        "baseline/accuracy_logistic",
        "baseline/accuracy_boosting",
    }


def test_images_have_none(train: Callable[..., Any], tmp_path: Path) -> None:
    outcome = train("model=mlp", "data=digits", *FEW, "trainer.max_epochs=1")
    assert outcome.code == 0
    assert not [name for name in results_of(tmp_path)["metrics"] if name.startswith("baseline/")]


def test_advice_depends_on_the_rival() -> None:
    assert "hard to beat" in TableBaselines.advice("r2", 0.5, {"boosting": 0.8})
    assert "train longer" in TableBaselines.advice("r2", 0.5, {"linear": 0.6, "boosting": 0.8})
