"""Early stopping that a continued run remembers."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's, of which a run that was killed right after its decision does not train on when it is continued.

    With a larger ``patience`` than before a run that was stopped goes on; Lightning puts back the old one.
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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict | {"patience": self.patience})
