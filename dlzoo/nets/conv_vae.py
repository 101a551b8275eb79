"""Convolutional variational autoencoder: strided convolutions to a Gaussian over latents, transposed ones to pixels.

D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014, with the strided layers of A. Radford, L. Metz,
S. Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks", ICLR 2016.
Maps are halved until a side is about 4, three times for 28x28, and a hidden layer of 256 units joins them.

>>> from dlzoo.specs.targets import Classes
>>> layers.num_parameters(ConvVAE(ImageSpec(1, 28, 28, Classes(tuple("0123456789")))))
1395561
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from dlzoo.errors import at_least
from dlzoo.layers import basic as layers
from dlzoo.layers.basic import ActivationName, InitName
from dlzoo.nets.base import GaussianEncoderDecoder
from dlzoo.nets.vae import check_latent_dim
from dlzoo.specs.inputs import ImageSpec


class ConvVAE(GaussianEncoderDecoder):
    """For images of any size.

    Args:
        width: maps of the first convolution; doubled by each further one.
        hidden: units of the layers between maps and latent.
        latent_dim: size of the latent.
    """

    accepts = (ImageSpec,)

    def __init__(
        self,
        spec: ImageSpec,
        *,
        width: int = 32,
        hidden: int = 256,
        latent_dim: int = 20,
        activation: ActivationName = "relu",
        init: InitName = "default",
    ) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        at_least(1, "net", width=width, hidden=hidden)
        num, sides = layers.halvings(spec.height, spec.width)
        maps = [spec.channels, *(width * 2**i for i in range(num))]
        self.size = (spec.height, spec.width)
        self.padding = [sides[1] * 2**num - spec.width, sides[0] * 2**num - spec.height]
        self.latent_dim = latent_dim
        self.map_shape = (maps[-1], *sides)
        num_features = maps[-1] * sides[0] * sides[1]
        down: list[nn.Module] = []
        for num_in, num_out in itertools.pairwise(maps):
            down += [nn.Conv2d(num_in, num_out, 4, stride=2, padding=1), layers.activation(activation)]
        up: list[nn.Module] = []
        for num_in, num_out in itertools.pairwise(reversed(maps)):
            up += [layers.activation(activation), nn.ConvTranspose2d(num_in, num_out, 4, stride=2, padding=1)]
        self.encoder = layers.sequential(
            *down, nn.Flatten(), nn.Linear(num_features, hidden), layers.activation(activation)
        )
        self.gaussian = nn.Linear(hidden, 2 * latent_dim)
        self.decoder = layers.sequential(
            nn.Linear(latent_dim, hidden), layers.activation(activation), nn.Linear(hidden, num_features)
        )
        self.maps = layers.sequential(*up)
        layers.initialise(self, init)

    def encode(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x: (B, C, H, W) -> mean and log-variance of the latent, (B, D) each."""
        mean, log_var = self.gaussian(self.encoder(layers.pad(x, self.padding))).chunk(2, 1)
        return mean, log_var

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """z: (B, D) -> pixel logits (B, C, H, W)."""
        return layers.crop(self.maps(self.decoder(z).view(-1, *self.map_shape)), self.size)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> its reconstruction in [0, 1] from the mean latent."""
        return self.decode(self.encode(x)[0]).sigmoid()
