"""Where callbacks write to: the run folder and TensorBoard."""

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
    """Write a figure to ``<run folder>/<name>.png`` and to TensorBoard."""
    path = run_folder(trainer) / f"{name}.png"
    plots.save(figure, path)
    if writer := tensorboard(trainer):
        # not add_figure, which would import pyplot and draw everything again
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            writer.add_image(name, np.asarray(image.convert("RGB")), trainer.global_step, dataformats="HWC")


def publish_pixels(trainer: pl.Trainer, name: str, pixels: np.ndarray, *, to_file: bool = True) -> None:
    """Write (H, W, 3) bytes to TensorBoard and, if ``to_file``, to ``<run folder>/<name>.png``."""
    if to_file:
        tiles.write_png(pixels, run_folder(trainer) / f"{name}.png")
    if writer := tensorboard(trainer):
        writer.add_image(name, pixels, trainer.global_step, dataformats="HWC")


def warn(trainer: pl.Trainer, message: str) -> None:
    """Write a warning with its remedy to the terminal, ``<run folder>/warnings.txt`` and TensorBoard."""
    message = visible(message)
    print(f"warning: {message}", file=sys.stderr, flush=True)
    with (run_folder(trainer) / "warnings.txt").open("a", encoding="utf-8") as file:
        file.write(message + "\n")
    if writer := tensorboard(trainer):
        writer.add_text("warnings", message, trainer.global_step)
