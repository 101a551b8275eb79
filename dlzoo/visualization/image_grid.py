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

if TYPE_CHECKING:
    from PIL import Image

GAP = 2
"""Pixels between two images."""
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
    Image.fromarray(pixels).save(path)


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
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0)
