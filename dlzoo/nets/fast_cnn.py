"""A small strided CNN that reaches 99% on MNIST in two epochs.

In the spirit of K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (airbench), 2024, for two CPU cores: no
pooling and little arithmetic. Each 2x2 block of pixels becomes four channels (W. Shi et al., "Real-Time Single Image
and Video Super-Resolution Using an Efficient Sub-Pixel CNN", 2016, backwards), so that the first convolution already
works on a quarter of the places; two of three convolutions have stride 2; BatchNorm allows a high learning rate.

>>> from dlzoo.specs.targets import Classes
>>> from dlzoo.specs.inputs import ImageSpec
>>> net = FastCNN(ImageSpec(1, 28, 28, Classes(tuple("0123456789"))))
>>> sum(p.numel() for p in net.parameters())
42282
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.nets.base import Net
from dlzoo.specs.inputs import ImageSpec


class FastCNN(Net):
    """Pixel unshuffle, then blocks of convolution, BatchNorm and ReLU, then one linear layer.

    Args:
        num_channels: output channels of each block.
        kernel_sizes: kernel size of each block.
        strides: stride of each block.
    """

    accepts = (ImageSpec,)

    def __init__(
        self,
        spec: ImageSpec,
        *,
        num_channels: Sequence[int] = (16, 32, 64),
        kernel_sizes: Sequence[int] = (3, 5, 3),
        strides: Sequence[int] = (1, 2, 2),
    ) -> None:
        super().__init__()
        if not len(num_channels) == len(kernel_sizes) == len(strides) >= 1:
            raise UserError(
                f"net.num_channels={list(num_channels)}, net.kernel_sizes={list(kernel_sizes)} and "
                f"net.strides={list(strides)} must have one value for each convolution"
            )
        self.pad = (0, spec.width % 2, 0, spec.height % 2)  # blocks of 2x2 need even sizes
        height, width, channels = (spec.height + 1) // 2, (spec.width + 1) // 2, 4 * spec.channels
        layers: list[nn.Module] = []
        for out, kernel, stride in zip(num_channels, kernel_sizes, strides, strict=True):
            layers += [
                nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(),
            ]
            height, width, channels = -(-height // stride), -(-width // stride), out
        self.convolutions = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        self.output = nn.Linear(channels * height * width, spec.target.num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> (B, K)"""
        blocks = F.pixel_unshuffle(F.pad(x, self.pad) if any(self.pad) else x, 2)
        features = self.convolutions(blocks.contiguous(memory_format=torch.channels_last))
        return self.output(features.flatten(1))
