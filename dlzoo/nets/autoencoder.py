"""Autoencoder: fully connected layers from the image to a latent, and from the latent back to the image.

G. E. Hinton, R. R. Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 313, 2006, with
the layers of the course: 784 -> 128 -> 128 -> 784, the first 128 being the latent. Differs from the paper in ReLU
by default and training all layers jointly (tasks/stacked_autoencoder.py pretrains them one by one).

>>> from dlzoo.specs.targets import Classes
>>> layers.num_parameters(Autoencoder(ImageSpec(1, 28, 28, Classes(tuple("0123456789")))))
218128
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.layers import basic as layers
from dlzoo.layers.basic import ActivationName, InitName, NormName
from dlzoo.nets.base import LayeredEncoderDecoder
from dlzoo.specs.base import Spec
from dlzoo.specs.inputs import ImageSpec


class Autoencoder(LayeredEncoderDecoder):
    """For flattened images.

    Args:
        encoder: units of each encoder layer; the last one is the latent.
        decoder: units of each hidden decoder layer; null mirrors the encoder.
        code_activation: activation of the latent; null uses ``activation``.
    """

    accepts: ClassVar[tuple[type[Spec], ...]] = (ImageSpec,)

    def __init__(
        self,
        spec: ImageSpec,
        *,
        encoder: Sequence[int] = (128,),
        decoder: Sequence[int] | None = (128,),
        activation: ActivationName = "relu",
        code_activation: ActivationName | None = None,
        norm: NormName = "none",
        init: InitName = "default",
    ) -> None:
        super().__init__()
        if not encoder or min([*encoder, *(decoder or ())]) < 1:
            raise UserError(
                f"net.encoder={list(encoder)} and net.decoder={None if decoder is None else list(decoder)} must give "
                "the number of units of each layer, at least 1, and the encoder at least one layer"
            )
        self.shape = spec.shape
        code_activation = code_activation or activation
        self.has_unit_latents = code_activation == "sigmoid"
        decoder_sizes = [encoder[-1], *(reversed(encoder[:-1]) if decoder is None else decoder)]
        activations = [activation] * (len(encoder) - 1) + [code_activation]
        self.encoder = nn.Sequential(
            *(
                block(*sizes, name, norm)
                for sizes, name in zip(itertools.pairwise([spec.num_features, *encoder]), activations, strict=True)
            )
        )
        self.decoder = nn.Sequential(
            *(block(*sizes, activation, norm) for sizes in itertools.pairwise(decoder_sizes)),
            nn.Linear(decoder_sizes[-1], spec.num_features),
        )
        layers.initialise(self, init)

    def encode(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> latents (B, D)."""
        return self.encoder(x.flatten(1))

    def decode(self, latents: Tensor) -> Tensor:
        """latents: (B, D) -> pixel logits (B, C, H, W)."""
        return self.decoder(latents).view(-1, *self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> its reconstruction in [0, 1]."""
        return self.decode(self.encode(x)).sigmoid()


def block(num_in: int, num_out: int, activation: ActivationName, norm: NormName) -> nn.Sequential:
    """One layer: linear, norm, activation."""
    return layers.sequential(nn.Linear(num_in, num_out), layers.norm(norm, num_out), layers.activation(activation))
