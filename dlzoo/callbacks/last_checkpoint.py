"""The checkpoint to resume from."""

from __future__ import annotations

import time
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint

from dlzoo.callbacks.base import task_of
from dlzoo.distributed import collectives as gathering
from dlzoo.errors import UserError


class LastCheckpoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` after each epoch, and optionally within epochs.

    Within an epoch it is written only where a run can be resumed exactly: not between batches whose gradients are
    accumulated, and not right before a validation, which belongs to the batch before it.

    Lightning's ``save_last`` does not do: Lightning 2.6.6 writes it only in epochs with a new best.

    Args:
        dirpath: the folder.
        every_n_steps: also after every so many optimizer steps.
        every_minutes: also whenever so much time has passed.
    """

    def __init__(self, *, dirpath: str, every_n_steps: int | None = None, every_minutes: float | None = None) -> None:
        for key, value in {"every_n_steps": every_n_steps, "every_minutes": every_minutes}.items():
            if value is not None and value <= 0:
                raise UserError(f"callbacks.last_checkpoint.{key}={value} must be greater than 0, or null")
        self.path = Path(dirpath) / "last.ckpt"
        self.every_n_steps = every_n_steps
        self.every_minutes = every_minutes
        self.best_model_path = ""
        """The file, once it is written; named as in Lightning's checkpoint callbacks."""
        self.saved_at = time.monotonic()
        if every_n_steps is None and every_minutes is None:
            self.on_train_batch_end = None  # type: ignore[assignment,method-assign]  # no cost per step

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, object]
    ) -> None:
        self.best_model_path = str(self.path) if self.path.is_file() else ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.saved_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if self.is_due(trainer) and can_resume_after(trainer, batch_idx):
            self.save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer)

    def is_due(self, trainer: pl.Trainer) -> bool:
        step = trainer.global_step
        if self.every_n_steps is not None and step > 0 and step % self.every_n_steps == 0:
            return True
        if self.every_minutes is None:
            return False
        is_time = time.monotonic() - self.saved_at >= 60 * self.every_minutes
        if trainer.world_size > 1:  # clocks differ, and all ranks must save together
            is_time = bool(gathering.all_reduce_max(torch.tensor(float(is_time), device=trainer.strategy.root_device)))
        return is_time

    def save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self.best_model_path = str(self.path)
        self.saved_at = time.monotonic()


def can_resume_after(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether a run can be resumed exactly from a checkpoint written after this batch."""
    task, validates_every = task_of(trainer.lightning_module), trainer.val_check_batch
    if not task.resumes_mid_epoch:
        return False
    if trainer.is_last_batch or (validates_every is not None and (batch_idx + 1) % validates_every == 0):
        return False
    return (batch_idx + 1) % task.batches_per_step == 0
