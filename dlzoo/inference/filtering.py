"""What `dlzoo filter_image` computes: named filters, kernels that are given as numbers, and pooling."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from dlzoo.errors import UserError, at_least
from dlzoo.layers.windows import PaddingName, PoolName, Window, convolve, pool
from dlzoo.nets.filters import FilterBank, FilterName

Range = Literal["signed", "positive", "kept"]
"""Of the values: around 0, from 0 to any size, or that of the input."""
DEFAULT_BLUR, DEFAULT_POOL = 10, 2


@dataclass(frozen=True)
class Filter:
    """One operation on a signal or an image.

    Args:
        name: as it is shown, and in the name of the file.
        compute: (1, C, …) -> (1, C, …).
        range: of the values that are computed from an image in [0, 1].
    """

    name: str
    compute: Callable[[Tensor], Tensor]
    range: Range

    def __call__(self, x: Tensor) -> Tensor:
        """(C, …) -> (C, …); `UserError` names the keys of the command."""
        with own_keys():
            return self.compute(x[None])[0]


@dataclass(frozen=True)
class Placing:
    """Where windows stand; see `Window`.

    Args:
        stride: None: 1, or the size of the windows of pooling.
    """

    stride: int | None
    padding: PaddingName
    num_padding: int | None

    def window(self, size: tuple[int, ...], stride: int) -> Window:
        """Windows of this size.

        Args:
            stride: where none was given.
        """
        with own_keys():
            return Window(size, stride if self.stride is None else self.stride, self.padding, self.num_padding)


@contextmanager
def own_keys() -> Iterator[None]:
    """Messages of nets name keys of a config, ``net.stride``; here they are those of the command."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace("net.blur_size", "size").replace("net.", "")) from None


def named(name: str, filter_name: FilterName, size: int | None, placing: Placing) -> Filter:
    """A filter of the `FilterBank`.

    Args:
        size: of the box blur.
    """
    with own_keys():
        bank = FilterBank(
            [filter_name],
            blur_size=DEFAULT_BLUR if size is None else size,
            stride=1 if placing.stride is None else placing.stride,
            padding=placing.padding,
            num_padding=placing.num_padding,
        )

    def compute(x: Tensor) -> Tensor:
        for side in x.shape[2:]:
            bank.output_side(side)
        return bank.to(x.dtype)(x)

    ranges: dict[str, Range] = {"box_blur": "kept", "sobel_magnitude": "positive"}
    return Filter(name, compute, ranges.get(filter_name, "signed"))


def kernels(numbers: Tensor, placing: Placing) -> list[Filter]:
    """Kernels (N, W) or (N, H, W) as they are given, not flipped: kernel, or kernel_1, kernel_2 and so on."""
    found = []
    window = placing.window(tuple(numbers.shape[1:]), 1)
    for number, weights in enumerate(numbers, 1):
        is_positive = bool((weights >= 0).all())
        is_mean = is_positive and math.isclose(float(weights.sum()), 1, rel_tol=1e-4)
        values: Range = "kept" if is_mean else "positive" if is_positive else "signed"
        name = "kernel" if len(numbers) == 1 else f"kernel_{number}"
        found.append(Filter(name, partial(_convolved, kernel=weights, window=window), values))
    return found


def pooling(operation: PoolName, num_dims: int, size: int | None, placing: Placing) -> Filter:
    """The largest, mean or smallest value in each window; windows touch unless a stride is given."""
    at_least(1, size=size)
    side = DEFAULT_POOL if size is None else size
    window = placing.window((side,) * num_dims, side)
    return Filter(operation, partial(_pooled, operation=operation, window=window), "kept")


def _convolved(x: Tensor, kernel: Tensor, window: Window) -> Tensor:
    window.output_shape(x.shape[2:])
    return convolve(x, kernel[None].to(x.dtype), window)


def _pooled(x: Tensor, operation: PoolName, window: Window) -> Tensor:
    window.output_shape(x.shape[2:])
    return pool(x, operation, window)


def to_pixels(y: Tensor, range_: Range) -> tuple[Tensor, str]:
    """(C, H, W) uint8, and what black and white stand for."""
    largest = float(y.abs().max()) or 1.0
    if range_ == "kept":
        scaled, meaning = y, "white is 1"
    elif range_ == "positive":
        scaled, meaning = y / largest, f"white is {largest:.4g}"
    else:
        scaled, meaning = (128 + 127 * y / largest) / 255, f"black to white is {-largest:.4g} to {largest:.4g}"
    return (scaled * 255).round().clamp(0, 255).to(torch.uint8), meaning


def as_text(y: Tensor) -> str:
    """(W,) or (H, W): a line of numbers for each row."""
    rows = [[f"{value:.6g}" for value in row] for row in (y[None] if y.ndim == 1 else y).tolist()]
    width = max((len(cell) for row in rows for cell in row), default=0) if len(rows) > 1 else 0
    return "\n".join(" ".join(cell.rjust(width) for cell in row) for row in rows)
