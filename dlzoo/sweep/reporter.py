"""The callback by which a run that is a trial of a sweep reports to it."""

from __future__ import annotations

import lightning.pytorch as pl

from dlzoo.callbacks.base import Observer, task_of
from dlzoo.errors import UserError
from dlzoo.sweep import channel


class Trial(Observer):
    """Reports a validation metric after each epoch, and stops the training when the sweep prunes the trial.

    Outside a sweep, for example when a trial's checkpoint is resumed on its own, it does nothing.

    Args:
        metric: the metric to report; None: the one by which the task selects its best checkpoint.
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
        monitored, mode = task_of(pl_module).monitor
        metric, available = self.metric or monitored, trainer.callback_metrics
        if metric not in available:
            names = ", ".join(sorted(name for name in available if name.startswith("val/")))
            raise UserError(f"sweep.metric={metric} is not measured in this run; choose from {names}")
        stop = False
        if trainer.is_global_zero:
            report = channel.EpochReport(
                trainer.current_epoch + 1,
                trainer.max_epochs,
                metric,
                None if self.metric else mode,
                float(available[metric]),
            )
            stop = channel.report(report)
        if trainer.strategy.broadcast(stop):  # every rank stops after the same epoch
            trainer.should_stop = True
