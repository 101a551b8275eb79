"""Sequences of several lengths in one tensor: NaN behind each one's end."""

from __future__ import annotations

from torch import Tensor


def is_real(x: Tensor) -> Tensor:
    """x: (B, T, D) -> (B, T), false behind each sequence's end."""
    return ~x[..., 0].isnan()


def lengths_of(x: Tensor) -> Tensor:
    """x: (B, T, D) -> (B,), the steps of each sequence."""
    return is_real(x).sum(1)
