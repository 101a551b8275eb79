"""Image corruption by name, for denoising. Images stay in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from dlzoo.distributed.noise import Noise
from dlzoo.errors import UserError, pick

NoiseName = Literal["none", "gaussian", "masking", "salt_and_pepper", "uniform"]
Corrupt = Callable[[Tensor, Noise], Tensor]


def corruption(name: NoiseName, level: float) -> Corrupt:
    """x (B, C, H, W), noise -> the same, noisy.

    ``gaussian`` adds N(0, level) and clips; ``uniform`` adds values between -level and level and clips; ``masking``
    sets a fraction ``level`` of pixels to 0 and ``salt_and_pepper`` to 0 or 1 (P. Vincent et al., "Stacked Denoising
    Autoencoders", JMLR 11, 2010). All channels of a pixel are corrupted together.
    """
    table: dict[str, Corrupt] = {
        "none": lambda x, noise: x,
        "gaussian": lambda x, noise: (x + level * noise.normal(x.shape, x.device, x.dtype)).clamp(0, 1),
        "uniform": lambda x, noise: (x + level * (2 * noise.uniform(x.shape, x.device, x.dtype) - 1)).clamp(0, 1),
        "masking": lambda x, noise: x * (per_pixel(x, noise) >= level),
        "salt_and_pepper": lambda x, noise: salt_and_pepper(x, level, noise),
    }
    corrupt = pick(name, table, "task.noise")
    if level < 0 or (level > 1 and name in ("masking", "salt_and_pepper")):
        raise UserError(f"task.noise_level={level} must be at least 0, and for {name} at most 1" if level > 1 else
                        f"task.noise_level={level} must not be negative")  # fmt: skip
    return corrupt


def salt_and_pepper(x: Tensor, level: float, noise: Noise) -> Tensor:
    chance = per_pixel(x, noise)
    return torch.where(chance < level / 2, 0.0, torch.where(chance < level, 1.0, x))


def per_pixel(x: Tensor, noise: Noise) -> Tensor:
    return noise.uniform(x[:, :1].shape, x.device, x.dtype)
