"""Generative adversarial net of fully connected layers: a generator of images and a discriminator.

I. Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014. Differs in leaky ReLU in both nets and BatchNorm in
the generator, as A. Radford, L. Metz, S. Chintala recommend (ICLR 2016), instead of maxout units; dropout is kept.

>>> from dlzoo.specs.targets import Classes
>>> mnist = ImageSpec(1, 28, 28, Classes(tuple("0123456789")))
>>> [layers.num_parameters(part) for part in (GAN(mnist).generator, GAN(mnist).discriminator)]
[561168, 533505]
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.layers import basic as layers
from dlzoo.nets.base import AdversarialPair
from dlzoo.nets.vae import check_latent_dim
from dlzoo.specs.inputs import ImageSpec


class GAN(AdversarialPair):
    """For flattened images.

    Args:
        latent_dim: size of the latent.
        generator: units of each hidden layer of the generator.
        discriminator: units of each hidden layer of the discriminator.
        leak: slope of the leaky ReLU below zero.
        dropout: dropout rate of each hidden layer of the discriminator.
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
                raise UserError(f"net.{name}={list(sizes)} must give the number of units of each layer, at least 1")
        self.shape = spec.shape
        self.latent_dim = latent_dim
        generator_sizes, discriminator_sizes = (
            [latent_dim + self.num_conditions, *generator],
            [spec.num_features + self.num_conditions, *discriminator],
        )
        generator_layers: list[nn.Module] = []
        for before, units in zip(generator_sizes, generator, strict=False):
            generator_layers += [nn.Linear(before, units), nn.BatchNorm1d(units), nn.LeakyReLU(leak)]
        self.generator = nn.Sequential(*generator_layers, nn.Linear(generator_sizes[-1], spec.num_features), nn.Tanh())
        discriminator_layers: list[nn.Module] = []
        for before, units in zip(discriminator_sizes, discriminator, strict=False):
            discriminator_layers += [nn.Linear(before, units), nn.LeakyReLU(leak), layers.dropout(dropout)]
        self.discriminator = layers.sequential(*discriminator_layers, nn.Linear(discriminator_sizes[-1], 1))

    def generate(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """z: (B, D) -> images (B, C, H, W) in [0, 1]."""
        return (self.generator(self.with_condition(z, condition)).view(-1, *self.shape) + 1) / 2

    def discriminate(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x: (B, C, H, W) in [0, 1] -> logits (B,), high for what looks real."""
        return self.discriminator(self.with_condition(2 * x.flatten(1) - 1, condition))[:, 0]

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x: (B, C, H, W) -> logits (B,)"""
        return self.discriminate(x, condition)
