"""Positions of tokens, without which attention would see a set: vectors added to embeddings, or rotations of queries
and keys.

Learned: J. Gehring et al., "Convolutional Sequence to Sequence Learning", 2017, as in GPT. Sinusoidal: A. Vaswani et
al., "Attention Is All You Need", 2017. Rotary: J. Su et al., "RoFormer", 2021: the scores of attention then depend on
distances alone.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from dlzoo.errors import UserError

PositionName = Literal["learned", "sinusoidal", "rotary"]
"""How a Transformer is told the positions of tokens."""

BASE = 10_000
"""The wavelengths of sinusoidal and rotary positions are 2 pi to 2 pi times this, in tokens."""


class AddedPositions(nn.Module):
    """Adds a vector for each position to embeddings (B, T, D): learned, or sines and cosines for ``learned=False``.

    >>> AddedPositions(2, 4, learned=False)(torch.zeros(1, 2, 4))[0, :, 0]  # sin(0), sin(1)
    tensor([0.0000, 0.8415])
    """

    table: Tensor

    def __init__(self, length: int, num_units: int, *, learned: bool) -> None:
        super().__init__()
        if learned:
            self.table = nn.Parameter(torch.empty(length, num_units).normal_(std=0.02))
        else:
            self.register_buffer("table", _sinusoids(length, num_units), persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """x: (B, T, D), whose first token is at position ``start`` -> the same shape."""
        return x + self.table[start + torch.arange(x.shape[1], device=x.device)]


class RotaryPositions(nn.Module):
    """Rotates pairs of values of queries and keys (B, H, T, D) by angles that grow with the position."""

    rates: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        if head_dim % 2:
            raise UserError(
                f"net.positions=rotary rotates pairs of values, but a head has {head_dim}: make net.num_units / "
                "net.num_heads even"
            )
        self.register_buffer("rates", _rates(head_dim), persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """x: (B, H, T, D), whose first token is at position ``start`` -> the same shape."""
        positions = torch.arange(start, start + x.shape[2], device=x.device, dtype=torch.float32)
        angles = positions[:, None] * self.rates.float()
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        one, other = x.chunk(2, dim=3)
        return torch.cat([one * cos - other * sin, one * sin + other * cos], dim=3)


def _rates(num_units: int) -> Tensor:
    """The angle per token of each pair of values, (D / 2,)."""
    return torch.exp(torch.arange(0, num_units, 2, dtype=torch.float32) * (-math.log(BASE) / num_units))


def _sinusoids(length: int, num_units: int) -> Tensor:
    """(T, D): sines in the even columns, cosines in the odd ones."""
    angles = torch.arange(length, dtype=torch.float32)[:, None] * _rates(num_units)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :num_units]
