"""Dilated causal convolutions with gated units: A. van den Oord et al., "WaveNet", 2016, sections 2.1 to 2.4."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GatedLayer(nn.Module):
    """A dilated causal convolution, a tanh unit times a sigmoid gate, and a residual connection.

    A causal convolution of kernel k and dilation d sees the inputs 0, d, …, (k - 1) d steps ago: here they stand side
    by side, and one linear map takes them all. The (k - 1) d inputs before the first are an argument, so that a
    sequence can be continued at the cost of its new steps alone.

    Args:
        is_last: without the residual connection, of which nothing follows.
    """

    def __init__(self, num_units: int, *, kernel: int, dilation: int, is_last: bool = False) -> None:
        super().__init__()
        self.num_units, self.kernel, self.dilation = num_units, kernel, dilation
        self.taps = nn.Linear(kernel * num_units, 2 * num_units)
        self.residual = None if is_last else nn.Linear(num_units, num_units)

    @property
    def num_past(self) -> int:
        """Inputs before the first that the layer sees."""
        return (self.kernel - 1) * self.dilation

    def forward(self, x: Tensor, past: Tensor, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: (B, T, C), past: (B, P, C), condition: (B, 1, 2 C), added inside the units -> the input of the next layer,
        the units (B, T, C), and the past of what follows."""
        whole, length = torch.cat([past, x], 1), x.shape[1]
        seen = torch.cat([whole[:, i * self.dilation : i * self.dilation + length] for i in range(self.kernel)], 2)
        signal, gate = (self.taps(seen) + condition).chunk(2, -1)
        units = signal.tanh() * gate.sigmoid()
        after = x if self.residual is None else x + self.residual(units)
        return after, units, whole[:, length:]


def receptive_field(kernel: int, dilations: list[int]) -> int:
    """Inputs that an output of stacked dilated convolutions depends on, its own step included.

    >>> receptive_field(2, [1, 2, 4, 8])
    16
    """
    return 1 + (kernel - 1) * sum(dilations)
