"""Policies that draw an operation for a picture: RandAugment and TrivialAugment, torchvision's, for whole batches.

- RandAugment: E. Cubuk, B. Zoph, J. Shlens, Q. Le, "RandAugment: Practical Automated Data Augmentation with a Reduced
  Search Space", 2020: a few operations in turn, all of one magnitude.
- TrivialAugment: S. Müller, F. Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", 2021, the
  wide table: one operation, of any magnitude. There moves go to 32 pixels, here no further than RandAugment's, 45% of a
  side: a digit of 8x8 would be gone.

Both draw from the same 14: nothing, shear, move and turn; brightness, saturation, contrast, sharpness; fewer bits,
solarised, stretched and equalised histograms. torchvision draws once for all that it is given, so a batch is shuffled
into groups of eight, each with its own draw. Timed on one CPU core, 128 pictures, 1x28x28 and 3x32x32 (torch 2.14,
torchvision 0.29, kornia 0.9, medians of 60 calls): RandAugment 3.8 and 6.3 ms, TrivialAugment 2.0 and 3.4 ms; with a
draw for each picture 20 and 28 ms. One draw for the whole batch takes torchvision 0.7 and 2.3 ms, and kornia's
RandAugment, which has another table and no grey pictures, 7.7 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dlzoo.errors import UserError

GROUP_SIZE = 8
MAX_MAGNITUDE = 30
FARTHEST_MOVE = (32, 150 / 331)
"""In pixels, and as a fraction of the side (RandAugment's, from AutoAugment: 150 pixels of 331)."""

Change = Callable[[Tensor], Tensor]


def randaugment(num_ops: int, magnitude: int) -> Change:
    """``num_ops`` operations in turn, each of ``magnitude`` out of 30; those that have a direction take either."""
    v2 = transforms()
    policy = v2.RandAugment(num_ops, magnitude, MAX_MAGNITUDE + 1, v2.InterpolationMode.BILINEAR)
    return lambda x: in_groups(policy, x, "randaugment")


def trivial_augment() -> Change:
    """One operation, its magnitude uniform from 0 to 30 out of 30."""
    v2 = transforms()
    policy = v2.TrivialAugmentWide(MAX_MAGNITUDE + 1, v2.InterpolationMode.BILINEAR)
    policy._AUGMENTATION_SPACE = policy._AUGMENTATION_SPACE | {
        "TranslateX": (lambda num, height, width: moves(num, width), True),
        "TranslateY": (lambda num, height, width: moves(num, height), True),
    }
    return lambda x: in_groups(policy, x, "trivial")


def moves(num: int, side: int) -> Tensor:
    """(num,) distances in pixels for a side of so many."""
    pixels, fraction = FARTHEST_MOVE
    return torch.linspace(0, min(pixels, fraction * side), num)


def in_groups(policy: Change, x: Tensor, name: str) -> Tensor:
    """x: (B, C, H, W) -> the same, each random group of pictures changed by a call of its own."""
    if x.shape[1] not in (1, 3):
        raise UserError(f"augment={name} changes grey or colour pictures, but these have {x.shape[1]} channels")
    out = torch.empty_like(x)
    for rows in torch.randperm(len(x)).to(x.device).split(GROUP_SIZE):
        out[rows] = policy(x[rows])
    return out


def transforms() -> Any:
    try:
        import torchvision.transforms.v2 as v2  # not at the top: an optional package, and 1 s
    except ImportError as error:
        raise UserError(f"augment=randaugment and augment=trivial need torchvision (pip install it): {error}") from None
    return v2
