"""A convolutional net for sequences: three blocks of convolution, batch norm and ReLU, and the mean over time.

Z. Wang, W. Yan, T. Oates, "Time Series Classification from Scratch with Deep Neural Networks: A Strong Baseline",
IJCNN 2017, its fully convolutional net. Padding is ignored: it is zero for each convolution, and no part of the mean,
so that a sequence has the same output alone and in any batch.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Classes
>>> num_parameters(SequenceCNN(SequenceSpec(100, 3, Classes(("walk", "run")))))
266498
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.layers import basic as layers
from dlzoo.layers.padding import is_real
from dlzoo.nets.base import Net
from dlzoo.specs.inputs import SequenceSpec


class SequenceCNN(Net):
    """For sequences.

    Args:
        num_filters: filters of each block.
        kernel_sizes: steps that a filter of each block sees.
        dropout: dropout rate of the inputs of the output layer.
    """

    accepts = (SequenceSpec,)

    def __init__(
        self,
        spec: SequenceSpec,
        *,
        num_filters: Sequence[int] = (128, 256, 128),
        kernel_sizes: Sequence[int] = (8, 5, 3),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for key, sizes in (("num_filters", num_filters), ("kernel_sizes", kernel_sizes)):
            if not sizes or min(sizes) < 1:
                raise UserError(f"net.{key}={[*sizes]} must be numbers of at least 1, one for each block")
        if len(num_filters) != len(kernel_sizes):
            raise UserError(
                f"net.num_filters={[*num_filters]} and net.kernel_sizes={[*kernel_sizes]} must be of equal length"
            )
        sizes = [spec.num_inputs, *num_filters]
        self.convs = nn.ModuleList(
            nn.Conv1d(size, num, kernel, bias=False)
            for size, num, kernel in zip(sizes, num_filters, kernel_sizes, strict=False)
        )
        self.is_padded = spec.is_padded
        self.margins = [margins(kernel) for kernel in kernel_sizes]
        self.norms = nn.ModuleList(nn.BatchNorm1d(num) for num in num_filters)
        self.dropout = layers.dropout(dropout)
        self.output = nn.Linear(sizes[-1], spec.target.num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, D), NaN behind a sequence's end -> (B, K) logits or values."""
        real = is_real(x)[:, None].to(x.dtype)  # (B, 1, T)
        h = x.nan_to_num(0.0).transpose(1, 2)
        for conv, norm, margin in zip(self.convs, self.norms, self.margins, strict=True):
            h = self.normed(norm, conv(F.pad(h, margin)), real).relu() * real
        return self.output(self.dropout(h.sum(2) / real.sum(2)))

    def normed(self, norm: nn.Module, h: Tensor, real: Tensor) -> Tensor:
        """Batch norm of h, (B, C, T), with the statistics of real steps (B, 1, T) alone in training."""
        if not (self.training and self.is_padded):
            return norm(h)
        at = real[:, 0].bool()
        steps = h.transpose(1, 2)
        return steps.masked_scatter(at[:, :, None], norm(steps[at])).transpose(1, 2)


def margins(kernel_size: int) -> tuple[int, int]:
    """Zeros before and after a sequence, so that a convolution keeps its length; one more behind for an even size."""
    return (kernel_size - 1) // 2, kernel_size // 2
