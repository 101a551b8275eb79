"""The first steps of every experiment are those that were written down: a change of a figure must be meant.

On the machine and the PyTorch version that wrote them, losses and weights are equal to the last bit; elsewhere, losses
to 1e-4. Runs are in double precision, initial weights too: in single precision, BatchNorm over a few rows and a GAN
multiply what another processor rounds differently beyond that within 20 steps. Data are embedded, or generated in the
form of the published files. To write them anew, after a change that is meant to change figures:
``DLZOO_WRITE_GOLDEN=1 pytest tests/runs/test_golden.py``.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from test_experiments import EXPERIMENTS, stand_in_weights
from torch import Tensor

from dlzoo.config import compose as config
from dlzoo.config.yaml_files import CONFIG_DIR

golden = importlib.import_module("scripts.golden")

FOLDER = Path(__file__).parents[1] / "golden"
NUM_STEPS = 20
ELSEWHERE = 1e-4
"""Relative tolerance of losses on another processor, or with another PyTorch."""


def overrides_of(name: str, data_dir: Path) -> list[str]:
    """An experiment as it is, but for its length and the size of its validation set."""
    cfg = config.compose([f"experiment={name}"])
    changes = [f"data_dir={data_dir}", "trainer=cpu", "logger=none", "deterministic=true", "test=false"]
    changes += ["trainer.precision=64-true", "trainer.limit_val_batches=1"]
    changes += [f"trainer.max_epochs={NUM_STEPS}", f"trainer.max_steps={NUM_STEPS}"]
    changes += ["data.val_size=20"] if "val_size" in cfg.data else []
    if "torchvision" in cfg.net._target_ or "dcgan" in cfg.net._target_:
        changes += ["data.batch_size=4", "data.eval_batch_size=4"]
    if "torchvision" in cfg.net._target_:  # so few rows diverge at the rate of a full batch
        changes += ["optimizer.lr=0.001"]
    if "Shakespeare" in cfg.data._target_:
        changes += ["data.batch_size=4", "data.num_steps=16"]
    if "tasks.sound" in cfg.task._target_:
        changes += ["data.batch_size=2", "data.eval_batch_size=2", "task.window=64"]
    elif "data.audio" in cfg.data._target_:
        changes += ["data.seconds=0.2", "data.batch_size=16"]
    if "placed_digits" in cfg.data._target_:
        changes += ["data.num_samples=400", "data.num_test=40", "data.batch_size=16"]
    if "num_buckets" in cfg.net:
        changes += ["net.num_buckets=1000"]
    if "pca" in cfg.net._target_:  # a closed form, which is the same in each epoch
        changes += ["trainer.max_epochs=1", "trainer.max_steps=1"]
    if "learning_starts" in cfg.task:
        changes += ["data.steps_per_epoch=400", "task.learning_starts=200", "trainer.max_steps=400"]
    elif "val_episodes" in cfg.data:  # a table, which is corrected at each step
        changes += ["data.steps_per_epoch=100", "trainer.max_steps=2000"]
    if "val_episodes" in cfg.data:
        changes += ["data.val_episodes=1", "data.test_episodes=1"]
    own = OmegaConf.load(CONFIG_DIR / "experiment" / f"{name}.yaml").get("callbacks", {})
    return [f"experiment={name}", *changes, f"callbacks=[{','.join(['history', 'checkpoint', *own])}]"]


NORMAL = torch.Tensor.normal_


def drawn_in_double(
    self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: torch.Generator | None = None
) -> Tensor:
    """`Tensor.normal_`, whose single-precision draws differ between instruction sets in the last digit."""
    return self.copy_(NORMAL(torch.empty(self.shape, dtype=torch.float64), mean, std, generator=generator))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_first_steps(name: str, stand_in_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config.compose([f"experiment={name}"])
    if "Lunar" in cfg.data.get("id", ""):
        pytest.importorskip("Box2D")  # needs a compiler; not in the test extra
    monkeypatch.setattr(torch.Tensor, "normal_", drawn_in_double)
    weights = stand_in_weights(name, tmp_path, monkeypatch)
    run = golden.run([*overrides_of(name, stand_in_data), *weights], tmp_path / "run")
    losses = {key: values[:NUM_STEPS] for key, values in run["losses"].items()}
    recorded: dict[str, Any] = {"platform": golden.platform_of_run(), "losses": losses, "weights": run["weights"]}
    is_one_step = {len(values) for values in losses.values()} == {1}  # of a closed form
    assert is_one_step or any(len(set(values)) > 1 for values in losses.values()), "nothing that changes was recorded"
    path = FOLDER / f"{name}.json"
    if "DLZOO_WRITE_GOLDEN" in os.environ:
        FOLDER.mkdir(exist_ok=True)
        path.write_text(json.dumps(recorded, indent=1) + "\n")
    expected = json.loads(path.read_text())
    if expected["platform"] == recorded["platform"]:
        found = golden.differences(expected, recorded)
    else:
        found = golden.differences(expected["losses"], losses, tolerance=ELSEWHERE)
    assert found == []


def test_differences_are_noticed() -> None:
    before = {"losses": {"loss": [1.0, 0.5]}, "weights": "a"}
    assert golden.differences(before, before) == []
    after = {"losses": {"loss": [1.0, 0.500001]}, "weights": "a"}
    assert golden.differences(before, after) == [".losses.loss[1]: 0.5 and 0.500001"]
    assert golden.differences(before, after, tolerance=1e-4) == []
    assert golden.differences(before, {"losses": {"loss": [1.0]}}) == [
        ".weights: only in one of them", ".losses.loss: 2 and 1 values",
    ]  # fmt: skip


def test_every_file_is_of_an_experiment() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} <= {*EXPERIMENTS}
