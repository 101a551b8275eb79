"""Convolutional autoencoder: convolutions with max-pooling to small maps, and a mirrored decoder with upsampling.

J. Masci, U. Meier, D. Ciresan, J. Schmidhuber, "Stacked Convolutional Auto-Encoders for Hierarchical Feature
Extraction", ICANN 2011, with the layers of the course: 3x3 convolutions of 32, 32 and 16 maps with ReLU, each with 2x2
max-pooling; 16, 32 and 32 maps, each with upsampling; one convolution to the image. Pooling rounds odd sides up,
and upsampling restores them: 28 -> 14 -> 7 -> 4 -> 7 -> 14 -> 28.

>>> from dlzoo.specs.targets import Classes
>>> layers.num_parameters(ConvAutoencoder(ImageSpec(1, 28, 28, Classes(tuple("0123456789")))))
30689
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.layers import basic as layers
from dlzoo.layers.basic import ActivationName, InitName, NormName
from dlzoo.nets.base import EncoderDecoder
from dlzoo.specs.inputs import ImageSpec


class ConvAutoencoder(EncoderDecoder):
    """For images of any size.

    Args:
        num_filters: maps of each convolution of the encoder; the last ones, pooled, are the latent.
        num_pools: how many of the first convolutions are followed by pooling; null is all.
    """

    accepts = (ImageSpec,)

    def __init__(
        self,
        spec: ImageSpec,
        *,
        num_filters: Sequence[int] = (32, 32, 16),
        num_pools: int | None = None,
        activation: ActivationName = "relu",
        norm: NormName = "none",
        init: InitName = "default",
    ) -> None:
        super().__init__()
        if not num_filters or min(num_filters) < 1:
            raise UserError(f"net.num_filters={list(num_filters)} must give the maps of each convolution, at least 1")
        pools = len(num_filters) if num_pools is None else num_pools
        if not 0 <= pools <= len(num_filters):
            raise UserError(
                f"net.num_pools={num_pools} must lie between 0 and the {len(num_filters)} of net.num_filters"
            )

        def convolution(num_in: int, num_out: int) -> list[nn.Module]:
            return [
                nn.Conv2d(num_in, num_out, 3, padding=1),
                layers.map_norm(norm, num_out),
                layers.activation(activation),
            ]

        sides = [(spec.height, spec.width)]
        down: list[nn.Module] = []
        for i, sizes in enumerate(itertools.pairwise([spec.channels, *num_filters])):
            down += convolution(*sizes)
            if i < pools:
                down.append(nn.MaxPool2d(2, ceil_mode=True))
                sides.append((-(-sides[-1][0] // 2), -(-sides[-1][1] // 2)))
        up: list[nn.Module] = []
        back = [*reversed(num_filters)]
        for i, sizes in enumerate(zip([back[0], *back], back, strict=False)):
            up += convolution(*sizes)
            if (level := len(num_filters) - 1 - i) < pools:
                up.append(nn.Upsample(size=sides[level]))
        self.latent_shape = (num_filters[-1], *sides[-1])
        self.encoder = layers.sequential(*down)
        self.decoder = layers.sequential(*up, nn.Conv2d(back[-1], spec.channels, 3, padding=1))
        layers.initialise(self, init)
        self.to(memory_format=torch.channels_last)  # 1.5 times as fast on a CPU, twice with bfloat16

    def encode(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> latents (B, D), flattened maps."""
        return self.encoder(x).flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """latents: (B, D) -> pixel logits (B, C, H, W)."""
        return self.decoder(latents.view(-1, *self.latent_shape))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> its reconstruction in [0, 1]."""
        return self.decode(self.encode(x)).sigmoid()
