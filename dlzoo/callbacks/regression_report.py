"""What the test says about predicted values."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.callbacks.base import Observer
from dlzoo.callbacks.sinks import publish, spec_of
from dlzoo.distributed.collectives import of_all_ranks
from dlzoo.specs.targets import Values
from dlzoo.visualization import plots


class RegressionReport(Observer):
    """After a test: predicted_against_true.png, where the spec's target is `Values`."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Tensor, Tensor]] = []

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.pairs = []

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        spec = spec_of(pl_module)
        values = spec is not None and isinstance(spec.target, Values)
        if values and isinstance(outputs, dict) and "output" in outputs:
            self.pairs.append((outputs["output"].detach(), outputs["target"]))

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        spec = spec_of(pl_module)
        if self.pairs and spec is not None and isinstance(spec.target, Values):
            pred, true = (of_all_ranks(torch.cat(part)) for part in zip(*self.pairs, strict=True))
            if trainer.is_global_zero:
                figure = plots.predicted_against_true(pred, true, spec.target.names, spec.target.units)
                publish(trainer, "predicted_against_true", figure)
        self.pairs = []
