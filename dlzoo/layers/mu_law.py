"""Sound in 256 levels: mu-law companding, whose levels lie the closer together the quieter they are.

ITU-T Recommendation G.711, 1988; as targets of a softmax in A. van den Oord et al., "WaveNet: A Generative Model for
Raw Audio", 2016, section 2.2.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

NUM_LEVELS = 256
MU = NUM_LEVELS - 1


def compress(x: Tensor) -> Tensor:
    """Samples in [-1, 1] -> their logarithmic loudness with their sign, in [-1, 1].

    >>> compress(torch.tensor([-1.0, 0.0, 1.0])).tolist()
    [-1.0, 0.0, 1.0]
    """
    return x.sign() * (MU * x.abs()).log1p() / math.log1p(MU)


def expand(y: Tensor) -> Tensor:
    """The inverse of `compress`."""
    return y.sign() * (y.abs() * math.log1p(MU)).expm1() / MU


def encode(x: Tensor) -> Tensor:
    """Samples -> the nearest of the levels 0 to 255, int64; samples beyond [-1, 1] are clipped.

    >>> encode(torch.tensor([-1.0, 0.0, 1.0])).tolist()
    [0, 128, 255]
    """
    return ((compress(x.float().clamp(-1, 1)) + 1) / 2 * MU + 0.5).long()


def decode(levels: Tensor) -> Tensor:
    """Levels -> samples in [-1, 1]."""
    return expand(levels.float() * (2 / MU) - 1)


SILENCE = 128
"""The level of a sample of 0, which precedes every recording."""


def previous(levels: Tensor) -> Tensor:
    """(B, L) -> the level before each sample; before the first, that of a sample of 0."""
    return F.pad(levels[:, :-1], (1, 0), value=SILENCE)


def lengths(x: Tensor) -> Tensor:
    """x: (B, 1, L) -> (B,) int64, the samples of each recording up to the last one other than zero.

    >>> lengths(torch.tensor([[[0.0, 0.5, 0.0]], [[0.0, 0.0, 0.0]]])).tolist()
    [2, 0]
    """
    places = torch.arange(1, x.shape[-1] + 1, device=x.device)
    return torch.where(x[:, 0] != 0, places, 0).amax(-1)
