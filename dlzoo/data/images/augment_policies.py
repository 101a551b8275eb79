"""Augmentation policies that draw random operations: torchvision's RandAugment and TrivialAugment, for batches.

- RandAugment: E. Cubuk, B. Zoph, J. Shlens, Q. Le, "RandAugment: Practical Automated Data Augmentation with a Reduced
  Search Space", 2020: a few operations in sequence, all of the same magnitude.
- TrivialAugment: S. Müller, F. Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", 2021, the
  wide search space: one operation of random magnitude. The original shifts by up to 32 pixels; here shifts are limited
  to RandAugment's 45% of a side, as an 8x8 digit would vanish.

Both draw from the same 14 operations: identity, shear, translate and rotate; brightness, saturation, contrast,
sharpness; posterize, solarize, autocontrast and equalize. torchvision draws once per call, so a batch is shuffled into
groups of eight, each with its own draw. Timed on one CPU core, 128 images, 1x28x28 and 3x32x32 (torch 2.14,
torchvision 0.29, kornia 0.9, medians of 60 calls): RandAugment 3.8 and 6.3 ms, TrivialAugment 2.0 and 3.4 ms; with one
draw per image 20 and 28 ms. With one draw per batch torchvision takes 0.7 and 2.3 ms; kornia's RandAugment, which has
another search space and does not support greyscale, takes 7.7 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from dlzoo.errors import UserError

GROUP_SIZE = 8
MAX_MAGNITUDE = 30
MAX_SHIFT = (32, 150 / 331)
"""In pixels, and as a fraction of the side (RandAugment's, from AutoAugment: 150 of 331 pixels)."""

Transform = Callable[[Tensor], Tensor]


def randaugment(num_ops: int, magnitude: int) -> Transform:
    """``num_ops`` operations in sequence, each of ``magnitude`` out of 30 and, if it is signed, of random sign."""
    v2 = transforms()
    policy = v2.RandAugment(num_ops, magnitude, MAX_MAGNITUDE + 1, v2.InterpolationMode.BILINEAR)
    return lambda x: apply_in_groups(policy, x, "randaugment")


def trivial_augment() -> Transform:
    """One operation with a magnitude drawn uniformly from 0 to 30."""
    v2 = transforms()
    policy = v2.TrivialAugmentWide(MAX_MAGNITUDE + 1, v2.InterpolationMode.BILINEAR)
    policy._AUGMENTATION_SPACE = policy._AUGMENTATION_SPACE | {
        "TranslateX": (lambda num, height, width: shifts(num, width), True),
        "TranslateY": (lambda num, height, width: shifts(num, height), True),
    }
    return lambda x: apply_in_groups(policy, x, "trivial")


def shifts(num: int, side: int) -> Tensor:
    """(num,) shifts in pixels for images with ``side`` pixels along the axis."""
    pixels, fraction = MAX_SHIFT
    return torch.linspace(0, min(pixels, fraction * side), num)


def apply_in_groups(policy: Transform, x: Tensor, name: str) -> Tensor:
    """x: (B, C, H, W) -> the same, with one draw of the policy per random group of images."""
    if x.shape[1] not in (1, 3):
        raise UserError(
            f"augment={name} requires grey or colour images, but these have {x.shape[1]} channels; use augment=none"
        )
    out = torch.empty_like(x)
    for rows in torch.randperm(len(x)).to(x.device).split(GROUP_SIZE):
        out[rows] = policy(x[rows])
    return out


def transforms() -> ModuleType:
    import torchvision.transforms.v2 as v2  # not at the top: 1 s

    return v2
