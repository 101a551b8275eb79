"""After a test: what a net that makes pictures has learnt, with the weights that were tested."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from dlzoo.callbacks import sample_animation as film
from dlzoo.callbacks.base import Report, Step, at_rest
from dlzoo.callbacks.sinks import publish, publish_pixels, run_folder, tensorboard
from dlzoo.distributed.noise import GeneratorNoise
from dlzoo.tasks.base import Task
from dlzoo.tasks.interfaces import Encoding, Generating
from dlzoo.visualization import image_grid as tiles
from dlzoo.visualization import latent as latent_plots
from dlzoo.visualization import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kept = list[Tensor]
"""Pictures, labels, codes and errors of test pictures."""


class GenerativePictures(Report):
    """samples.png; reconstructions.png and worst_reconstructions.png, where a high error marks an anomaly;
    interpolation.png from picture to picture; latent_space.png, with TensorBoard's projector; and, where a code is two
    numbers, manifold.png.

    ``test_step`` of a task that encodes returns "code" (B, D) and "error" (B,).

    Args:
        num_samples: new pictures.
        num_codes: test pictures whose codes are drawn.
        num_worst: test pictures with the highest reconstruction error.
    """

    def __init__(self, *, num_samples: int = 100, num_codes: int = 2000, num_worst: int = 16) -> None:
        self.num_samples = num_samples
        self.num_codes = num_codes
        self.num_worst = num_worst
        self.first: Kept | None = None
        self.worst: Kept | None = None

    def applies_to(self, task: Task) -> bool:
        return task.as_encoder() is not None or task.as_generator() is not None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.first = self.worst = None

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        if task.as_encoder() is None or not trainer.is_global_zero:  # which shows its own part
            return
        here = [step.batch[0], step.batch[1], step.outputs["code"], step.outputs["error"]]
        if self.first is None or len(self.first[0]) < self.num_codes:
            self.first = [t[: self.num_codes] for t in join(self.first, here)]
        both = join(self.worst, here)
        rows = both[3].topk(min(self.num_worst, len(both[3]))).indices
        self.worst = [t[rows] for t in both]

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        encoder, generator = task.as_encoder(), task.as_generator()
        with at_rest(task):
            if generator is not None:
                publish_pixels(trainer, "samples", film.samples(generator, self.num_samples))
                if generator.latent_dim == 2:
                    publish_pixels(trainer, "manifold", manifold(generator))
            if encoder is not None and self.first is not None and self.worst is not None:
                self.draw_codes(trainer, encoder, self.first, self.worst)
            elif generator is not None:
                publish_pixels(trainer, "interpolation", spherical_interpolation(generator))
        self.first = self.worst = None

    def draw_codes(self, trainer: pl.Trainer, task: Encoding, first: Kept, worst: Kept) -> None:
        x, labels, codes, _ = first
        publish_pixels(trainer, "reconstructions", film.reconstructions(task, x[:20], labels[:20]))
        publish_pixels(trainer, "interpolation", interpolation(task, x, labels))
        publish(trainer, "worst_reconstructions", worst_pictures(task, worst))
        classes = task.spec.target.classes
        names = () if classes is None else classes.names
        publish(trainer, "latent_space", latent_plots.latent_space(codes, labels, names))
        if writer := tensorboard(trainer):
            told = labels.argmax(1) if labels.ndim == 2 and names else labels.squeeze(-1)
            words = [names[k] for k in told.tolist()] if names else [f"{v:.4g}" for v in told.tolist()]
            some = slice(1024)  # a sprite of more is slow to draw and to load
            shutil.rmtree(
                run_folder(trainer) / str(trainer.global_step).zfill(5), ignore_errors=True
            )  # of an older run
            writer.add_embedding(codes[some].float().flatten(1), words[some], x[some], trainer.global_step, "codes")


def join(left: Kept | None, right: Kept) -> Kept:
    return right if left is None else [torch.cat(pair) for pair in zip(left, right, strict=True)]


def interpolation(task: Encoding, x: Tensor, labels: Tensor, *, num_rows: int = 6, num_steps: int = 10) -> np.ndarray:
    """From one test picture to another, of another class where there is one, straight through the space of codes."""
    starts, ends = pairs(labels, num_rows)
    given = task.corrupt(x, GeneratorNoise(torch.Generator(x.device).manual_seed(film.SEED)))
    first, last = (task.encode(given[rows], labels[rows]) for rows in (starts, ends))
    way = torch.linspace(0, 1, num_steps, device=x.device).view(1, -1, *[1] * (first.ndim - 1))
    codes = torch.lerp(first[:, None], last[:, None], way).flatten(0, 1)
    between = task.decode(codes, labels[starts].repeat_interleave(num_steps, 0))
    rows = between.view(len(starts), num_steps, *between.shape[1:])
    rows = torch.cat([x[starts, None], rows, x[ends, None]], 1)
    return tiles.tile(rows.flatten(0, 1), num_steps + 2)


def pairs(labels: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Row numbers of the first pictures, and of the next picture of another class for each."""
    told = labels.argmax(1) if labels.ndim == 2 else labels
    starts, ends = [], []
    for i in range(min(most, len(told) - 1)):
        others = (told[i + 1 :] != told[i]).nonzero()
        starts.append(i)
        ends.append(i + 1 + (int(others[0]) if len(others) else 0))
    return torch.tensor(starts, device=labels.device), torch.tensor(ends, device=labels.device)


def spherical_interpolation(task: Generating, *, num_rows: int = 6, num_steps: int = 10) -> np.ndarray:
    """Between codes that were drawn, along great circles: a straight way would lead through codes that are never drawn
    (T. White, "Sampling Generative Networks", 2016)."""
    first, last = task.draw(2 * num_rows, film.SEED).chunk(2)
    way = torch.linspace(0, 1, num_steps, device=first.device)[:, None]
    cosine = torch.nn.functional.cosine_similarity(first, last).clamp(-0.9999, 0.9999)
    angle = cosine.arccos()[:, None, None]
    codes = (((1 - way) * angle).sin() * first[:, None] + (way * angle).sin() * last[:, None]) / angle.sin()
    labels = torch.arange(num_rows, device=first.device) % task.spec.target.num_outputs
    return tiles.tile(task.decode(codes.flatten(0, 1), labels.repeat_interleave(num_steps)), num_steps)


def manifold(task: Generating, side: int = 20) -> np.ndarray:
    """What each place of a code of two numbers looks like, at the quantiles of the normal distribution."""
    shares = torch.linspace(0.02, 0.98, side)
    places = torch.distributions.Normal(0.0, 1.0).icdf(shares)
    across, down = torch.meshgrid(places, places.flip(0), indexing="xy")
    codes = torch.stack([across, down], -1).flatten(0, 1).to(task.device)
    labels = torch.zeros(len(codes), dtype=torch.long, device=task.device)
    return tiles.tile(task.decode(codes, labels), side)


def worst_pictures(task: Encoding, worst: Kept) -> Figure:
    """Each beside its reconstruction, with its error."""
    x, labels, _, errors = worst
    made = task.reconstruct(task.corrupt(x, GeneratorNoise(torch.Generator(x.device).manual_seed(film.SEED))), labels)
    classes = task.spec.target.classes
    if classes is not None:
        told = labels.argmax(1) if labels.ndim == 2 else labels
        titles = [f"{classes.names[k]}\t{e:.4g}" for k, e in zip(told.tolist(), errors.tolist(), strict=True)]
    else:
        titles = [f"{e:.4g}" for e in errors.tolist()]
    heading = "worst of the test: picture, reconstruction, class and error"
    return plots.image_grid(torch.cat([x, made], 3), titles, heading=heading, num_columns=4)
