"""The learning-rate range test: losses over rates that grow in each step, on a copy that is thrown away.

L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3; with rates that grow
exponentially and smoothed losses as in fastai. The rate suggested is a tenth of that with the lowest loss.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from dlzoo.config import instantiate as build
from dlzoo.data.base import DataModule
from dlzoo.errors import UserError
from dlzoo.tasks.base import Task
from dlzoo.utils import csv_writer as csv_files
from dlzoo.visualization import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOWEST, HIGHEST, NUM_STEPS = 1e-5, 10.0, 500
SMOOTHING = 0.95
"""Share of the mean so far in a running mean of the losses."""
DIVERGED = 4.0
"""Times the lowest loss: the test ends there."""
FIRST_STEPS = 20
"""In which the running mean still jumps: they neither end the test nor count as its lowest loss."""


@dataclass(frozen=True)
class RangeTest:
    """What a test has found."""

    rates: list[float]
    losses: list[float]
    """Of the batches; the last may be no number."""

    @property
    def smoothed(self) -> list[float]:
        """The running mean of the losses, freed from its start at zero."""
        found, mean = [], 0.0
        for step, loss in enumerate(self.losses, 1):
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            found.append(mean / (1 - SMOOTHING**step))
        return found

    @property
    def lowest(self) -> float:
        """The rate where the smoothed loss is lowest.

        Raises:
            UserError: the loss was no number from the start on.
        """
        finite = [(loss, i) for i, loss in enumerate(self.smoothed) if math.isfinite(loss)]
        late = [pair for pair in finite if pair[1] >= FIRST_STEPS] or finite
        if not late:
            raise UserError("lr_find: the loss is no finite number even at the lowest rate")
        return self.rates[min(late)[1]]

    @property
    def steepest(self) -> float:
        """The rate where the smoothed loss falls fastest over the logarithm of the rate."""
        losses = np.array(self.smoothed)
        end = max(self.rates.index(self.lowest) + 1, 2)
        slopes = np.gradient(losses[:end])
        return self.rates[int(slopes.argmin())]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate with the lowest loss, to two digits."""
        return float(f"{self.lowest / 10:.2g}")


def find(cfg: DictConfig, task: Task, data: DataModule, run_dir: Path) -> RangeTest:
    """Test rates from 1e-5 to 10 in 500 steps, and leave ``lr_find.png`` and ``lr_find.csv`` in the run folder.

    The task, its weights, all random states and the order of the data are as before.

    Raises:
        UserError: the task has not one optimizer with one rate, or runs on several devices.
    """
    if not task.automatic_optimization:
        raise UserError(f"lr_find is for tasks with one optimizer; {type(task).__name__} moves its parameters itself")
    rates = Rates()
    with random_states_kept():
        trial = copy_of(task, cfg, data)
        try:
            trainer = instantiate(cfg.trainer, _partial_=True)(
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
                "lr_find tests on one device: find the rate with trainer=auto, then give it as optimizer.lr"
            )
        trainer.fit(trial, data)
    found = RangeTest(rates.rates, rates.losses)
    run_dir.mkdir(parents=True, exist_ok=True)
    plots.save(draw(found), run_dir / "lr_find.png")
    with (run_dir / "lr_find.csv").open("w", newline="") as file:
        writer = csv_files.Writer(file)
        writer.writerow(["lr", "loss", "smoothed"])
        writer.writerows(
            [f"{a:.6g}", f"{b:.6g}", f"{c:.6g}"]
            for a, b, c in zip(found.rates, found.losses, found.smoothed, strict=True)
        )
    return found


def copy_of(task: Task, cfg: DictConfig, data: DataModule) -> Task:
    """A second task with the same weights and no schedule; not a deep copy, whose hooks would still be the first's."""
    twin = build.build_task(cfg, data.spec)
    twin.load_state_dict(task.state_dict())
    twin.net.load_pretrained()
    twin.scheduler = None
    return twin


class Rates(Callback):
    """Gives each training step its rate, and stops where the loss diverges."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.mean, self.best = 0.0, math.inf

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / (NUM_STEPS - 1))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        if step == len(self.rates):  # with accumulated gradients, several batches share a step
            self.rates.append(rate)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
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
def random_states_kept() -> Iterator[None]:
    """Afterwards all generators of random numbers go on from where they were."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002  # the state that libraries share
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)  # noqa: NPY002


def draw(found: RangeTest) -> Figure:
    """Losses over rates, with the lowest and the steepest point and the suggestion."""
    fig, (ax,) = plots.new_panels(1, width=6.4, height=4.2, left=0.8)
    plots.style(ax, title="learning-rate range test", x="learning rate", y="training loss")
    ax.plot(found.rates, found.losses, color=plots.FAINT, linewidth=0.7, alpha=0.6, label="batches")
    ax.plot(found.rates, found.smoothed, color=plots.TRAIN, linewidth=1.8, label="smoothed")
    marks = {"lowest": found.lowest, "steepest": found.steepest, "suggested": found.suggestion}
    lines = ("dotted", "dashed", "solid")
    for (name, rate), line in zip(marks.items(), lines, strict=True):
        ax.axvline(rate, color=plots.VAL, linewidth=1.3, linestyle=line, label=f"{name} {rate:.2g}")
    ax.set_xscale("log")
    finite = [loss for loss in found.smoothed if math.isfinite(loss)]
    low, first = min(finite), finite[0]
    span = max(first - low, abs(low) * 0.1, 1e-9)
    ax.set_ylim(low - 0.15 * span, first + 0.6 * span)
    ax.legend(fontsize=8.5, labelcolor=plots.INK, edgecolor="none")
    return fig
