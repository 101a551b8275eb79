"""Where callbacks write to: the run folder and TensorBoard."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger

from dlzoo.errors import one_line, visible
from dlzoo.utils.files import open_text
from dlzoo.visualization import image_grid as tiles
from dlzoo.visualization import plots

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter


def run_folder(trainer: pl.Trainer) -> Path:
    folder = Path(trainer.default_root_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_name(trainer: pl.Trainer) -> str:
    """The name of the run's folder, for headings; of a trial, whose folder is a number, the sweep's name as well."""
    folder = run_folder(trainer).absolute()
    return visible(f"{folder.parent.name}/{folder.name}" if folder.name.isdigit() else folder.name, keep="")


def tensorboard(trainer: pl.Trainer) -> SummaryWriter | None:
    """The event writer of the run's TensorBoard logger, if it has one."""
    return next((logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)), None)


def publish(trainer: pl.Trainer, name: str, figure: Figure) -> None:
    """Write a figure to ``<run folder>/<name>.png`` and to TensorBoard."""
    path = run_folder(trainer) / f"{name}.png"
    plots.save(figure, path)
    if writer := tensorboard(trainer):
        add_png(writer, name, path, trainer.global_step)


def add_png(writer: SummaryWriter, name: str, path: Path, step: int) -> None:
    """Write a PNG file to TensorBoard as it is.

    `add_figure` would import pyplot and draw everything again, `add_image` would decode and encode it again: 0.2 s for
    a figure, more than it takes to draw it. Both write their summaries as here (torch 2.14).
    """
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    with Image.open(path) as image:
        width, height, channels = *image.size, len(image.getbands())
    content = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=path.read_bytes())
    writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=name, image=content)]), step)


def publish_pixels(trainer: pl.Trainer, name: str, pixels: np.ndarray, *, to_file: bool = True) -> None:
    """Write (H, W, 3) bytes to TensorBoard and, if ``to_file``, to ``<run folder>/<name>.png``."""
    if to_file:
        tiles.write_png(pixels, run_folder(trainer) / f"{name}.png")
    if writer := tensorboard(trainer):
        writer.add_image(name, pixels, trainer.global_step, dataformats="HWC")


def publish_embedding(
    trainer: pl.Trainer, name: str, points: Tensor, labels: Sequence[str], images: Tensor | None = None
) -> None:
    """Write points (N, D) with a label each, and perhaps images (N, C, H, W) in [0, 1], for TensorBoard's PROJECTOR."""
    writer = tensorboard(trainer)
    if writer is None:
        return
    step = trainer.global_step
    older = run_folder(trainer) / str(step).zfill(5) / name  # of an earlier run in this folder
    shutil.rmtree(older, ignore_errors=True)
    writer.add_embedding(points, [one_line(label) for label in labels], images, step, name)


def warn(trainer: pl.Trainer, message: str) -> None:
    """Write a warning with its remedy to the terminal, ``<run folder>/warnings.txt`` and TensorBoard."""
    message = visible(message)
    print(f"warning: {message}", file=sys.stderr, flush=True)
    with open_text(run_folder(trainer) / "warnings.txt", "a") as file:
        file.write(message + "\n")
    if writer := tensorboard(trainer):
        writer.add_text("warnings", message, trainer.global_step)
