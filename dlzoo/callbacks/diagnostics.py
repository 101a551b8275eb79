"""Warnings with a remedy, when a run goes wrong."""

from __future__ import annotations

import math

import lightning.pytorch as pl

from dlzoo.callbacks.base import Observer, task_of
from dlzoo.callbacks.sinks import warn


class Diagnostics(Observer):
    """Reports each problem of a task once: those of `Task.diagnostics`, and a training mean that is not finite.

    The latter stops training: the weights are lost, and the test uses the best checkpoint before it.
    """

    def __init__(self) -> None:
        self.reported: set[str] = set()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        means = {name: mean.read() for name, mean in task_of(pl_module).train_means.items()}
        if nonfinite := [name for name, value in means.items() if not math.isfinite(value)]:
            name = nonfinite[0]
            trainer.should_stop = True
            self.report(
                trainer,
                f"train/{name} is {means[name]} in epoch {trainer.current_epoch + 1}, so training stops: "
                "lower optimizer.lr, clip with trainer.gradient_clip_val=1, or train in trainer.precision=32-true",
            )
        self.check(trainer, pl_module)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.check(trainer, pl_module)

    def check(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for problem in task_of(pl_module).diagnostics():
            self.report(trainer, problem)

    def report(self, trainer: pl.Trainer, problem: str) -> None:
        kind = problem.partition(":")[0]
        if trainer.is_global_zero and kind not in self.reported:
            self.reported.add(kind)
            warn(trainer, problem)
