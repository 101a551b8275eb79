"""Pixel-exact image grids and animations, without matplotlib for speed, since runs write many."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dlzoo.utils import files
from dlzoo.visualization.layout import INK, shorten

if TYPE_CHECKING:
    from PIL import Image, ImageFont

GAP = 2
"""Pixels between two images."""
TEXT_SIZE = 12
"""Pixels."""
LINE = 20
"""Pixels of a line of text."""
MIN_SIDE = 48
"""Smaller images are enlarged by an integer factor to at least this many pixels."""


def tile(images: Tensor, num_columns: int) -> np.ndarray:
    """Images (N, C, H, W) in [0, 1], row by row -> one uint8 image (H', W', 3) on white."""
    x = images.detach().float().cpu().nan_to_num(0.0).clamp(0, 1).mul(255).round().byte()
    if x.shape[1] not in (1, 3):
        x = x.float().mean(1, keepdim=True).byte()
    factor = max(1, math.ceil(MIN_SIDE / max(x.shape[-2:])))
    x = x.repeat_interleave(factor, 2).repeat_interleave(factor, 3).expand(-1, 3, -1, -1)
    num, _, height, width = x.shape
    num_rows = -(-num // num_columns)
    canvas = torch.full((3, num_rows * (height + GAP) + GAP, num_columns * (width + GAP) + GAP), 255, dtype=torch.uint8)
    for i, image in enumerate(x):
        top, left = GAP + (i // num_columns) * (height + GAP), GAP + (i % num_columns) * (width + GAP)
        canvas[:, top : top + height, left : left + width] = image
    return canvas.permute(1, 2, 0).numpy()


def labelled(grid: np.ndarray, *, columns: Sequence[str] = (), rows: Sequence[str] = ()) -> np.ndarray:
    """A grid of tiles with a text above each column and to the left of each row.

    Args:
        grid: (H, W, 3), from `tile`.
        columns: a text for each of its columns, shortened to the width of a tile; or none.
        rows: a text for each of its rows; or none.
    """
    font = text_font()
    margin = math.ceil(max((font.getlength(text) for text in rows), default=-3 * GAP)) + 3 * GAP
    header = LINE if columns else 0
    canvas = np.full((grid.shape[0] + header, grid.shape[1] + margin, 3), 255, np.uint8)
    canvas[header:, margin:] = grid
    step_x, step_y = (
        (side - GAP) / max(n, 1) for side, n in ((grid.shape[1], len(columns)), (grid.shape[0], len(rows)))
    )
    texts = [
        (margin + GAP / 2 + (i + 0.5) * step_x, header - GAP, fitting(text, step_x, font), "ms")
        for i, text in enumerate(columns)
    ]
    texts += [(GAP, header + GAP / 2 + (i + 0.5) * step_y, text, "lm") for i, text in enumerate(rows)]
    return written(canvas, texts)


def captioned(frame: np.ndarray, text: str) -> np.ndarray:
    """A frame (H, W, 3) with a line of text above it, larger on a large frame, which viewers shrink."""
    size = max(TEXT_SIZE, frame.shape[1] // 28)
    line = math.ceil(size * LINE / TEXT_SIZE)
    canvas = np.full((frame.shape[0] + line, frame.shape[1], 3), 255, np.uint8)
    canvas[line:] = frame
    text = fitting(text, frame.shape[1] - 4 * GAP, text_font(size))
    return written(canvas, [(2 * GAP, line - 0.3 * size, text, "ls")], size)


def written(canvas: np.ndarray, texts: Sequence[tuple[float, float, str, str]], size: int = TEXT_SIZE) -> np.ndarray:
    """The canvas with texts: x, y, text, and Pillow's anchor."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(canvas)
    draw, font = ImageDraw.Draw(image), text_font(size)
    for x, y, text, anchor in texts:
        draw.text((x, y), text, fill=INK, font=font, anchor=anchor)
    return np.asarray(image)


def fitting(text: str, width: float, font: ImageFont.FreeTypeFont) -> str:
    """The text, shortened to a width in pixels."""
    for length in range(len(text), 0, -1):
        if font.getlength(shorten(text, length)) <= width:
            return shorten(text, length)
    return ""


def text_font(size: int = TEXT_SIZE) -> ImageFont.FreeTypeFont:
    """The font of matplotlib's figures."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def pixels(image: Tensor) -> np.ndarray:
    """An image (C, H, W) in [0, 1] -> uint8 (H, W) if greyscale, else (H, W, 3)."""
    x = image.detach().float().cpu().nan_to_num(0.0).clamp(0, 1).mul(255).round().byte()
    return x[0].numpy() if len(x) == 1 else x[:3].permute(1, 2, 0).numpy()


def png(pixels: np.ndarray) -> bytes:
    """The content of a PNG file."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def columns_of(num: int) -> int:
    """The number of columns that makes a grid of ``num`` images roughly square.

    >>> [columns_of(n) for n in (1, 2, 16, 20, 64)]
    [1, 2, 4, 5, 8]
    """
    return math.ceil(math.sqrt(num))


def write_png(pixels: np.ndarray, path: Path) -> None:
    """pixels: (H, W, 3) uint8."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replaced(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")


def read_png(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def write_gif(frames: Sequence[np.ndarray], path: Path, *, seconds: float = 6.0) -> None:
    """Write an animation that loops and pauses on its last frame."""
    from PIL import Image

    each = min(500, max(60, int(1000 * seconds / len(frames))))  # milliseconds
    images: list[Image.Image] = [Image.fromarray(frame) for frame in frames]
    durations = [each] * (len(images) - 1) + [2000]
    with files.replaced(path) as temporary:
        images[0].save(temporary, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
