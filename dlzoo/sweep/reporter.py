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
        metric: the metric to report; None: those by which the task's runs are compared.
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
        available = {name: float(value) for name, value in trainer.callback_metrics.items()}
        (metric, mode), *others = [(self.metric, "min")] if self.metric else task_of(pl_module).ranking
        if metric not in available:
            names = ", ".join(sorted(name for name in available if name.startswith("val/")))
            raise UserError(f"sweep.metric={metric} is not measured in this run; choose from {names}")
        ties = [(available[name] * (1 if way == "min" else -1), name) for name, way in others if name in available]
        stop = False
        if trainer.is_global_zero:
            report = channel.EpochReport(
                trainer.current_epoch + 1,
                trainer.max_epochs,
                metric,
                None if self.metric else mode,
                available[metric],
                *(ties[0] if ties else ()),
            )
            stop = channel.report(report)
        if trainer.strategy.broadcast(stop):  # every rank stops after the same epoch
            trainer.should_stop = True
