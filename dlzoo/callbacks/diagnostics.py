"""Warnings that name a remedy, when a run goes wrong."""

from __future__ import annotations

import math

import lightning.pytorch as pl

from dlzoo.callbacks.base import Observer, task_of
from dlzoo.callbacks.sinks import warn


class Problems(Observer):
    """Says each problem of a task once: its own (`Task.diagnostics`), and a training mean that is no finite number.

    The latter ends the training: what was learnt is lost, and the test uses the best checkpoint before it.
    """

    def __init__(self) -> None:
        self.said: set[str] = set()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        means = {name: mean.read() for name, mean in task_of(pl_module).train_means.items()}
        if lost := [name for name, value in means.items() if not math.isfinite(value)]:
            trainer.should_stop = True
            self.say(
                trainer,
                f"train/{lost[0]} is {means[lost[0]]} in epoch {trainer.current_epoch + 1}, so training ends here: "
                "lower optimizer.lr, clip with trainer.gradient_clip_val=1, or train in trainer.precision=32-true",
            )
        self.ask(trainer, pl_module)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.ask(trainer, pl_module)

    def ask(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for problem in task_of(pl_module).diagnostics():
            self.say(trainer, problem)

    def say(self, trainer: pl.Trainer, problem: str) -> None:
        kind = problem.partition(":")[0]
        if trainer.is_global_zero and kind not in self.said:
            self.said.add(kind)
            warn(trainer, problem)
