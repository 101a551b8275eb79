"""Test results of boxes in images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
from torch import Tensor
from torchmetrics import MeanMetric

from dlzoo.callbacks.base import Report, Step, training_batch
from dlzoo.callbacks.sinks import publish
from dlzoo.losses.boxes import iou
from dlzoo.metrics.examples import BalancedSample
from dlzoo.specs.batch import part_of
from dlzoo.specs.targets import Classes
from dlzoo.tasks.base import Task
from dlzoo.visualization import boxes as figures

if TYPE_CHECKING:
    from torchmetrics.detection import MeanAveragePrecision

LOCALIZED_IOU = 0.5


class BoxReport(Report):
    """For a target that is a box, alone or beside a class: training_batch.png when the fit starts, boxes.png after the
    test, with true and predicted boxes.

    In a test with classes also the metrics ``localized``, the fraction of images whose class is right and, where there
    is an object, whose box has an intersection over union of at least 0.5 with the true one (O. Russakovsky et al.,
    "ImageNet Large Scale Visual Recognition Challenge", 2015), and mean average precision as COCO has it: ``map_50``,
    ``map_75``, and ``map``, the mean from 0.5 to 0.95.

    Args:
        num_images: test images that are shown, a random sample, and as many training images.
    """

    needs_data = True

    def __init__(self, *, num_images: int = 32) -> None:
        self.num_images = num_images
        self.shown = BalancedSample(num_images)
        self.localized = MeanMetric()
        self.precision: MeanAveragePrecision | None = None

    def applies_to(self, task: Task) -> bool:
        return task.spec.images is not None and bool(task.spec.target.box_names)

    def write_start(self, trainer: pl.Trainer, task: Task) -> None:
        x, y = training_batch(trainer, task)[:2]
        name, classes = task.spec.target.box_names[0], class_of(task)
        box = part_of(y, name)[: self.num_images].cpu()
        titles: list[str] = []
        if classes is not None:
            titles = [classes[1].names[k] for k in part_of(y, classes[0])[: self.num_images].tolist()]
        figure = figures.boxes(
            x[: self.num_images].cpu(), box, titles=titles, heading="training images, as the net sees them"
        )
        publish(trainer, "training_batch", figure)

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.shown = BalancedSample(self.num_images)
        self.localized = MeanMetric().to(task.device)
        self.precision = None
        if class_of(task) is not None:
            from torchmetrics.detection import MeanAveragePrecision  # not at the top: 0.5 s

            self.precision = MeanAveragePrecision(box_format="xyxy", iou_type="bbox").to(task.device)

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        name, classes = task.spec.target.box_names[0], class_of(task)
        predicted, true = (part_of(step.outputs[key], name).detach() for key in ("output", "target"))
        parts: tuple[Tensor, ...] = (step.batch[0], true, predicted)
        if classes is not None:
            output, labels = (part_of(step.outputs[key], classes[0]).detach() for key in ("output", "target"))
            parts = (*parts, labels, output)
            self._count(output.float().softmax(1), labels, predicted, true, classes[1], task.spec.target.by_name[name])
        self.shown.add(parts, parts[3] if classes is not None else None)

    def _count(
        self, probabilities: Tensor, labels: Tensor, predicted: Tensor, true: Tensor, classes: Classes, box: Any
    ) -> None:
        scores, best = probabilities.max(1)
        is_there = ~true.isnan().any(1)
        overlaps = iou(predicted, true.nan_to_num(0.0)) >= LOCALIZED_IOU
        self.localized.update(((best == labels) & (overlaps | ~is_there)).float())
        absent = classes.names.index(box.absent) if box.absent in classes.names else -1
        found = best != absent
        assert self.precision is not None
        self.precision.update(
            [
                {"boxes": b[f], "scores": s[f], "labels": k[f]}
                for b, s, k, f in zip(predicted[:, None], scores[:, None], best[:, None], found[:, None], strict=True)
            ],
            [
                {"boxes": b[f], "labels": k[f]}
                for b, k, f in zip(true[:, None], labels[:, None], is_there[:, None], strict=True)
            ],
        )

    def measure(self, trainer: pl.Trainer, task: Task) -> None:
        if self.precision is None:
            return
        found = self.precision.compute()
        metrics = {"test/localized": self.localized.compute()}
        metrics |= {f"test/{name}": found[name].float() for name in ("map", "map_50", "map_75")}
        task.log_dict(metrics)
        self.precision = None

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        if not len(self.shown):
            return
        x, true, predicted, *others = self.shown.stacked()
        classes = class_of(task)
        titles = [] if classes is None else titles_of(others[0], others[1], classes[1])
        figure = figures.boxes(
            x.cpu(),
            true,
            predicted,
            titles=titles,
            heading=f"{len(x)} test images: true boxes in green, predicted ones in orange",
        )
        publish(trainer, "boxes", figure)
        self.shown = BalancedSample(self.num_images)


def class_of(task: Task) -> tuple[str, Classes] | None:
    """The first target beside the box that is a class, and its name."""
    named = task.spec.target.by_name.items()
    return next(((name, part.classes) for name, part in named if part.classes is not None), None)


def titles_of(labels: Tensor, output: Tensor, classes: Classes) -> list[str]:
    """The predicted class with its probability, and the true one below if it is another."""
    probabilities, best = output.float().softmax(1).max(1)
    rows = zip(best.tolist(), probabilities.tolist(), labels.tolist(), strict=True)
    return [f"{classes.names[k]}\t{p:.0%}" + (f"\nis {classes.names[y]}" if k != y else "") for k, p, y in rows]
