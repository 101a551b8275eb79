"""Noise by name, for nets that learn to clean pictures. Pictures stay in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from dlzoo.errors import UserError, pick

NoiseName = Literal["none", "gaussian", "masking", "salt_and_pepper", "uniform"]
Corrupt = Callable[[Tensor, torch.Generator | None], Tensor]


def corruption(name: NoiseName, level: float) -> Corrupt:
    """x (B, C, H, W), generator -> the same, noisy.

    ``gaussian`` adds N(0, level) and clips; ``uniform`` adds numbers between -level and level and clips; ``masking``
    sets a share ``level`` of the pixels to 0 and ``salt_and_pepper`` to 0 or 1 (P. Vincent et al., "Stacked Denoising
    Autoencoders", JMLR 11, 2010). A pixel is lost in all its channels.
    """
    table: dict[str, Corrupt] = {
        "none": lambda x, generator: x,
        "gaussian": lambda x, generator: (x + level * normal(x, generator)).clamp(0, 1),
        "uniform": lambda x, generator: (x + level * (2 * uniform(x.shape, x, generator) - 1)).clamp(0, 1),
        "masking": lambda x, generator: x * (per_pixel(x, generator) >= level),
        "salt_and_pepper": lambda x, generator: salt_and_pepper(x, level, generator),
    }
    corrupt = pick(name, table, "task.noise")
    if level < 0 or (level > 1 and name in ("masking", "salt_and_pepper")):
        raise UserError(f"task.noise_level={level} must be at least 0, and for {name} at most 1" if level > 1 else
                        f"task.noise_level={level} must not be negative")  # fmt: skip
    return corrupt


def salt_and_pepper(x: Tensor, level: float, generator: torch.Generator | None) -> Tensor:
    chance = per_pixel(x, generator)
    return torch.where(chance < level / 2, 0.0, torch.where(chance < level, 1.0, x))


def normal(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def uniform(shape: torch.Size, x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(shape, generator=generator, device=x.device, dtype=x.dtype)


def per_pixel(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return uniform(x[:, :1].shape, x, generator)
