"""Early stopping that survives a resume."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's early stopping, but a run killed right after the decision to stop trains no further when resumed.

    A stopped run that is resumed with a larger ``patience`` continues; Lightning would restore the old value.
    """

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        state = checkpoint["callbacks"].get(self.state_key)
        if state is None:
            return
        reason = EarlyStoppingReason(state.get("stopping_reason", EarlyStoppingReason.NOT_STOPPED.value))
        if reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
            trainer.should_stop = state["wait_count"] >= self.patience
        else:
            trainer.should_stop = reason is not EarlyStoppingReason.NOT_STOPPED

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        super().load_state_dict(state_dict | {"patience": self.patience})
