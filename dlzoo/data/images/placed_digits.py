"""Digits on a larger canvas: which one, and where.

The clutter, pieces of other digits, is that of V. Mnih et al., "Recurrent Models of Visual Attention", 2014.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.data.base import InMemoryData
from dlzoo.data.generated import check_size
from dlzoo.data.images.digits import Digits
from dlzoo.data.images.published import MNIST
from dlzoo.data.loaders import Arrays
from dlzoo.data.options import InMemoryOptions
from dlzoo.errors import UserError, at_least, between, pick
from dlzoo.specs.boxes import Boxes
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.named import Targets
from dlzoo.specs.targets import Classes

ABSENT = "none"
PIECE = 6
"""Height and width in pixels of a piece of clutter."""
THRESHOLD = 64
"""Pixels of a digit that are at least so bright, of 255, lie in its box."""
CHUNK = 2048


class PlacedDigits(InMemoryData):
    """Images (B, 1, S, S) with one handwritten digit somewhere, or none, among pieces of others. Targets: its class,
    and the smallest box around it.

    Args:
        source: the embedded digits of 8x8 pixels, or MNIST's of 28x28; test images hold digits of its test split.
        canvas: height and width of the images in pixels.
        min_size, max_size: of a digit in pixels; it lies within the canvas.
        clutter: pieces of other digits in each image.
        absent: fraction of images without a digit, of the class "none".
        num_samples: images for training and validation.
        num_test: images for testing.
        sample_seed: draws the images; independent of the run's seed, so that runs are comparable.
        data_dir, mirrors: where MNIST lies, or is downloaded to.
    """

    def __init__(
        self,
        *,
        source: Literal["digits", "mnist"] = "digits",
        canvas: int = 64,
        min_size: int = 16,
        max_size: int = 32,
        clutter: int = 4,
        absent: float = 0.1,
        num_samples: int = 20_000,
        num_test: int = 4_000,
        sample_seed: int = 0,
        data_dir: str | os.PathLike[str] = "data",
        mirrors: str | Sequence[str] | None = None,
        **common: Unpack[InMemoryOptions],
    ) -> None:
        super().__init__(**common)
        pick(source, {name: name for name in ("digits", "mnist")}, "data.source")
        self.pool = Digits() if source == "digits" else MNIST(data_dir=data_dir, mirrors=mirrors)
        at_least(20, "data", num_samples=num_samples, num_test=num_test)
        between(8, 1024, "data", canvas=canvas, min_size=min_size, max_size=max_size)
        between(0, 100, "data", clutter=clutter)
        between(0, 0.9, "data", absent=absent)
        if not min_size <= max_size <= canvas:
            raise UserError(
                f"data.min_size={min_size}, data.max_size={max_size} and data.canvas={canvas} must ascend: a digit "
                "lies within the canvas"
            )
        check_size(1 + canvas**2 // 8, num_samples=num_samples)  # a pixel is a byte, not a number of eight
        check_size(1 + canvas**2 // 8, num_test=num_test)
        self.canvas = canvas
        self.min_size = min_size
        self.max_size = max_size
        self.clutter = clutter
        self.absent = absent
        self.num_samples = num_samples
        self.num_test = num_test
        self.sample_seed = sample_seed

    def prepare_data(self) -> None:
        self.pool.prepare_data()

    def declare(self) -> ImageSpec:
        names = self.pool.declare().target.names
        absent = ABSENT if self.absent else None
        classes = Classes((*names, ABSENT) if absent else names)
        return ImageSpec(1, self.canvas, self.canvas, Targets.of({"class": classes, "box": Boxes(absent)}))

    def load(self, split: Literal["train", "test"]) -> Arrays:
        digits, labels, _ = self.pool.load(split)
        num = self.num_samples if split == "train" else self.num_test
        draw = torch.Generator().manual_seed(2 * self.sample_seed + (split == "test"))
        rows = torch.randint(len(digits), (num,), generator=draw)
        x = torch.cat([self.placed(digits[part], draw) for part in rows.split(CHUNK)])
        is_there = torch.rand(num, generator=draw) >= self.absent
        box = edges(x >= THRESHOLD) / self.canvas
        is_there &= ~box.isnan().any(1)
        x = x * is_there[:, None, None, None]
        for _ in range(self.clutter):
            paste(x, pieces(digits, num, draw), draw)
        label = labels[rows].where(is_there, len(self.pool.declare().target.names))
        return Arrays(x, {"class": label, "box": box.where(is_there[:, None], torch.nan)})

    def placed(self, digits: Tensor, draw: torch.Generator) -> Tensor:
        """digits: (n, 1, h, w) uint8 -> (n, 1, S, S) uint8: each at a random size and place within the canvas."""
        num = len(digits)
        size = self.min_size + (self.max_size - self.min_size) * torch.rand(num, generator=draw)
        scale = self.canvas / size
        room = (1 - size / self.canvas)[:, None]
        centre = room * (2 * torch.rand(num, 2, generator=draw) - 1)  # of the digit, the canvas being from -1 to 1
        theta = torch.zeros(num, 2, 3)
        theta[:, 0, 0] = theta[:, 1, 1] = scale
        theta[:, :, 2] = -centre * scale[:, None]
        grid = F.affine_grid(theta, [num, 1, self.canvas, self.canvas], align_corners=False)
        return F.grid_sample(digits.float(), grid, align_corners=False).round().to(torch.uint8)


def edges(mask: Tensor) -> Tensor:
    """mask: (N, 1, H, W) -> (N, 4) left, top, right and lower edge of what is true, in pixels; NaN where nothing is.

    >>> mask = torch.zeros(1, 1, 5, 5, dtype=torch.bool)
    >>> mask[0, 0, 1:3, 2] = True
    >>> edges(mask).tolist()
    [[2.0, 1.0, 3.0, 3.0]]
    """
    columns, rows = mask.any(2)[:, 0], mask.any(3)[:, 0]
    sides = []
    for line in (columns, rows):
        first = line.float().argmax(1).float()
        last = line.shape[1] - line.flip(1).float().argmax(1).float()
        sides.append((first.where(line.any(1), torch.nan), last.where(line.any(1), torch.nan)))
    (left, right), (top, bottom) = sides
    return torch.stack([left, top, right, bottom], dim=1)


def pieces(digits: Tensor, num: int, draw: torch.Generator) -> Tensor:
    """Random pieces of digits, (num, P, P)."""
    rows = torch.randint(len(digits), (num,), generator=draw)
    height, width = digits.shape[2:]
    top, left = (torch.randint(max(side - PIECE, 0) + 1, (num,), generator=draw) for side in (height, width))
    steps = torch.arange(min(PIECE, height, width))
    return digits[rows[:, None, None], 0, (top[:, None] + steps)[:, :, None], (left[:, None] + steps)[:, None]]


def paste(x: Tensor, patches: Tensor, draw: torch.Generator) -> None:
    """Put a patch (N, P, P) at a random place of each image (N, 1, S, S), where the brighter pixel is kept."""
    num, side = patches.shape[:2]
    top, left = (torch.randint(x.shape[2] - side + 1, (num,), generator=draw) for _ in range(2))
    steps = torch.arange(side)
    at = (torch.arange(num)[:, None, None], 0, (top[:, None] + steps)[:, :, None], (left[:, None] + steps)[:, None])
    x[at] = torch.maximum(x[at], patches)
