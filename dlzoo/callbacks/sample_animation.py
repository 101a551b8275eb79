"""Animations over the epochs: samples from fixed latents, or reconstructions of fixed images."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, Step, eval_mode
from dlzoo.callbacks.sinks import publish_pixels, run_folder
from dlzoo.distributed.noise import GeneratorNoise
from dlzoo.errors import UserError
from dlzoo.metrics.examples import BalancedSample, class_labels
from dlzoo.tasks.base import Task
from dlzoo.tasks.interfaces import Encoding, Generating
from dlzoo.visualization import image_grid as tiles

SEED = 0
"""Of the latents that are decoded after each epoch."""

MAX_CLASSES = 16
"""Columns of a grid with a column for each class, at most."""


class SampleAnimation(Report):
    """``samples.gif`` from fixed latents; ``reconstructions.gif`` of fixed validation images if it does not generate.

    Each frame is also a PNG in the folder ``film``, so that a resumed run keeps the earlier frames. TensorBoard gets
    every frame, and reconstructions also of generative autoencoders.

    Args:
        num_samples: images from fixed latents.
        num_reconstructions: validation images.
        every_n_epochs: interval between frames; None gives about forty a run.
    """

    def __init__(
        self, *, num_samples: int = 64, num_reconstructions: int = 12, every_n_epochs: int | None = None
    ) -> None:
        if every_n_epochs is not None and every_n_epochs < 1:
            raise UserError(f"callbacks.film.every_n_epochs={every_n_epochs} must be at least 1, or null")
        self.num_samples = num_samples
        self.num_reconstructions = num_reconstructions
        self.every_n_epochs = every_n_epochs
        self.fixed: tuple[Tensor, ...] | None = None
        self.sample = BalancedSample(num_reconstructions)

    def applies_to(self, task: Task) -> bool:
        if task.as_memory() is not None:
            return False  # it learns in one step
        return task.as_image_encoder() is not None or task.as_generator() is not None

    def write_start(self, trainer: pl.Trainer, task: Task) -> None:
        self.fixed = None
        self.sample = BalancedSample(self.num_reconstructions)
        for path in frames_in(run_folder(trainer)):
            if epoch_of(path) > trainer.current_epoch:  # of an older run in this folder
                path.unlink()
        if trainer.current_epoch == 0:
            self.add_frame(trainer, task, 0)

    def collect_validation(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        if self.fixed is not None or not trainer.is_global_zero:
            return
        if step.batch_idx == 0:  # an epoch may have several validations
            self.sample = BalancedSample(self.num_reconstructions)
        x, labels, *_ = step.batch
        self.sample.add((x, labels), None if task.spec.target.classes is None else labels)

    def write_epoch(self, trainer: pl.Trainer, task: Task) -> None:
        if self.fixed is None and len(self.sample):
            self.fixed = self.sample.stacked()
        epoch, last = trainer.current_epoch + 1, trainer.max_epochs or 0
        every = self.every_n_epochs or max(1, last // 40)
        if epoch % every == 0 or epoch == last:
            self.add_frame(trainer, task, epoch)

    def add_frame(self, trainer: pl.Trainer, task: Task, epoch: int) -> None:
        """Add a frame of this epoch."""
        frames = {}
        encoder, generator = task.as_image_encoder(), task.as_generator()
        with eval_mode(task):
            if encoder is not None and self.fixed is not None:
                frames["reconstructions"] = reconstructions(encoder, *self.fixed)
            if generator is not None:
                frames["samples"] = samples(generator, self.num_samples)
        for name, pixels in frames.items():
            publish_pixels(trainer, name, pixels, to_file=False)
            if name == animation_of(task):
                tiles.write_png(pixels, run_folder(trainer) / "film" / f"epoch_{epoch:05d}.png")

    def write_fit(self, trainer: pl.Trainer, task: Task) -> None:
        folder = run_folder(trainer)
        if paths := frames_in(folder):
            frames = [tiles.captioned(tiles.read_png(path), f"epoch {epoch_of(path)}") for path in paths]
            tiles.write_gif(frames, folder / f"{animation_of(task)}.gif")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if trainer.state.fn == "fit":
            self.on_train_end(trainer, pl_module)


def animation_of(task: Task) -> str:
    return "reconstructions" if task.as_generator() is None else "samples"


def frames_in(folder: Path) -> list[Path]:
    """The frames of a run in the order of their epochs."""
    return sorted((folder / "film").glob("epoch_*.png"))


def epoch_of(frame: Path) -> int:
    return int(frame.stem.removeprefix("epoch_"))


def samples(task: Generating, num: int, seed: int = SEED) -> np.ndarray:
    """A grid of samples; a class-conditional net has a column for each class, and the same latent along a row."""
    if not task.is_conditional:
        return tiles.tile(task.sample(num, seed), tiles.columns_of(num))
    num_columns = min(task.spec.target.num_outputs, MAX_CLASSES)
    num_rows = max(1, num // num_columns)
    labels = torch.arange(num_columns, device=task.device).repeat(num_rows)
    latents = task.draw(num_rows, seed).repeat_interleave(num_columns, 0)
    return tiles.labelled(
        tiles.tile(task.decode(latents, labels), num_columns), columns=task.spec.target.names[:num_columns]
    )


def reconstructions(task: Encoding, x: Tensor, labels: Tensor) -> np.ndarray:
    """Rows of originals, of the net's inputs if these differ, and of its outputs; the classes above."""
    inputs = task.corrupt(x, GeneratorNoise(torch.Generator(x.device).manual_seed(SEED)))
    shown = {"image": x} | ({} if inputs is x else {"corrupted": inputs})
    shown["reconstructed"] = task.reconstruct(inputs, labels)
    classes = task.spec.target.classes
    names = () if classes is None else [classes.names[k] for k in class_labels(labels).tolist()]
    return tiles.labelled(tiles.tile(torch.cat([*shown.values()]), len(x)), columns=names, rows=[*shown])
