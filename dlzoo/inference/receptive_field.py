"""Positions of the cells of a layer's feature maps in the image.

A convolution without padding has no cells at the border pixels, so maps stretched over the whole
image would be misaligned: those of LeNet-5 by 4 of 28 pixels. The arithmetic follows V. Dumoulin, F. Visin, "A guide to
convolution arithmetic for deep learning", 2016. Along a side, cell i has its centre at ``start + i * step`` pixels.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Place(NamedTuple):
    """Position of the cells along one side, in pixels; the first pixel's centre is at 0."""

    start: float
    step: float


def spread(cells: int, pixels: int) -> Place:
    """Cells that cover a side evenly: for resized images, or as the default."""
    step = pixels / cells
    return Place((step - 1) / 2, step)


class Places:
    """The positions of maps by their size; branches of a net with maps of equal size share them.

    Args:
        shape: (H, W) of the images.
    """

    def __init__(self, shape: torch.Size) -> None:
        self.shape = shape
        self.known: tuple[dict[int, Place], dict[int, Place]] = ({}, {})

    def of(self, height: int, width: int) -> tuple[Place, Place]:
        return self._side(0, height), self._side(1, width)

    def note(self, module: nn.Module, x: Tensor, out: Tensor) -> None:
        """Record a convolution or pooling that maps ``x`` (B, C, H, W) to ``out`` (B, C', H', W')."""
        for side in (0, 1):
            before, after = x.shape[2 + side], out.shape[2 + side]
            geometry = window(module, side, before, after)
            if geometry is not None:
                (start, step), (first, stride) = self._side(side, before), geometry
                self.known[side].setdefault(after, Place(start + first * step, stride * step))

    def _side(self, side: int, cells: int) -> Place:
        return self.known[side].setdefault(cells, spread(cells, self.shape[side]))


def window(module: nn.Module, side: int, before: int, after: int) -> tuple[float, int] | None:
    """The centre of the first window of a convolution or pooling, in cells of its input, and the stride.

    None for other modules, and if the output size does not match the options: the module may pad internally.
    """
    if not hasattr(module, "kernel_size"):
        return None
    kernel, stride, dilation = (
        _of_side(getattr(module, name, 1), side) for name in ("kernel_size", "stride", "dilation")
    )
    reach = dilation * (kernel - 1)
    padding = getattr(module, "padding", 0)
    pad = reach / 2 if padding == "same" else 0 if padding == "valid" else _of_side(padding, side)
    steps = (before + 2 * pad - reach - 1) / stride
    if after - 1 not in (math.floor(steps), math.ceil(steps) if getattr(module, "ceil_mode", False) else None):
        return None
    return reach / 2 - pad, stride


def _of_side(option: Any, side: int) -> int:
    return option[side] if isinstance(option, tuple) else option


def put_in_place(maps: Tensor, places: tuple[Place, Place], shape: torch.Size) -> Tensor:
    """maps: (B, C, h, w) -> (B, C, H, W), interpolated at each pixel of the image.

    The outer cells extend half a step beyond their centres; farther out, maps fade to zero.
    """
    axes, fades = [], []
    for (start, step), cells, pixels in zip(places, maps.shape[2:], shape, strict=True):
        cell = (torch.arange(pixels, device=maps.device, dtype=maps.dtype) - start) / step
        beyond = ((cell - (cells - 1) / 2).abs() - cells / 2).relu()
        fades.append((1 - 2 * beyond).relu())
        axes.append(2 * cell / (cells - 1) - 1 if cells > 1 else 0 * cell)  # -1 and 1 are the outer centres
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], 2).expand(len(maps), -1, -1, -1)
    spread_out = F.grid_sample(maps, grid, padding_mode="border", align_corners=True)
    return spread_out * fades[0][:, None] * fades[1]
