"""Every model that makes images, from configs/model, with all callbacks on all kinds of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from small_runs import Train, newest_run

from dlzoo.config import groups
from dlzoo.config import introspection as signatures
from dlzoo.config.yaml_files import CONFIG_DIR
from dlzoo.metrics import reference_classifier as ruler
from dlzoo.tasks.gan import Adversarial
from dlzoo.tasks.interfaces import Decoding, Encoding, EnergyBased, Generating, GibbsSampling, Grouping, Recalling

TASKS = {
    name: signatures.locate(OmegaConf.load(CONFIG_DIR / "model" / f"{name}.yaml").task._target_, "task._target_")
    for name in groups.names()["model"]
}
MODELS = [name for name, task in TASKS.items() if issubclass(task, Decoding)]
SLOW = {"hopfield"}
"""Draws a film of 784 units, one after the other; modern_hopfield has the same task and pictures."""
every_model = pytest.mark.parametrize(
    "model", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in MODELS]
)
TABLES_TOO = {"kmeans", "pca"}
"""Models that make images, but take tables as well: clusters and components are those of rows of any kind."""
SMOKE = ("trainer=smoke", "trainer.accelerator=cpu")


@pytest.fixture(autouse=True)
def _quick_ruler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ruler.RECIPE, "least_steps", 2)
    monkeypatch.setitem(ruler.RECIPE, "epochs", 1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of colour images, wider than high."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in ("cat", "dog", "newt"):
        (folder / name).mkdir()
        for i in range(30):
            Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(folder / name / f"{i}.png")
    return folder


def words_of(model: str) -> list[str]:
    arguments = signatures.arguments(TASKS[model])
    words = ["task.num_importance_samples=2"] if "num_importance_samples" in arguments else []
    words += ["callbacks.recall.num_units=50"] if issubclass(TASKS[model], Recalling) else []
    # task.statistics=exact enumerates the states of the pixels, and refuses so many
    return [*words, "task.statistics=sampled"] if "statistics" in arguments else words


def images_of(model: str) -> set[str]:
    """The pictures that a run writes.

    All that encode show reconstructions and latents, except clusters, which are a prediction and have pictures of their
    own. All walk between latents, except where what lies between two is none: between clusters, stored memories, and
    states of binary units that generate only what a Gibbs chain has reached. All but memories, which learn in one step,
    make a film.
    """
    task = TASKS[model]
    wanted = {"learning_curves.png", "training_batch.png"}
    if issubclass(task, Grouping):
        return wanted | {"centroids.png", "clusters.png", "silhouette.png"}
    if issubclass(task, Encoding):
        wanted |= {"reconstructions.png", "worst_reconstructions.png", "latent_space.png", "projector_config.pbtxt"}
    if issubclass(task, Recalling):
        return wanted | {"recall.png", "recall.gif", "recall_limits.png"}
    if issubclass(task, Encoding) or (issubclass(task, Generating) and task.has_normal_latents):
        wanted |= {"interpolation.png"}
    wanted |= {"samples.png", "samples.gif"} if issubclass(task, Generating) else {"reconstructions.gif"}
    if issubclass(task, GibbsSampling):
        wanted |= {"filters.png", "chains.png", "chains.gif"}
    if issubclass(task, EnergyBased):
        wanted |= {"weights.png"}
    return wanted | ({"adversaries.png", "sample_classes.png"} if issubclass(task, Adversarial) else set())


def test_discovery_finds_the_models() -> None:
    assert len(MODELS) >= 13
    assert {"autoencoder", "conv_autoencoder", "vae", "cvae", "gan", "dcgan", "cgan", "wgan_gp"} <= {*MODELS}


@every_model
def test_a_model_writes_its_images(model: str, train: Train, tmp_path: Path, stand_in_data: Path) -> None:
    overrides = (f"model={model}", "data=mnist", f"data_dir={stand_in_data}", *words_of(model), *SMOKE)
    done = train(*overrides, "data.val_size=60", "callbacks.sample_quality.num_samples=40")
    assert done.code == 0, done.err
    folder = newest_run(tmp_path)
    assert images_of(model) <= {path.name for path in folder.iterdir()}
    written = {path.name.replace(".previous", "") for path in (folder / "checkpoints").iterdir()}
    assert written == {"best.ckpt", "last.ckpt"}
    assert "Traceback" not in done.err
    assert "UserWarning" not in done.err


@pytest.mark.parametrize("placement", ["auto", "workers"])
@pytest.mark.parametrize("model", ["autoencoder", "conv_autoencoder", "conv_vae", "cvae", "dcgan", "cgan"])
def test_a_model_takes_colour_images_of_a_folder(
    model: str, placement: str, train: Train, tmp_path: Path, photos: Path
) -> None:
    overrides = [f"model={model}", "data=image_folder", f"data.path={photos}", "data.size=[20,36]", *words_of(model)]
    overrides += [f"data.placement={placement}", "data.num_workers=0", "callbacks.sample_quality.num_samples=20"]
    done = train(*overrides, *SMOKE)
    assert done.code == 0, done.err
    metrics = json.loads((newest_run(tmp_path) / "results.json").read_text())["metrics"]
    measured = "test/probe_accuracy" if issubclass(TASKS[model], Encoding) else "test/frechet"
    assert (measured in metrics) == (placement == "auto" or measured == "test/probe_accuracy")


@pytest.mark.parametrize("model", ["dcgan", "vae", "cvae", "cgan"])
@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer.precision=bf16-mixed", "trainer.gradient_clip_val=1.0"],
        ["trainer.accumulate_grad_batches=2", "scheduler=cosine", "scheduler.warmup=0.5"],
        ["callbacks=[history,checkpoint,ema,early_stopping]"],
        ["augment=shift", "data.augment.mixup=0.2"],
        ["deterministic=true", "data.standardize=false"],
    ],
)
def test_options_run(model: str, overrides: list[str], train: Train, tmp_path: Path) -> None:
    plain = (f"model={model}", "trainer=cpu", "trainer.max_epochs=2", "trainer.limit_train_batches=5", *words_of(model))
    done = train(*plain, "callbacks=[history,checkpoint]", "logger=none", *overrides)
    assert done.code == 0, done.err
    metrics: dict[str, Any] = json.loads((newest_run(tmp_path) / "results.json").read_text())["metrics"]
    assert all(value is not None for value in metrics.values())


@pytest.mark.parametrize("model", [name for name in MODELS if name not in TABLES_TOO])
def test_a_model_refuses_tables(model: str, train: Train) -> None:
    done = train(f"model={model}", "data=wine")
    assert done.code == 2
    assert f"{model} takes images, but data=wine gives tables; models for tables: adaline" in done.err


@pytest.mark.parametrize("model", ["cvae", "cgan"])
def test_a_conditional_model_rejects_regression_data(model: str) -> None:
    from dlzoo.config.instantiate import fitting_models
    from dlzoo.specs.inputs import ImageSpec
    from dlzoo.specs.targets import Classes, Values

    assert model in fitting_models(ImageSpec(1, 8, 8, Classes(("a", "b"))))
    values = fitting_models(ImageSpec(1, 8, 8, Values(("angle",))))
    assert model not in values
    assert {"vae", "gan", "autoencoder"} <= {*values}
