"""TCN: a temporal convolutional net, whose causal filters see ever further back by dilation.

S. Bai, J. Z. Kolter, V. Koltun, "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence
Modeling", 2018. A residual block has two causal convolutions with weight normalisation, ReLU and dropout; the
dilation doubles from block to block, so that the receptive field grows exponentially with depth. The last step's
channels go through a linear layer to the next value.
Differs in the number of blocks: by default as many as the window needs.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Values
>>> passengers = SeriesSpec(Values(("passengers",)), window=48, horizon=12)
>>> num_parameters(TCN(passengers))  # 4 blocks
12625
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from dlzoo.errors import UserError, at_least
from dlzoo.layers import basic as layers
from dlzoo.nets.base import Net
from dlzoo.specs.inputs import SeriesSpec


class TCN(Net):
    """For series.

    Args:
        num_filters: channels of each block; or one number for each of them.
        kernel_size: steps that a filter sees.
        num_blocks: residual blocks; None: as many as see the whole window.
        dropout: dropout rate of whole channels.
        skip: add a linear map of the window to the output.
    """

    accepts = (SeriesSpec,)

    def __init__(
        self,
        spec: SeriesSpec,
        *,
        num_filters: int | Sequence[int] = 24,
        kernel_size: int = 3,
        num_blocks: int | None = None,
        dropout: float = 0.0,
        skip: bool = False,
    ) -> None:
        super().__init__()
        at_least(2, "net", kernel_size=kernel_size)
        at_least(1, "net", num_blocks=num_blocks)
        channels = list_of(num_filters, num_blocks or num_needed(spec.window, kernel_size))
        if num_blocks is not None and len(channels) != num_blocks:
            raise UserError(f"net.num_filters={channels} are {len(channels)} blocks, but net.num_blocks={num_blocks}")
        self.output_shape = spec.output_shape
        sizes = [spec.shape[1], *channels]
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(size, num, kernel_size, dilation=2**i, dropout=dropout)
                for i, (size, num) in enumerate(zip(sizes, channels, strict=False))
            )
        )
        self.output = nn.Linear(channels[-1], spec.num_predicted)
        self.skip = nn.Linear(spec.num_features, spec.num_predicted, bias=False) if skip else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, W, D) -> (B, D), the next value, or (B, S, D), the next S; (B, S, D, Q) of quantiles."""
        y = self.output(self.blocks(x.transpose(1, 2))[:, :, -1])
        return (y if self.skip is None else y + self.skip(x.flatten(1))).unflatten(1, self.output_shape)


class ResidualBlock(nn.Module):
    """relu(x + F(x)), where F is two causal convolutions; x passes through a 1x1 convolution if the sizes differ."""

    def __init__(self, num_inputs: int, num_filters: int, kernel_size: int, *, dilation: int, dropout: float) -> None:
        super().__init__()
        self.first = CausalConv(num_inputs, num_filters, kernel_size, dilation)
        self.second = CausalConv(num_filters, num_filters, kernel_size, dilation)
        self.dropout = nn.Dropout1d(dropout) if dropout else nn.Identity()
        layers.dropout(dropout)  # checks the rate
        self.match = nn.Identity() if num_inputs == num_filters else nn.Conv1d(num_inputs, num_filters, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, T) -> (B, F, T)"""
        y = self.dropout(self.first(x).relu())
        y = self.dropout(self.second(y).relu())
        return (y + self.match(x)).relu()


class CausalConv(nn.Module):
    """A dilated convolution with normalised weights, whose output at a step sees that step and earlier ones alone."""

    def __init__(self, num_inputs: int, num_filters: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.kernel_size, self.dilation = kernel_size, dilation
        self.conv = weight_norm(nn.Conv1d(num_inputs, num_filters, kernel_size, dilation=dilation))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, T) -> (B, F, T)

        Weights of steps before the first one are left out, whose inputs are zeros: a few blocks more than the steps
        need would take more memory than there is.
        """
        num_seen = min(self.kernel_size, (x.shape[-1] - 1) // self.dilation + 1)
        if num_seen == self.kernel_size:
            return self.conv(F.pad(x, ((num_seen - 1) * self.dilation, 0)))
        dilation = self.dilation if num_seen > 1 else 1
        weight = self.conv.weight[..., self.kernel_size - num_seen :]
        return F.conv1d(F.pad(x, ((num_seen - 1) * dilation, 0)), weight, self.conv.bias, dilation=dilation)


def num_needed(window: int, kernel_size: int) -> int:
    """Blocks whose receptive field, 1 + 2 (K - 1) (2^n - 1), covers a window.

    >>> [num_needed(window, 3) for window in (1, 5, 6, 13, 48)]
    [1, 1, 2, 2, 4]
    """
    num = 1
    while 1 + 2 * (kernel_size - 1) * (2**num - 1) < window:
        num += 1
    return num


def list_of(num_filters: int | Sequence[int], num_blocks: int) -> list[int]:
    """The channels of each block."""
    channels = [num_filters] * num_blocks if isinstance(num_filters, int) else list(num_filters)
    if not channels or min(channels) < 1:
        raise UserError(f"net.num_filters={num_filters} must be at least 1, for at least one block")
    return channels
