"""A map of the test rows by what the net makes of them."""

from __future__ import annotations

import lightning.pytorch as pl
import torch

from dlzoo.callbacks.base import Report, Step
from dlzoo.callbacks.sinks import publish, warn
from dlzoo.errors import UserError
from dlzoo.inference.features import Penultimate
from dlzoo.metrics.examples import BalancedSample
from dlzoo.specs.batch import first_tensor
from dlzoo.tasks.base import Task
from dlzoo.visualization import latent as latent_plots

FEWEST = 5
"""Rows; a map of fewer says nothing."""


class TSNE(Report):
    """After a test: tsne.png, test rows as points, close to each other where the net's features are alike.

    The features are the latents of an autoencoder, else the inputs of the last linear layer. L. van der Maaten,
    G. Hinton, "Visualizing Data using t-SNE", 2008. Some seconds for a thousand rows.

    Args:
        num_rows: test rows, at most; a random sample, balanced by class.
        perplexity: about how many neighbours of a point count; less than a third of the rows.
    """

    def __init__(self, *, num_rows: int = 1000, perplexity: float = 30.0) -> None:
        if num_rows < FEWEST or not perplexity > 0:
            raise UserError(
                f"callbacks.tsne.num_rows={num_rows} must be at least {FEWEST}, and perplexity={perplexity:g} positive"
            )
        self.num_rows = num_rows
        self.perplexity = perplexity
        self.sample = BalancedSample(num_rows)
        self.recorder: Penultimate | None = None

    def applies_to(self, task: Task) -> bool:
        target = task.spec.target
        is_predictor = task.as_predictor() is not None and task.as_forecaster() is None
        has_known_target = target.classes is not None or target.values is not None
        if task.as_encoder() is None and not (is_predictor and has_known_target):
            raise UserError(
                f"callbacks.tsne needs a task with latents, or one that predicts classes or values, not "
                f"{type(task).__name__}; remove it from callbacks"
            )
        return True

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.sample = BalancedSample(self.num_rows)
        if task.as_encoder() is None:
            self.recorder = Penultimate(task.net)

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        if not trainer.is_global_zero:  # rank zero shows its own part
            return
        features = step.outputs.get("code") if self.recorder is None else self.recorder.features
        if features is None or len(features) != len(step.batch.target):
            features = first_tensor(step.outputs["output"])
        target = step.batch.target
        rows = (features.detach().float().flatten(1), target)
        self.sample.add(rows, None if task.spec.target.classes is None else target)

    def gather(self, trainer: pl.Trainer, task: Task) -> None:
        if self.recorder is not None:
            self.recorder.remove()
            self.recorder = None

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        if not len(self.sample):
            return
        features, target = self.sample.stacked()
        self.sample = BalancedSample(self.num_rows)
        finite = features.isfinite().all(1)
        features, target = features[finite], target[finite]
        if len(features) < FEWEST or not bool((features != features[0]).any()):
            warn(trainer, f"tsne.png is not drawn: the net's features of {len(features)} test rows are all alike")
            return
        points = latent_plots.t_sne(features, perplexity=self.perplexity)
        classes = task.spec.target.classes
        what = "latents" if task.as_encoder() is not None else "last hidden layer"
        figure = latent_plots.map_of(
            torch.from_numpy(points), target, () if classes is None else classes.names,
            title=f"t-SNE of the {what}, {len(points):,} test rows",
        )  # fmt: skip
        publish(trainer, "tsne", figure)
