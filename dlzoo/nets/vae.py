"""Variational autoencoder: an encoder to a Gaussian over latents, and a decoder from latents to pixels.

D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014, with the layers of the course: 784 -> 400 -> 20
means and 20 log-variances -> 400 -> 784. Differs from the paper by ReLU in place of tanh.

>>> from dlzoo.specs.targets import Classes
>>> layers.num_parameters(VAE(ImageSpec(1, 28, 28, Classes(tuple("0123456789")))))
652824
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.layers import basic as layers
from dlzoo.layers.basic import ActivationName, InitName
from dlzoo.nets.base import GaussianEncoderDecoder
from dlzoo.nets.mlp import hidden_layers
from dlzoo.specs.inputs import ImageSpec


class VAE(GaussianEncoderDecoder):
    """For flattened images.

    Args:
        hidden: units of each hidden layer of the encoder; the decoder mirrors them.
        latent_dim: size of the latent.
    """

    accepts = (ImageSpec,)

    def __init__(
        self,
        spec: ImageSpec,
        *,
        hidden: Sequence[int] = (400,),
        latent_dim: int = 20,
        activation: ActivationName = "relu",
        init: InitName = "default",
    ) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        self.shape = spec.shape
        self.latent_dim = latent_dim
        num_conditions, encoder_sizes = self.num_conditions, [spec.num_features, *hidden]
        decoder_sizes = [latent_dim, *reversed(hidden)]
        self.encoder = hidden_layers(spec.num_features + num_conditions, hidden, activation=activation)
        self.gaussian = nn.Linear(encoder_sizes[-1] + (0 if hidden else num_conditions), 2 * latent_dim)
        self.decoder = hidden_layers(latent_dim + num_conditions, decoder_sizes[1:], activation=activation)
        self.output = nn.Linear(decoder_sizes[-1] + (0 if hidden else num_conditions), spec.num_features)
        layers.initialise(self, init)

    def encode(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x: (B, C, H, W) -> mean and log-variance of the latent, (B, D) each."""
        mean, log_var = self.gaussian(self.encoder(self.with_condition(x.flatten(1), condition))).chunk(2, 1)
        return mean, log_var

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """z: (B, D) -> pixel logits (B, C, H, W)."""
        return self.output(self.decoder(self.with_condition(z, condition))).view(-1, *self.shape)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x: (B, C, H, W) -> its reconstruction in [0, 1] from the mean latent."""
        return self.decode(self.encode(x, condition)[0], condition).sigmoid()


def check_latent_dim(latent_dim: int) -> None:
    if latent_dim < 1:
        raise UserError(f"net.latent_dim={latent_dim} must be at least 1: it is the size of the latent")
