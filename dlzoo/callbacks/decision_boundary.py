"""What a model of two features predicts over their plane."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, Step, eval_mode
from dlzoo.callbacks.sinks import publish
from dlzoo.metrics.examples import BalancedSample, class_labels
from dlzoo.specs.base import Spec
from dlzoo.tasks.base import Task
from dlzoo.visualization import regions

MAX_VALUES = 6
"""Panels, of a target of several values."""


class DecisionBoundary(Report):
    """After a test on a table of two numeric features: decision_boundary.png, the classes, clusters or values that the
    task predicts over their plane, and test points.

    Args:
        num_points: test rows that are drawn, at most; a random sample, balanced by class.
    """

    def __init__(self, *, num_points: int = 500) -> None:
        self.num_points = num_points
        self.points = BalancedSample(num_points)

    def applies_to(self, task: Task) -> bool:
        target = task.predicted_target
        has_values = target is not None and target.values is not None and task.as_predictor() is not None
        is_drawn = target is not None and (target.classes is not None or has_values)
        return is_drawn and plane_features(task.spec) is not None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.points = BalancedSample(self.num_points)

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        x, target, *_ = step.batch
        finite = x.isfinite().all(1)
        self.points.add((x[finite], target[finite]), None if task.spec.target.classes is None else target[finite])

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        features, target = plane_features(task.spec), task.predicted_target
        if not len(self.points) or features is None or target is None:
            return
        points, truth = self.points.stacked()
        self.begin_test(trainer, task)
        plane = regions.Plane.around(points.cpu())

        def predict(rows: Tensor) -> Tensor:
            return torch.as_tensor(task.predict(rows.to(points))).detach().cpu()

        with eval_mode(task):
            predictions, at_points = plane.predictions(predict), predict(points)
        if target.classes is not None:
            labels = class_labels(truth) if target.names == task.spec.target.names else None
            wrong = None if labels is None else at_points.argmax(1) != labels.cpu()
            figure = regions.class_regions(
                plane, predictions, points, features=features, names=target.names, labels=labels, wrong=wrong
            )
        else:
            shown = slice(MAX_VALUES)
            figure = regions.value_surfaces(
                plane, predictions[..., shown], points, truth[:, shown], features=features, names=target.names[shown]
            )
        publish(trainer, "decision_boundary", figure)


def plane_features(spec: Spec) -> tuple[str, str] | None:
    """The names and units of the two features if a table has no others and both are numbers, else None."""
    if spec.table is None or len(spec.table.columns) != 2 or any(column.categories for column in spec.table.columns):
        return None
    first, second = (f"{c.name} ({c.unit})" if c.unit else c.name for c in spec.table.columns)
    return first, second
