"""The tables of models, data sets and experiments."""

from __future__ import annotations

import dlzoo
from dlzoo.config import groups


def test_models_and_what_they_take() -> None:
    models = dlzoo.models()
    assert [*models.index] == groups.names()["model"]
    assert models.loc["lenet", "takes"] == "images"
    assert models["about"].str.len().min() > 10


def test_data_sets_and_the_models_that_fit() -> None:
    data = dlzoo.datasets()
    assert [*data.index] == groups.names()["data"]
    assert "lenet" in data.loc["mnist", "models"].split(", ")
    assert "lenet" not in data.loc["wine", "models"].split(", ")
    assert data.loc["mnist", "about"].startswith("Handwritten digits")


def test_experiments_and_what_they_claim() -> None:
    experiments = dlzoo.experiments()
    assert [*experiments.index] == groups.names()["experiment"]
    assert experiments.loc["vae_mnist", ["model", "data"]].tolist() == ["vae", "mnist"]
    assert "test/neg_elbo ≤" in experiments.loc["vae_mnist", "claims"]
