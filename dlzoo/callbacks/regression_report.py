"""Test results of predicted values."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, Step
from dlzoo.callbacks.sinks import publish
from dlzoo.distributed.collectives import gather_rows
from dlzoo.tasks.base import Task
from dlzoo.visualization import plots


class RegressionReport(Report):
    """After a test of a regression task: predicted_against_true.png."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Tensor, Tensor]] = []
        """Predicted and true values (B, D)."""

    def applies_to(self, task: Task) -> bool:
        return task.as_predictor() is not None and task.spec.target.values is not None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.pairs = []

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        self.pairs.append((step.outputs["output"].detach(), step.outputs["target"]))

    def gather(self, trainer: pl.Trainer, task: Task) -> None:
        if self.pairs:
            predicted, true = (gather_rows(torch.cat(part)) for part in zip(*self.pairs, strict=True))
            self.pairs = [(predicted, true)]

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        for predicted, true in self.pairs:
            figure = plots.predicted_against_true(predicted, true, task.spec.target.names, task.spec.target.units)
            publish(trainer, "predicted_against_true", figure)
        self.pairs = []
