"""Generative adversarial net of fully connected layers: a generator of pictures, and a discriminator that judges them.

I. Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014. Differs by leaky ReLU in both nets and BatchNorm in
the generator, as A. Radford, L. Metz, S. Chintala recommend (ICLR 2016), in place of maxout units; dropout stays.

>>> from dlzoo.specs.targets import Classes
>>> mnist = ImageSpec(1, 28, 28, Classes(tuple("0123456789")))
>>> [layers.num_parameters(part) for part in (GAN(mnist).generator, GAN(mnist).discriminator)]
[561168, 533505]
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.layers import basic as layers
from dlzoo.nets.base import AdversarialPair
from dlzoo.nets.vae import check_latent_dim
from dlzoo.specs.inputs import ImageSpec


class GAN(AdversarialPair):
    """For pictures, flattened.

    Args:
        latent_dim: numbers in a code.
        generator: units of each hidden layer of the generator.
        discriminator: the same of the discriminator.
        leak: slope of the leaky ReLU below zero.
        dropout: share of the units of each hidden layer of the discriminator that is dropped in training.
    """

    accepts = (ImageSpec,)

    def __init__(
        self,
        spec: ImageSpec,
        *,
        latent_dim: int = 100,
        generator: Sequence[int] = (256, 512),
        discriminator: Sequence[int] = (512, 256),
        leak: float = 0.2,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        for name, sizes in {"generator": generator, "discriminator": discriminator}.items():
            if min(sizes, default=1) < 1:
                raise UserError(f"net.{name}={list(sizes)} must hold the number of units of each layer, at least 1")
        self.shape = spec.shape
        self.latent_dim = latent_dim
        ups, downs = (
            [latent_dim + self.num_conditions, *generator],
            [spec.num_features + self.num_conditions, *discriminator],
        )
        make: list[nn.Module] = []
        for before, units in zip(ups, generator, strict=False):
            make += [nn.Linear(before, units), nn.BatchNorm1d(units), nn.LeakyReLU(leak)]
        self.generator = nn.Sequential(*make, nn.Linear(ups[-1], spec.num_features), nn.Tanh())
        judge: list[nn.Module] = []
        for before, units in zip(downs, discriminator, strict=False):
            judge += [nn.Linear(before, units), nn.LeakyReLU(leak), layers.dropout(dropout)]
        self.discriminator = layers.sequential(*judge, nn.Linear(downs[-1], 1))

    def generate(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """z: (B, D) -> pictures (B, C, H, W) in [0, 1]."""
        return (self.generator(self.told(z, condition)).view(-1, *self.shape) + 1) / 2

    def discriminate(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x: (B, C, H, W) in [0, 1] -> logits (B,), high for what looks real."""
        return self.discriminator(self.told(2 * x.flatten(1) - 1, condition))[:, 0]

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x: (B, C, H, W) -> logits (B,)"""
        return self.discriminate(x, condition)

    def told(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """x with the condition beside it; without one, that of no class."""
        if not self.num_conditions:
            return x
        return torch.cat([x, x.new_zeros(x.shape[0], self.num_conditions) if condition is None else condition], 1)
