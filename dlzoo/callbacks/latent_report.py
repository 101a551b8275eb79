"""After a test: what a generative net or autoencoder has learnt, with the tested weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from dlzoo.callbacks import sample_animation
from dlzoo.callbacks.base import Report, Step, eval_mode
from dlzoo.callbacks.sinks import publish, publish_embedding, publish_pixels, tensorboard
from dlzoo.distributed.noise import GeneratorNoise
from dlzoo.metrics.examples import BalancedSample, class_labels
from dlzoo.tasks.base import Task
from dlzoo.tasks.interfaces import Encoding, Generating
from dlzoo.visualization import image_grid as tiles
from dlzoo.visualization import latent as latent_plots
from dlzoo.visualization import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Encoded = list[Tensor]
"""Test images, their labels, latents and errors."""


class LatentReport(Report):
    """Writes samples.png; reconstructions.png and worst_reconstructions.png, where a high error indicates an anomaly;
    interpolation.png from image to image; latent_space.png, with TensorBoard's projector; and, for latents of dimension
    2, manifold.png.

    ``test_step`` of an encoding task returns "code" (B, D), the latents, and "error" (B,).

    Args:
        num_samples: generated images.
        num_codes: random test images, balanced by class, whose latents are plotted.
        num_worst: test images with the highest reconstruction error.
    """

    def __init__(self, *, num_samples: int = 100, num_codes: int = 2000, num_worst: int = 16) -> None:
        self.num_samples = num_samples
        self.num_codes = num_codes
        self.num_worst = num_worst
        self.first = BalancedSample(num_codes)
        self.worst: Encoded | None = None

    def applies_to(self, task: Task) -> bool:
        return task.as_image_encoder() is not None or task.as_generator() is not None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.first, self.worst = BalancedSample(self.num_codes), None

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        if task.as_image_encoder() is None or not trainer.is_global_zero:  # rank zero shows its own part
            return
        batch = [step.batch[0], step.batch[1], step.outputs["code"], step.outputs["error"]]
        self.first.add(tuple(batch[:3]), None if task.spec.target.classes is None else batch[1])
        candidates = join(self.worst, batch)
        rows = candidates[3].topk(min(self.num_worst, len(candidates[3]))).indices
        self.worst = [t[rows] for t in candidates]

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        encoder, generator = task.as_image_encoder(), task.as_generator()
        with eval_mode(task):
            if generator is not None:
                publish_pixels(trainer, "samples", sample_animation.samples(generator, self.num_samples))
                if generator.latent_dim == 2 and generator.has_normal_latents:
                    publish_pixels(trainer, "manifold", manifold(generator))
            if encoder is not None and len(self.first) and self.worst is not None:
                self.draw_latents(trainer, encoder, self.worst)
            elif generator is not None and generator.has_normal_latents:
                publish_pixels(trainer, "interpolation", spherical_interpolation(generator))
        self.begin_test(trainer, task)

    def draw_latents(self, trainer: pl.Trainer, task: Encoding, worst: Encoded) -> None:
        x, labels, latents = self.first.stacked()
        publish_pixels(trainer, "reconstructions", sample_animation.reconstructions(task, x[:20], labels[:20]))
        if task.as_memory() is None:  # between two memories there is none
            publish_pixels(trainer, "interpolation", interpolation(task, x, labels))
        publish(trainer, "worst_reconstructions", worst_reconstructions(task, worst))
        classes = task.spec.target.classes
        names = () if classes is None else classes.names
        publish(trainer, "latent_space", latent_plots.latent_space(latents, labels, names))
        if tensorboard(trainer):
            values = class_labels(labels) if names else latent_plots.first_values(labels)
            texts = [names[k] for k in values.tolist()] if names else [f"{v:.4g}" for v in values.tolist()]
            some = slice(1024)  # a larger sprite is slow to draw and to load
            publish_embedding(trainer, "codes", latents[some].float().flatten(1), texts[some], x[some])


def join(left: Encoded | None, right: Encoded) -> Encoded:
    return right if left is None else [torch.cat(pair) for pair in zip(left, right, strict=True)]


def interpolation(task: Encoding, x: Tensor, labels: Tensor, *, num_rows: int = 6, num_steps: int = 10) -> np.ndarray:
    """From one test image to another, of another class if there is one, along a line in latent space."""
    starts, ends = pairs(labels, num_rows)
    inputs = task.corrupt(x, GeneratorNoise(torch.Generator(x.device).manual_seed(sample_animation.SEED)))
    first, last = (task.encode(inputs[rows], labels[rows]) for rows in (starts, ends))
    steps = torch.linspace(0, 1, num_steps, device=x.device).view(1, -1, *[1] * (first.ndim - 1))
    latents = torch.lerp(first[:, None], last[:, None], steps).flatten(0, 1)
    between = task.decode(latents, labels[starts].repeat_interleave(num_steps, 0))
    rows = between.view(len(starts), num_steps, *between.shape[1:])
    rows = torch.cat([x[starts, None], rows, x[ends, None]], 1)
    columns = ["image", *(f"{k / (num_steps - 1):.0%}" for k in range(num_steps)), "image"]
    return tiles.labelled(tiles.tile(rows.flatten(0, 1), num_steps + 2), columns=columns)


def pairs(labels: Tensor, max_pairs: int) -> tuple[Tensor, Tensor]:
    """Row indices of the first images, and for each of the next image of another class."""
    classes = class_labels(labels)
    starts, ends = [], []
    for i in range(min(max_pairs, len(classes) - 1)):
        others = (classes[i + 1 :] != classes[i]).nonzero()
        starts.append(i)
        ends.append(i + 1 + (int(others[0]) if len(others) else 0))
    return torch.tensor(starts, device=labels.device), torch.tensor(ends, device=labels.device)


def spherical_interpolation(task: Generating, *, num_rows: int = 6, num_steps: int = 10) -> np.ndarray:
    """Between sampled latents, along great circles: a straight line would pass through latents that are never sampled
    (T. White, "Sampling Generative Networks", 2016)."""
    first, last = task.draw(2 * num_rows, sample_animation.SEED).chunk(2)
    steps = torch.linspace(0, 1, num_steps, device=first.device)[:, None]
    cosine = torch.nn.functional.cosine_similarity(first, last).clamp(-0.9999, 0.9999)
    angle = cosine.arccos()[:, None, None]
    latents = (((1 - steps) * angle).sin() * first[:, None] + (steps * angle).sin() * last[:, None]) / angle.sin()
    labels = torch.arange(num_rows, device=first.device) % task.spec.target.num_outputs
    grid = tiles.tile(task.decode(latents.flatten(0, 1), labels.repeat_interleave(num_steps)), num_steps)
    names = [task.spec.target.names[k] for k in labels.tolist()] if task.is_conditional else ()
    return tiles.labelled(grid, columns=[f"{k / (num_steps - 1):.0%}" for k in range(num_steps)], rows=names)


def manifold(task: Generating, side: int = 20) -> np.ndarray:
    """The images at a grid of two-dimensional latents, at the quantiles of the normal distribution."""
    probabilities = torch.linspace(0.02, 0.98, side)
    quantiles = torch.distributions.Normal(0.0, 1.0).icdf(probabilities)
    across, down = torch.meshgrid(quantiles, quantiles.flip(0), indexing="xy")
    latents = torch.stack([across, down], -1).flatten(0, 1).to(task.device)
    labels = torch.zeros(len(latents), dtype=torch.long, device=task.device)
    return tiles.labelled(
        tiles.tile(task.decode(latents, labels), side),
        columns=[f"{z:.2f}" for z in quantiles.tolist()],
        rows=[f"{z:.2f}" for z in quantiles.flip(0).tolist()],
    )


def worst_reconstructions(task: Encoding, worst: Encoded) -> Figure:
    """Each image next to its reconstruction, with its error."""
    x, labels, _, errors = worst
    outputs = task.reconstruct(
        task.corrupt(x, GeneratorNoise(torch.Generator(x.device).manual_seed(sample_animation.SEED))), labels
    )
    classes = task.spec.target.classes
    if classes is not None:
        ids = class_labels(labels).tolist()
        titles = [f"{classes.names[k]}\t{e:.4g}" for k, e in zip(ids, errors.tolist(), strict=True)]
    else:
        titles = [f"{e:.4g}" for e in errors.tolist()]
    heading = "worst test images: input, reconstruction, class and error"
    return plots.image_grid(torch.cat([x, outputs], 3), titles, heading=heading, num_columns=4)
