"""The checkpoint to continue from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint

from dlzoo.callbacks.base import task_of
from dlzoo.distributed import collectives as gathering
from dlzoo.errors import UserError


class LastCheckpoint(Checkpoint):
    """``checkpoints/last.ckpt`` after each epoch, and if you like within epochs.

    Within an epoch it is written where a continued run can go on exactly: not between two batches whose gradients make
    one step, nor before a validation, which belongs to the batch before it.

    Not Lightning's ``save_last``: Lightning 2.6.6 writes that only in epochs with a new best.

    Args:
        dirpath: the folder.
        every_n_steps: also after so many steps of the optimizer.
        every_minutes: also when so much time has passed.
    """

    def __init__(self, *, dirpath: str, every_n_steps: int | None = None, every_minutes: float | None = None) -> None:
        for key, value in {"every_n_steps": every_n_steps, "every_minutes": every_minutes}.items():
            if value is not None and value <= 0:
                raise UserError(f"callbacks.last_checkpoint.{key}={value} must be greater than 0, or null")
        self.path = Path(dirpath) / "last.ckpt"
        self.every_n_steps = every_n_steps
        self.every_minutes = every_minutes
        self.best_model_path = ""
        """The file, once it is written: where Lightning's own checkpoint callbacks say it."""
        self.saved_at = time.monotonic()
        if every_n_steps is None and every_minutes is None:
            self.on_train_batch_end = None  # type: ignore[assignment,method-assign]  # costs nothing a step

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.best_model_path = str(self.path) if self.path.is_file() else ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.saved_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if self.is_due(trainer) and can_go_on_from(trainer, batch_idx):
            self.save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer)

    def is_due(self, trainer: pl.Trainer) -> bool:
        step = trainer.global_step
        if self.every_n_steps is not None and step > 0 and step % self.every_n_steps == 0:
            return True
        if self.every_minutes is None:
            return False
        waited = time.monotonic() - self.saved_at >= 60 * self.every_minutes
        if trainer.world_size > 1:  # clocks differ, and all must save
            waited = bool(gathering.all_reduce_max(torch.tensor(float(waited), device=trainer.strategy.root_device)))
        return waited

    def save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self.best_model_path = str(self.path)
        self.saved_at = time.monotonic()


def can_go_on_from(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether a checkpoint that is written after this batch holds all that the next one needs."""
    task, validates_every = task_of(trainer.lightning_module), trainer.val_check_batch
    if not task.goes_on_within_epochs:
        return False
    if trainer.is_last_batch or (validates_every is not None and (batch_idx + 1) % validates_every == 0):
        return False
    return (batch_idx + 1) % task.batches_per_step == 0
