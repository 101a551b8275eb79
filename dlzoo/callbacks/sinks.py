"""Where callbacks and runs write to: the run folder, TensorBoard, and experiment trackers."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger

from dlzoo.callbacks.trackers import Status, Tracker
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


def trackers(trainer: pl.Trainer) -> list[Tracker]:
    """The run's experiment trackers; none on ranks other than zero."""
    return [logger for logger in trainer.loggers if isinstance(logger, Tracker) and trainer.is_global_zero]


def log_start(trainer: pl.Trainer, params: dict[str, object], texts: Mapping[str, str]) -> None:
    """Send hyperparameters and texts, such as the command, when a run starts; TensorBoard gets its hyperparameters with
    the final metrics, see `log_end`.

    Args:
        texts: by name; shown as code.
    """
    if (writer := tensorboard(trainer)) and trainer.is_global_zero:
        for name, text in texts.items():
            writer.add_text(name, textwrap.indent(visible(text), " " * 4))  # Markdown's code
    for tracker in trackers(trainer):
        tracker.log_hyperparams(params)
        for name, text in texts.items():
            tracker.send_text(name, visible(text))


def log_end(trainer: pl.Trainer, params: dict[str, object], metrics: dict[str, float]) -> None:
    """Send hyperparameters and final metrics when a run has finished."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger | Tracker):
            logger.log_hyperparams(params, metrics, step=trainer.global_step)
        else:
            logger.log_hyperparams(params)
        logger.save()
        logger.finalize("success")
    close(trainer, "finished")


def close(trainer: pl.Trainer, status: Status) -> None:
    """Tell the trackers how the run ended; a second time nothing."""
    for tracker in trackers(trainer):
        tracker.end(status)


def publish(trainer: pl.Trainer, name: str, figure: Figure) -> None:
    """Write a figure to ``<run folder>/<name>.png``, to TensorBoard and to the trackers."""
    path = run_folder(trainer) / f"{name}.png"
    plots.save(figure, path)
    if writer := tensorboard(trainer):
        add_png(writer, name, path, trainer.global_step)
    for tracker in trackers(trainer):
        tracker.send_picture(name, path, trainer.global_step)


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
    """Write (H, W, 3) bytes to TensorBoard and, if ``to_file``, to ``<run folder>/<name>.png`` and the trackers."""
    if to_file:
        path = run_folder(trainer) / f"{name}.png"
        tiles.write_png(pixels, path)
        for tracker in trackers(trainer):
            tracker.send_picture(name, path, trainer.global_step)
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
    for tracker in trackers(trainer):
        tracker.send_text("warnings", message)
