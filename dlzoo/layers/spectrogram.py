"""Spectrograms as layers, so that a net takes sound itself, and so does its export.

The scale of pitch is that of S. Stevens, J. Volkmann, E. Newman, "A Scale for the Measurement of the Psychological
Magnitude Pitch", 1937, by the formula of D. O'Shaughnessy, "Speech Communication", 1987: 2595 log10(1 + f / 700).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def hz_to_mel(hz: Tensor) -> Tensor:
    """
    >>> round(float(hz_to_mel(torch.tensor(1000.0))))
    1000
    """
    return 2595 * (1 + hz / 700).log10()


def mel_to_hz(mel: Tensor) -> Tensor:
    return 700 * (10 ** (mel / 2595) - 1)


def mel_filterbank(num_mels: int, num_points: int, sample_rate: int) -> Tensor:
    """(num_mels, num_points // 2 + 1) weights of the frequencies of a Fourier transform of ``num_points`` samples.

    Triangles whose centres are equally spaced in mel between 0 and half the sample rate; each falls to 0 at the centres
    of its neighbours, so that the weights of a frequency between the first and the last centre add up to 1.
    """
    frequencies = torch.linspace(0, sample_rate / 2, num_points // 2 + 1, dtype=torch.float64)
    limit = hz_to_mel(torch.tensor(sample_rate / 2, dtype=torch.float64))
    corners = mel_to_hz(limit * torch.linspace(0, 1, num_mels + 2, dtype=torch.float64))
    left, centre, right = (corners[i : i + num_mels, None] for i in range(3))
    rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0).float()


class LogMel(nn.Module):
    """(B, 1, L) samples -> (B, M, T) logarithms of the power in each mel band, one frame every ``hop`` samples.

    The Fourier transform of each frame, under a Hann window, is a convolution with cosines and sines: all exports know
    it. It is computed in single precision whatever that of the net.

    Args:
        num_points: samples in a frame.
        hop: samples from one frame to the next.
        floor: added to the power, so that silence has a logarithm.
    """

    basis: Tensor
    """(2 F, 1, num_points), cosines and then sines under the window."""
    bands: Tensor
    """(M, F)"""

    def __init__(self, sample_rate: int, *, num_points: int, hop: int, num_mels: int, floor: float = 1e-6) -> None:
        super().__init__()
        self.hop, self.floor = hop, floor
        window = torch.hann_window(num_points, dtype=torch.float64)
        cycles = torch.outer(torch.arange(num_points // 2 + 1), torch.arange(num_points)) % num_points
        angles = cycles * (2 * math.pi / num_points)
        basis = torch.cat([angles.cos(), angles.sin()]) * window
        self.register_buffer("basis", basis[:, None].float(), persistent=False)
        self.register_buffer("bands", mel_filterbank(num_mels, num_points, sample_rate), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.log_power(x.float()).to(x.dtype)

    def log_power(self, x: Tensor) -> Tensor:
        parts = F.conv1d(x, self.basis.float(), stride=self.hop, padding=self.basis.shape[-1] // 2).square()
        cosines, sines = parts.chunk(2, 1)
        return (self.bands.float() @ (cosines + sines) + self.floor).log()
