"""Augmentation of batches of recordings on their device.

Parameters are drawn per recording from torch's global CPU generator, so a seed reproduces a run, and CPU and GPU runs
see the same shifts and gains.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dlzoo.data.augmentation import Augmentation
from dlzoo.errors import UserError, between
from dlzoo.layers import mu_law
from dlzoo.specs.audio import AudioSpec

NODE = "data.augment"


class AugmentSound(Augmentation):
    """Random changes that keep what is heard. All are off by default; those enabled are applied in this order.

    Args:
        shift: maximum shift in time, in either direction, as a fraction of the length; zeros come in at the other end.
        gain: maximum change of loudness, in decibels, in either direction.
        noise: maximum standard deviation of white noise, relative to that of the recording.
    """

    accepts = (AudioSpec,)

    def __init__(self, *, shift: float = 0.0, gain: float = 0.0, noise: float = 0.0) -> None:
        super().__init__()
        between(0, 1, NODE, shift=shift)
        between(0, 60, NODE, gain=gain)
        between(0, 10, NODE, noise=noise)
        self.shift = shift
        self.gain = gain
        self.noise = noise

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """x: (B, 1, L), y: any targets -> the same."""
        if x.ndim != 3:
            raise UserError(f"augment=sound requires recordings, but this data gives {x.ndim - 1}-d inputs; omit it")
        if self.shift:
            x = shifted(x, self._uniform(len(x)).mul(self.shift * x.shape[-1]).round().long().to(x.device))
        if self.gain:
            x = (x * 10 ** (self._uniform(len(x)).to(x) * self.gain / 20)[:, None, None]).clamp(-1, 1)
        if self.noise:
            lengths = mu_law.lengths(x)[:, None, None]
            loudness = (x.square().sum(-1, keepdim=True) / lengths.clamp(min=1)).sqrt()
            size = self.noise * torch.rand(len(x), 1, 1).to(x) * loudness
            is_inside = torch.arange(x.shape[-1], device=x.device) < lengths  # the zeros behind say where it ends
            x = (x + size * torch.randn(x.shape).to(x) * is_inside).clamp(-1, 1)
        return x, y

    def _uniform(self, num: int) -> Tensor:
        """(num,) in [-1, 1]"""
        return 2 * torch.rand(num) - 1


def shifted(x: Tensor, steps: Tensor) -> Tensor:
    """x: (B, 1, L), steps: (B,) -> each recording later by its number of samples, earlier if that is negative.

    >>> shifted(torch.tensor([[[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]]]), torch.tensor([1, -2])).tolist()
    [[[0.0, 1.0, 2.0]], [[3.0, 0.0, 0.0]]]
    """
    places = torch.arange(x.shape[-1], device=x.device) - steps[:, None, None]
    is_inside = (places >= 0) & (places < x.shape[-1])
    return torch.where(is_inside, x.gather(-1, places.clamp(0, x.shape[-1] - 1)), 0.0)
