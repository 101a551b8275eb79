"""Grids of images with the predictions for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import lightning.pytorch as pl
from torch import Tensor

from dlzoo.callbacks.base import Report, Step, training_batch
from dlzoo.callbacks.sinks import publish
from dlzoo.metrics.examples import BalancedSample, Examples, join, mistakes_heading, worst
from dlzoo.specs.base import Target
from dlzoo.tasks.base import Task
from dlzoo.visualization import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class PredictionGrid(Report):
    """training_batch.png when the fit starts: augmented images, as the net receives them; predictions.png after a test
    of a predicting task.

    The training batch comes from the run's own loader, whose workers are then already started, and the random state is
    restored afterwards: the weights are the same as without this callback.

    Args:
        num_training: images of the training batch.
        num_first: test images that are shown first: a random sample, the same in each run, balanced by class.
        num_mistakes: additional test images, the most confident mistakes.
    """

    needs_data = True

    def __init__(self, *, num_training: int = 24, num_first: int = 24, num_mistakes: int = 16) -> None:
        self.num_training = num_training
        self.num_first = num_first
        self.num_mistakes = num_mistakes
        self.first = BalancedSample(num_first)
        self.mistakes: Examples | None = None

    def applies_to(self, task: Task) -> bool:
        return task.spec.images is not None and task.spec.target.named is None

    def write_start(self, trainer: pl.Trainer, task: Task) -> None:
        x, y = training_batch(trainer, task)[:2]
        if x.ndim != 4:
            return  # cached features of images
        x, y = x[: self.num_training], y[: self.num_training].cpu()
        figure = plots.image_grid(x, target_titles(y, task.spec.target), heading="training images as the net sees them")
        publish(trainer, "training_batch", figure)

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.first, self.mistakes = BalancedSample(self.num_first), None

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        if task.as_predictor() is None or is_named(task):
            return
        batch = (step.batch[0], step.outputs["target"], step.outputs["output"].detach())
        has_classes = task.spec.target.classes is not None
        self.first.add(batch, batch[1] if has_classes else None)
        if has_classes:
            self.mistakes = worst(join(self.mistakes, worst(batch, self.num_mistakes)), self.num_mistakes)

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        if not len(self.first):
            return
        if (classes := task.spec.target.classes) is not None:
            predicted = None if task.predicted_target is None else task.predicted_target.classes
            with_probability = predicted is None or predicted.has_probabilities
            figure = self.draw_classes(classes.names, with_probability=with_probability)
        else:
            x, target, output = self.first.stacked()
            titles = [f"{a:.4g}\nis {b:.4g}" for a, b in zip(output[:, 0].tolist(), target[:, 0].tolist(), strict=True)]
            figure = plots.image_grid(x, titles, heading=f"{len(x)} random test images")
        publish(trainer, "predictions", figure)
        self.begin_test(trainer, task)

    def draw_classes(self, names: Sequence[str], *, with_probability: bool) -> Figure:
        assert self.mistakes is not None
        heading = f"{len(self.first)} random test images, balanced by class"
        if num := len(self.mistakes[0]):
            heading += f"; then {mistakes_heading(num)}"
        x, target, output = self.first.stacked()
        rows = join((x, target, output), self.mistakes)
        return plots.predictions(*rows, names, heading=heading, with_probability=with_probability)


def is_named(task: Task) -> bool:
    """Whether the task has several predictions for an image."""
    return task.predicted_target is not None and task.predicted_target.named is not None


def target_titles(y: Tensor, target: Target) -> list[str]:
    """Titles of training images: the class, the two most probable ones after mixing, or the value."""
    if target.classes is None:
        return [f"{value:.4g}" for value in y[:, 0].tolist()]
    names = target.classes.names
    if y.ndim == 1:
        return [names[label] for label in y.tolist()]
    probabilities, labels = y.topk(min(2, y.shape[1]), dim=1)
    return [
        "\n".join(f"{names[k]}\t{p:.0%}" for p, k in zip(row, classes, strict=True) if p >= 0.005)
        for row, classes in zip(probabilities.tolist(), labels.tolist(), strict=True)
    ]
