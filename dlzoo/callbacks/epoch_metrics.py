"""Base class of callbacks that report epochs: one row of metrics for each finished epoch."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl

from dlzoo.callbacks.base import Observer, task_of
from dlzoo.callbacks.metrics_csv import Row


class EpochRows(Observer):
    """Calls `on_row` once for each completed epoch.

    The row: ``epoch`` (1 for the first), ``step``, ``seconds`` (training and validation), ``lr`` (of the first
    parameter group at the start of the epoch), then every ``train/…`` and ``val/…`` metric of that epoch.

    Lightning calls `on_train_epoch_end` of the callbacks before that of the LightningModule, which may log its training
    metrics there. So a row is completed a little later, when the next epoch starts or the fit ends.
    """

    _row: Row | None = None
    _started: float = 0.0
    _lr: float = 0.0
    _validated: bool = False

    def on_row(self, trainer: pl.Trainer, pl_module: pl.LightningModule, row: Row) -> None:
        """A finished epoch; called on every rank."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._row = None
        self._begin(trainer)  # a run that is resumed within an epoch has no on_train_epoch_start for it
        self._validated = task_of(pl_module).is_validated  # or after its validation

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._flush(trainer, pl_module)
        self._begin(trainer)

    def _begin(self, trainer: pl.Trainer) -> None:
        self._validated = False
        # read here: schedulers step before the epoch ends
        self._lr = next((group["lr"] for o in trainer.optimizers for group in o.param_groups), float("nan"))
        self._started = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._row = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "seconds": time.perf_counter() - self._started,
            "lr": float(self._lr),
        }

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._flush(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._flush(trainer, pl_module)

    def pending(self, trainer: pl.Trainer) -> Row | None:
        """The row of an epoch that has ended and not been reported yet."""
        if self._row is None:
            return None
        # Lightning keeps the metrics of an earlier validation when an epoch has none
        splits = ("train/", "val/") if self._validated else ("train/",)
        known = task_of(trainer.lightning_module).last_metrics | trainer.callback_metrics
        metrics: dict[str, Any] = {k: v for k, v in known.items() if k.startswith(splits)}
        return self._row | {k: float(metrics[k]) for k in sorted(metrics)}

    def _flush(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        row = self.pending(trainer)
        self._row = None
        if row is not None:
            self.on_row(trainer, pl_module, row)
