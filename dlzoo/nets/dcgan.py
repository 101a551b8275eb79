"""Deep convolutional generative adversarial net.

A. Radford, L. Metz, S. Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", ICLR 2016: strided convolutions in place of pooling, no hidden dense layer, BatchNorm except at the pixels,
ReLU in the generator with a tanh output, leaky ReLU in the discriminator, weights from N(0, 0.02). Differs in its
size: maps begin at about 4x4 and double until they cover the image, 4 -> 8 -> 16 -> 32 for 28x28, cropped, and there
are ``width`` of them at the largest, 64 in the paper for 64x64.

>>> from dlzoo.layers import basic as layers
>>> from dlzoo.specs.targets import Classes
>>> mnist = ImageSpec(1, 28, 28, Classes(tuple("0123456789")))
>>> [layers.num_parameters(part) for part in (DCGAN(mnist).generator, DCGAN(mnist).discriminator)]
[369601, 166817]
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from dlzoo.errors import at_least
from dlzoo.layers import basic as layers
from dlzoo.layers.basic import NormName
from dlzoo.nets.base import AdversarialPair
from dlzoo.nets.vae import check_latent_dim
from dlzoo.specs.inputs import ImageSpec


class DCGAN(AdversarialPair):
    """For images of any size.

    Args:
        latent_dim: size of the latent.
        width: maps of the layer next to the pixels, in both nets; each step towards the latent doubles them.
        leak: slope of the discriminator's leaky ReLU below zero.
        discriminator_norm: BatchNorm as in the paper; with a gradient penalty use none or layer.
    """

    accepts = (ImageSpec,)

    def __init__(
        self,
        spec: ImageSpec,
        *,
        latent_dim: int = 100,
        width: int = 32,
        leak: float = 0.2,
        discriminator_norm: NormName = "batch",
    ) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        at_least(1, "net", width=width)
        num, sides = layers.halvings(spec.height, spec.width)
        maps = [width * 2**i for i in range(num)]
        self.size = (spec.height, spec.width)
        self.padding = [sides[1] * 2**num - spec.width, sides[0] * 2**num - spec.height]
        self.latent_dim = latent_dim
        up: list[nn.Module] = [nn.ConvTranspose2d(latent_dim, maps[-1], sides, bias=False)]
        for num_in, num_out in itertools.pairwise(reversed(maps)):
            up += [nn.BatchNorm2d(num_in), nn.ReLU(), nn.ConvTranspose2d(num_in, num_out, 4, 2, 1, bias=False)]
        up += [nn.BatchNorm2d(maps[0]), nn.ReLU(), nn.ConvTranspose2d(maps[0], spec.channels, 4, 2, 1), nn.Tanh()]
        self.generator = nn.Sequential(*up)
        has_norm = discriminator_norm != "none"
        down: list[nn.Module] = [nn.Conv2d(spec.channels, maps[0], 4, 2, 1), nn.LeakyReLU(leak)]
        for num_in, num_out in itertools.pairwise(maps):
            down += [
                nn.Conv2d(num_in, num_out, 4, 2, 1, bias=not has_norm),
                layers.map_norm(discriminator_norm, num_out),
                nn.LeakyReLU(leak),
            ]
        self.discriminator = layers.sequential(*down, nn.Conv2d(maps[-1], 1, sides))
        for part in self.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(part.weight, std=0.02)
            elif isinstance(part, nn.BatchNorm2d):
                nn.init.normal_(part.weight, mean=1.0, std=0.02)

    def generate(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """z: (B, D) -> images (B, C, H, W) in [0, 1]."""
        return (layers.crop(self.generator(z[:, :, None, None]), self.size) + 1) / 2

    def discriminate(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x: (B, C, H, W) in [0, 1] -> logits (B,), high for what looks real."""
        return self.discriminator(layers.pad(2 * x - 1, self.padding)).flatten()

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> logits (B,)"""
        return self.discriminate(x)
