"""A run that is one trial of a sweep tells the sweep how it does."""

from __future__ import annotations

import lightning.pytorch as pl

from dlzoo.callbacks.base import Observer, task_of
from dlzoo.errors import UserError
from dlzoo.sweep import channel


class Trial(Observer):
    """Reports a validation metric after each epoch, and ends the training where the sweep has seen enough.

    In a process that belongs to no sweep, as when a trial's checkpoint is continued, it does nothing.

    Args:
        metric: what is reported; None: what the task chooses its best checkpoint by.
    """

    def __init__(self, *, metric: str | None = None) -> None:
        self.metric = metric
        self.validated = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.validated:
            return
        self.validated = False
        own, mode = task_of(pl_module).monitor
        metric, measured = self.metric or own, trainer.callback_metrics
        if metric not in measured:
            names = ", ".join(sorted(name for name in measured if name.startswith("val/")))
            raise UserError(f"sweep.metric={metric} is not measured in this run; choose from: {names}")
        stop = False
        if trainer.is_global_zero:
            report = channel.Epoch(
                trainer.current_epoch + 1,
                trainer.max_epochs,
                metric,
                None if self.metric else mode,
                float(measured[metric]),
            )
            stop = channel.report(report)
        if trainer.strategy.broadcast(stop):  # every rank ends in the same epoch
            trainer.should_stop = True
