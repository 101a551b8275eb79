"""The learning-rate range test: trains a copy of the task with a rate that increases at each step.

L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3; with exponentially increasing
rates and smoothed losses as in fastai. The suggested rate is a tenth of the one with the lowest loss.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import lightning.pytorch as pl
import numpy as np
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.types import STEP_OUTPUT

from dlzoo.config import instantiate as build
from dlzoo.config.run_config import RunConfig
from dlzoo.data.base import DataModule
from dlzoo.errors import UserError
from dlzoo.tasks.base import Task
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils.files import open_text
from dlzoo.visualization import layout, plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOWEST, HIGHEST, NUM_STEPS = 1e-5, 10.0, 500
SMOOTHING = 0.95
"""Decay of the running mean of the losses."""
DIVERGED = 4.0
"""The test ends when the loss exceeds this multiple of the lowest loss."""
FIRST_STEPS = 20
"""Steps in which the running mean still fluctuates: they neither end the test nor count as the lowest loss."""


@dataclass(frozen=True)
class RangeTest:
    """Results of a test."""

    rates: list[float]
    losses: list[float]
    """Loss of each step; the last one may be NaN or infinite."""

    @property
    def smoothed(self) -> list[float]:
        """The running mean of the losses, bias-corrected."""
        smoothed, mean = [], 0.0
        for step, loss in enumerate(self.losses, 1):
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            smoothed.append(mean / (1 - SMOOTHING**step))
        return smoothed

    @property
    def lowest(self) -> float:
        """The rate with the lowest smoothed loss.

        Raises:
            UserError: the loss was not finite from the start.
        """
        finite = [(loss, i) for i, loss in enumerate(self.smoothed) if math.isfinite(loss)]
        late = [pair for pair in finite if pair[1] >= FIRST_STEPS] or finite
        if not late:
            raise UserError("lr_find: the loss is not finite even at the lowest rate")
        return self.rates[min(late)[1]]

    @property
    def steepest(self) -> float:
        """The rate where the smoothed loss decreases fastest per logarithm of the rate."""
        losses = np.array(self.smoothed)
        end = max(self.rates.index(self.lowest) + 1, 2)
        slopes = np.gradient(losses[:end])
        return self.rates[int(slopes.argmin())]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate with the lowest loss, to two significant digits."""
        return float(f"{self.lowest / 10:.2g}")


def find(config: RunConfig, task: Task, data: DataModule, run_dir: Path) -> RangeTest:
    """Test rates from 1e-5 to 10 in 500 steps, and write ``lr_find.png`` and ``lr_find.csv`` into the run folder.

    The task, its weights, all random states and the order of the data are unchanged.

    Raises:
        UserError: the task does not have a single optimizer with a single rate, or runs on several devices.
    """
    if not task.automatic_optimization:
        raise UserError(f"lr_find needs a task with one optimizer; {type(task).__name__} updates its parameters itself")
    rates = Rates()
    with preserving_random_states():
        trial = copy_of(task, config, data)
        try:
            trainer = instantiate(config.trainer, _partial_=True)(
                max_epochs=-1,
                max_steps=NUM_STEPS,
                limit_val_batches=0,
                callbacks=[rates],
                logger=False,
                enable_progress_bar=False,
                enable_checkpointing=False,
                default_root_dir=str(run_dir),
            )
        except (MisconfigurationException, ValueError, RuntimeError) as error:
            raise UserError(f"trainer: {error}") from None
        if trainer.world_size > 1:
            raise UserError(
                "lr_find tests on a single device: determine the rate with trainer=auto, then set it as optimizer.lr"
            )
        trial.setup_trainer(trainer)
        trainer.fit(trial, data)
    test = RangeTest(rates.rates, rates.losses)
    run_dir.mkdir(parents=True, exist_ok=True)
    plots.save(draw(test), run_dir / "lr_find.png")
    with open_text(run_dir / "lr_find.csv", "w") as file:
        writer = csv_files.Writer(file)
        writer.writerow(["lr", "loss", "smoothed"])
        writer.writerows(
            [f"{a:.6g}", f"{b:.6g}", f"{c:.6g}"] for a, b, c in zip(test.rates, test.losses, test.smoothed, strict=True)
        )
    return test


def copy_of(task: Task, config: RunConfig, data: DataModule) -> Task:
    """A new task with the same weights and no schedule. A deep copy would share the hooks of the original."""
    twin = build.build_task(config, data.spec)
    twin.load_state_dict(task.state_dict())
    twin.net.load_pretrained()
    twin.scheduler = None
    return twin


class Rates(Callback):
    """Sets the rate of each training step, and stops when the loss diverges."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.mean, self.best = 0.0, math.inf

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        step = trainer.global_step
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / (NUM_STEPS - 1))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        if step == len(self.rates):  # with accumulated gradients, several batches share a step
            self.rates.append(rate)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        assert isinstance(outputs, Mapping)
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
        if len(self.losses) == len(self.rates):
            self.losses[-1] = loss
            return
        self.losses.append(loss)
        self.mean = SMOOTHING * self.mean + (1 - SMOOTHING) * loss
        smoothed = self.mean / (1 - SMOOTHING ** len(self.losses))
        if not math.isfinite(smoothed) or (len(self.losses) > FIRST_STEPS and smoothed > DIVERGED * self.best):
            trainer.should_stop = True
        if len(self.losses) > FIRST_STEPS // 2:
            self.best = min(self.best, smoothed)


@contextmanager
def preserving_random_states() -> Iterator[None]:
    """Restore the states of all random generators afterwards."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002  # the global state that libraries use
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)  # noqa: NPY002


def draw(test: RangeTest) -> Figure:
    """Plot losses over rates, with the lowest and the steepest point and the suggestion."""
    fig, (ax,) = layout.new_panels(1, width=6.4, height=4.2, left=0.8)
    layout.style(ax, title="learning-rate range test", x="learning rate", y="training loss")
    ax.plot(test.rates, test.losses, color=layout.FAINT, linewidth=0.7, alpha=0.6, label="batches")
    ax.plot(test.rates, test.smoothed, color=layout.TRAIN, linewidth=1.8, label="smoothed")
    marks = {"lowest": test.lowest, "steepest": test.steepest, "suggested": test.suggestion}
    lines = ("dotted", "dashed", "solid")
    for (name, rate), line in zip(marks.items(), lines, strict=True):
        ax.axvline(rate, color=layout.VAL, linewidth=1.3, linestyle=line, label=f"{name} {rate:.2g}")
    ax.set_xscale("log")
    finite = [loss for loss in test.smoothed if math.isfinite(loss)]
    low, first = min(finite), finite[0]
    span = max(first - low, abs(low) * 0.1, 1e-9)
    ax.set_ylim(low - 0.15 * span, first + 0.6 * span)
    layout.legend_above(ax)
    return fig
