"""What the probabilities of a classifier are worth, on the test split."""

from __future__ import annotations

from typing import NamedTuple

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.callbacks.base import Report, Step
from dlzoo.callbacks.sinks import publish
from dlzoo.distributed.collectives import gather_rows
from dlzoo.metrics.calibration import reliability
from dlzoo.metrics.examples import class_labels
from dlzoo.specs.base import Target
from dlzoo.specs.batch import part_of
from dlzoo.tasks.base import Task
from dlzoo.visualization import classifiers


class Scored(NamedTuple):
    """Test rows by the probabilities of their classes."""

    scores: Tensor
    """(N, K) probabilities; of too many exclusive classes only that of the predicted one, (N, 1)."""
    truth: Tensor
    """(N,) the true classes, or whether the predicted one is right; of labels (N, K)."""


class Probabilities(Report):
    """After a test: roc_and_precision_recall.png of classes or labels, and calibration.png of classes.

    Each of several predictions has its own files, calibration_<name>.png.

    Args:
        max_classes: with more there is no ROC: nobody could tell the curves apart.
    """

    def __init__(self, *, max_classes: int = 20) -> None:
        self.max_classes = max_classes
        self.batches: dict[str, list[Scored]] = {}
        """By the prediction's name."""

    def applies_to(self, task: Task) -> bool:
        return task.as_predictor() is not None and bool(categorical(task))

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.batches = {name: [] for name in categorical(task)}

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        for name, target in categorical(task).items():
            output, truth = (part_of(step.outputs[key], name) for key in ("output", "target"))
            self.batches[name].append(self.scored(output.detach().float(), truth, target))

    def scored(self, output: Tensor, truth: Tensor, target: Target) -> Scored:
        if target.classes is None:
            return Scored(output, truth)
        scores, labels = output.softmax(1), class_labels(truth)
        if len(target.names) <= self.max_classes:
            return Scored(scores, labels)
        confidence, predicted = scores.max(1)
        return Scored(confidence[:, None], (predicted == labels).long())

    def gather(self, trainer: pl.Trainer, task: Task) -> None:
        self.batches = {
            name: [Scored(*(gather_rows(torch.cat(part)) for part in zip(*batches, strict=True)))]
            for name, batches in self.batches.items()
            if batches
        }

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        targets = categorical(task)
        for name, (rows,) in self.batches.items():
            target, suffix = targets[name], f"_{name}" if name else ""
            if len(target.names) <= self.max_classes:
                self.draw_detections(trainer, rows, target, suffix)
            if target.classes is not None and len(target.names) > 1:
                self.draw_calibration(trainer, rows, suffix)
        self.batches = {}

    def draw_detections(self, trainer: pl.Trainer, rows: Scored, target: Target, suffix: str) -> None:
        """Of two exclusive classes, the second's."""
        scores, names = rows.scores, target.names
        is_class = rows.truth if target.classes is None else F.one_hot(rows.truth, len(names))
        if target.classes is not None and len(names) == 2:
            scores, is_class, names = scores[:, 1:], is_class[:, 1:], names[1:]
        if found := classifiers.detections(scores, is_class, names):
            figure = classifiers.roc_and_precision_recall(found, len(scores))
            publish(trainer, f"roc_and_precision_recall{suffix}", figure)

    def draw_calibration(self, trainer: pl.Trainer, rows: Scored, suffix: str) -> None:
        confidence, predicted = rows.scores.max(1)
        bins = reliability(confidence, rows.truth > 0 if rows.scores.shape[1] == 1 else predicted == rows.truth)
        if bins.counts.sum():
            publish(trainer, f"calibration{suffix}", classifiers.calibration(bins))


def categorical(task: Task) -> dict[str, Target]:
    """The classes and labels that a task predicts with probabilities, by name."""
    target = task.predicted_target
    parts = {} if target is None else target.by_name
    return {
        name: part
        for name, part in parts.items()
        if part.labels is not None or (part.classes is not None and part.classes.has_probabilities)
    }
