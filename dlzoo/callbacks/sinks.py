"""Where callbacks put what they make: the run folder and TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger

from dlzoo.errors import visible
from dlzoo.visualization import image_grid as tiles
from dlzoo.visualization import plots

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter


def run_folder(trainer: pl.Trainer) -> Path:
    folder = Path(trainer.default_root_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def tensorboard(trainer: pl.Trainer) -> SummaryWriter | None:
    """The event writer of the run's TensorBoard logger, if it has one."""
    return next((logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)), None)


def publish(trainer: pl.Trainer, name: str, figure: Figure) -> None:
    """Write a picture as ``<run folder>/<name>.png`` and into TensorBoard."""
    path = run_folder(trainer) / f"{name}.png"
    plots.save(figure, path)
    if writer := tensorboard(trainer):
        # not add_figure: it would import pyplot and draw everything once more
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            writer.add_image(name, np.asarray(image.convert("RGB")), trainer.global_step, dataformats="HWC")


def publish_pixels(trainer: pl.Trainer, name: str, pixels: np.ndarray, *, to_file: bool = True) -> None:
    """Write (H, W, 3) bytes as ``<run folder>/<name>.png``, unless only TensorBoard is to have them, and into it."""
    if to_file:
        tiles.write_png(pixels, run_folder(trainer) / f"{name}.png")
    if writer := tensorboard(trainer):
        writer.add_image(name, pixels, trainer.global_step, dataformats="HWC")


def warn(trainer: pl.Trainer, message: str) -> None:
    """What went wrong and what to do about it: on the terminal, in ``<run folder>/warnings.txt`` and in TensorBoard."""
    message = visible(message)
    print(f"warning: {message}", file=sys.stderr, flush=True)
    with (run_folder(trainer) / "warnings.txt").open("a", encoding="utf-8") as file:
        file.write(message + "\n")
    if writer := tensorboard(trainer):
        writer.add_text("warnings", message, trainer.global_step)
