"""An example of a custom callback: `callbacks=[default,loss_ratio]` adds it to a run."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from dlzoo.callbacks.base import task_of


class LossRatio(Callback):
    """Logs val/loss / train/loss as ``val/loss_ratio`` after each epoch: well above 1, the net overfits."""

    val_loss: float | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self.val_loss = float(trainer.callback_metrics["val/loss"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.val_loss is not None:
            pl_module.log("val/loss_ratio", self.val_loss / task_of(pl_module).running_loss)
        self.val_loss = None
