"""After a test: the filters of a Boltzmann machine, and Gibbs chains from test images."""

from __future__ import annotations

import itertools

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, Step, eval_mode
from dlzoo.callbacks.sinks import publish_pixels, run_folder
from dlzoo.errors import at_least
from dlzoo.metrics.examples import BalancedSample
from dlzoo.tasks.base import Task
from dlzoo.tasks.interfaces import GibbsSampling
from dlzoo.visualization import image_grid as tiles

SEED = 0
SHOWN = (1, 3, 10, 30, 100, 300, 1000)
"""Gibbs steps of the rows of chains.png."""


class GibbsReport(Report):
    """Writes filters.png, the weights of hidden units, negative ones black and positive ones white; chains.png, a
    column for each chain and a row for each of a few steps; and chains.gif, the same chains as a film.

    Args:
        num_filters: hidden units, those with the largest weights.
        num_chains: chains from random test images, balanced by class.
        num_steps: Gibbs steps of each.
        num_frames: of the film, at equal intervals.
    """

    def __init__(
        self, *, num_filters: int = 100, num_chains: int = 20, num_steps: int = 1000, num_frames: int = 50
    ) -> None:
        at_least(
            1,
            "callbacks.chains",
            num_filters=num_filters,
            num_chains=num_chains,
            num_steps=num_steps,
            num_frames=num_frames,
        )
        self.num_filters = num_filters
        self.num_chains = num_chains
        self.num_steps = num_steps
        self.num_frames = num_frames
        self.first = BalancedSample(num_chains)

    def applies_to(self, task: Task) -> bool:
        return task.as_gibbs_sampler() is not None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.first = BalancedSample(self.num_chains)

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        if trainer.is_global_zero:
            has_classes = task.spec.target.classes is not None
            self.first.add((step.batch[0],), step.batch[1] if has_classes else None)

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        sampler = task.as_gibbs_sampler()
        assert sampler is not None
        with eval_mode(task):
            filters = largest(sampler.filters(), self.num_filters)
            publish_pixels(trainer, "filters", tiles.tile(filters, tiles.columns_of(len(filters))))
            if len(self.first):
                self.draw_chains(trainer, sampler, self.first.stacked()[0])
        self.begin_test(trainer, task)

    def draw_chains(self, trainer: pl.Trainer, task: GibbsSampling, x: Tensor) -> None:
        num_columns = min(len(x), 10)
        interval = max(1, self.num_steps // self.num_frames)
        rows, frames = [x[:num_columns]], [captioned(x, 0)]
        steps = itertools.islice(task.gibbs_chains(x, SEED), self.num_steps)
        for step, images in enumerate(steps, 1):
            if step in SHOWN:
                rows.append(images[:num_columns])
            if step % interval == 0:
                frames.append(captioned(images, step))
        names = ["test image", *(f"step {step}" for step in SHOWN if step <= self.num_steps)]
        publish_pixels(trainer, "chains", tiles.labelled(tiles.tile(torch.cat(rows), num_columns), rows=names))
        tiles.write_gif(frames, run_folder(trainer) / "chains.gif")


def captioned(images: Tensor, step: int) -> np.ndarray:
    """A frame of the film."""
    return tiles.captioned(tiles.tile(images, tiles.columns_of(len(images))), f"Gibbs step {step}")


def largest(filters: Tensor, num: int) -> Tensor:
    """The ``num`` filters (H, C, H, W) of the largest norms, in their order, with 0 as grey."""
    norms = filters.flatten(1).norm(dim=1)
    kept = filters[norms.topk(min(num, len(filters))).indices.sort().values]
    scale = kept.flatten(1).abs().amax(1).clamp(min=1e-12).view(-1, 1, 1, 1)
    return 0.5 + kept / (2 * scale)
