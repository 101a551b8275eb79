"""TensorBoard's PROJECTOR: test rows by what a classifier's last layer receives."""

from __future__ import annotations

import lightning.pytorch as pl
from torch import Tensor

from dlzoo.callbacks.base import Report, Step
from dlzoo.callbacks.sinks import publish_embedding, tensorboard
from dlzoo.inference.features import Penultimate
from dlzoo.metrics.examples import BalancedSample, class_labels
from dlzoo.specs.batch import first_tensor
from dlzoo.tasks.base import Task

MAX_VALUES = 500_000
"""Of all features together: they are written as text, in about 10 bytes each."""
MAX_PIXELS = 3 * 64 * 64
"""Images of more are not shown beside their points."""


class Projector(Report):
    """After a test of a classifier: random test rows, balanced by class, with the inputs of its last linear layer, for
    TensorBoard's projector, which shows them by PCA, t-SNE or UMAP. The latents of autoencoders are there anyway.

    Args:
        num_rows: test rows, at most.
    """

    def __init__(self, *, num_rows: int = 1000) -> None:
        self.num_rows = num_rows
        self.sample = BalancedSample(num_rows)
        self.recorder: Penultimate | None = None

    def applies_to(self, task: Task) -> bool:
        is_classifier = task.as_predictor() is not None and task.spec.target.classes is not None
        return is_classifier and task.as_encoder() is None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.sample = BalancedSample(self.num_rows)
        if tensorboard(trainer) is not None and trainer.is_global_zero:  # rank zero shows its own part
            self.recorder = Penultimate(task.net)

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        features = None if self.recorder is None else self.recorder.features
        if features is None or len(features) != len(step.batch.target):
            return
        target = step.batch.target
        rows: list[Tensor] = [features.float().flatten(1), target]
        spec = task.spec.images
        if spec is not None and spec.channels * spec.height * spec.width <= MAX_PIXELS:
            rows.append(first_tensor(step.batch.inputs))
        self.sample.add(tuple(rows), target)

    def gather(self, trainer: pl.Trainer, task: Task) -> None:
        if self.recorder is not None:
            self.recorder.remove()
            self.recorder = None

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        classes = task.spec.target.classes
        if not len(self.sample) or classes is None:
            return
        features, target, *images = self.sample.stacked()
        self.sample = BalancedSample(self.num_rows)
        rows = features.isfinite().all(1).nonzero()[:, 0][: max(MAX_VALUES // features.shape[1], 1)]
        if len(rows):
            names = [classes.names[k] for k in class_labels(target)[rows].tolist()]
            shown = images[0][rows] if images else None
            publish_embedding(trainer, "last_hidden_layer", features[rows], names, shown)
