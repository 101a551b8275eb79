"""checkpoints/best.ckpt, and on request the checkpoints of several epochs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch import callbacks
from lightning.pytorch.utilities.types import STEP_OUTPUT

BEST = "best"


class ModelCheckpoint(callbacks.ModelCheckpoint):
    """Lightning's, except that with ``save_top_k=2`` or -1 ``best.ckpt`` is the best checkpoint, not the latest.

    Lightning would give all of them the same name. They are called ``best-epoch=003-step=1200.ckpt``, and ``best.ckpt``
    equals the best of them. A ``filename`` that names a metric, an epoch or a step is used as Lightning does.

    Args:
        enable_version_counter: unlike Lightning's, a run that starts again in its folder replaces its checkpoints.
        options: the others of Lightning.
    """

    def __init__(
        self, *, filename: str = BEST, save_top_k: int = 1, enable_version_counter: bool = False, **options: Any
    ) -> None:
        self.keeps_best = save_top_k not in (0, 1) and "{" not in filename
        super().__init__(
            filename=f"{filename}-{{epoch:03d}}-{{step}}" if self.keeps_best else filename,
            save_top_k=save_top_k,
            enable_version_counter=enable_version_counter,
            **options,
        )
        self.name = filename
        self.kept = ""
        """The checkpoint that `best_file` equals."""

    @property
    def best_file(self) -> str:
        """The path of the best checkpoint; empty if there is none."""
        path = Path(self.dirpath or "") / f"{self.name}.ckpt"
        return str(path) if self.keeps_best and path.is_file() else self.best_model_path

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.keep_best(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self.keep_best(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        self.keep_best(trainer)

    def keep_best(self, trainer: pl.Trainer) -> None:
        """Write `best_file` if the checkpoint that was just written is the best so far."""
        if self.keeps_best and self.best_model_path != self.kept:
            self.kept = self.best_model_path
            trainer.save_checkpoint(Path(self.dirpath or "") / f"{self.name}.ckpt", self.save_weights_only)

    def load_state_dict(self, state_dict: Mapping[str, object]) -> None:
        super().load_state_dict(dict(state_dict))
        self.kept = self.best_model_path
