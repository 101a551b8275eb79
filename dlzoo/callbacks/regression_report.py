"""Test results of predicted values."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, Step
from dlzoo.callbacks.sinks import publish
from dlzoo.distributed.collectives import gather_rows
from dlzoo.specs.batch import part_of
from dlzoo.specs.targets import Values
from dlzoo.tasks.base import Task
from dlzoo.visualization import plots


class RegressionReport(Report):
    """After a test of a task that predicts values: predicted_against_true.png, and for each of several predictions
    predicted_against_true_<name>.png.
    """

    def __init__(self) -> None:
        self.pairs: dict[str, list[tuple[Tensor, Tensor]]] = {}
        """Predicted and true values (B, D), by the prediction's name."""

    def applies_to(self, task: Task) -> bool:
        return task.as_predictor() is not None and bool(values_of(task))

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.pairs = {name: [] for name in values_of(task)}

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        for name, pairs in self.pairs.items():
            predicted, true = (part_of(step.outputs[key], name) for key in ("output", "target"))
            pairs.append((predicted.detach(), true))

    def gather(self, trainer: pl.Trainer, task: Task) -> None:
        for name, pairs in self.pairs.items():
            if pairs:
                predicted, true = (gather_rows(torch.cat(part)) for part in zip(*pairs, strict=True))
                self.pairs[name] = [(predicted, true)]

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        for name, values in values_of(task).items():
            for predicted, true in self.pairs[name]:
                figure = plots.predicted_against_true(predicted, true, values.names, values.units)
                publish(trainer, "_".join(filter(None, ("predicted_against_true", name))), figure)
        self.pairs = {}


def values_of(task: Task) -> dict[str, Values]:
    """The values that a task predicts, by name."""
    target = task.predicted_target
    return {} if target is None else {name: part.values for name, part in target.by_name.items() if part.values}
