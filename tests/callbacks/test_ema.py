"""Averaged weights: how fast they follow, and that what is measured, saved and drawn are the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from dlzoo.callbacks.base import Report
from dlzoo.callbacks.ema import EMAWeightAveraging, average
from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.errors import UserError
from dlzoo.nets.gan import GAN
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes
from dlzoo.tasks.base import Task
from dlzoo.tasks.gan import Adversarial

SPEC = ImageSpec(1, 4, 4, Classes(("a", "b")))


class Images(InMemoryData):
    def declare(self) -> ImageSpec:
        return SPEC

    def load(self, split: str) -> Arrays:  # type: ignore[override]
        x = torch.randint(256, (96, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        return Arrays(x, torch.arange(96) % 2)


class Drawn(Report):
    """Notes the weights that a report draws after each epoch."""

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []

    def applies_to(self, task: Task) -> bool:
        return True

    def write_epoch(self, trainer: pl.Trainer, task: Task) -> None:
        self.weights.append(flat(task.net))


def flat(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def fit(folder: Path, **options: Any) -> tuple[Adversarial, pl.Trainer, Drawn]:
    torch.manual_seed(0)
    net = GAN(SPEC, generator=[8], discriminator=[8], latent_dim=4)
    task = Adversarial(net, SPEC, optimizer=lambda p, lr=0.05: torch.optim.SGD(p, lr))
    drawn = Drawn()
    trainer = pl.Trainer(
        max_epochs=2, callbacks=[EMAWeightAveraging(**options), drawn], logger=False, accelerator="cpu",
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    task.setup_trainer(trainer)
    trainer.fit(task, Images(batch_size=16, val_size=32))
    trainer.save_checkpoint(folder / "last.ckpt")
    return task, trainer, drawn


def test_a_task_that_measures_when_validation_ends_measures_the_saved_weights(tmp_path: Path) -> None:
    task, trainer, drawn = fit(tmp_path, decay=0.9)
    measured = float(trainer.callback_metrics["val/energy_distance"])
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    averaged = {k.removeprefix("net."): v for k, v in saved["state_dict"].items() if k.startswith("net.")}
    task.net.load_state_dict(averaged)
    torch.testing.assert_close(drawn.weights[-1], flat(task.net), rtol=0, atol=0)
    (again,) = trainer.validate(task, Images(batch_size=16, val_size=32), verbose=False)
    assert again["val/energy_distance"] == pytest.approx(measured, rel=1e-5)


def test_before_the_first_update_the_raw_weights_are_evaluated(tmp_path: Path) -> None:
    """A run shorter than ``update_starting_at_step`` ends with the weights that it learnt, not the initial ones."""
    task, _, drawn = fit(tmp_path, update_starting_at_step=1000)
    torch.manual_seed(0)
    initial = flat(GAN(SPEC, generator=[8], discriminator=[8], latent_dim=4))
    assert (flat(task.net) - initial).abs().max() > 1e-3
    torch.testing.assert_close(drawn.weights[-1], flat(task.net))
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    torch.testing.assert_close(saved["net.generator.0.weight"], task.net.state_dict()["generator.0.weight"])


@pytest.mark.parametrize(("warmup", "expected"), [(True, 0.99), (False, 0.18)])
def test_a_warm_up_forgets_the_first_weights(warmup: bool, expected: float) -> None:
    """Weights that jump from 0 to 1 after the first update, averaged with a decay of 0.99 over 20 more."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    averaged = AveragedModel(net, avg_fn=average(0.99, warmup))
    averaged.update_parameters(net)
    nn.init.ones_(net.weight)
    for _ in range(20):
        averaged.update_parameters(net)
    assert float(averaged.module.weight) == pytest.approx(expected, abs=0.01)


def test_counts_are_not_averaged() -> None:
    net = nn.BatchNorm1d(1)
    averaged = AveragedModel(net, avg_fn=average(0.99, warmup=True), use_buffers=True)
    for count in (1, 2, 3):
        net.num_batches_tracked.fill_(count)
        averaged.update_parameters(net)
    assert int(averaged.module.num_batches_tracked) == 3


def test_a_decay_is_a_fraction() -> None:
    with pytest.raises(UserError, match=r"callbacks\.ema\.decay=1\.5 must lie between 0 and 1"):
        EMAWeightAveraging(decay=1.5)
