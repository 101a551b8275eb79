"""Autoencoder: fully connected layers to a code, and from the code back to the picture.

G. E. Hinton, R. R. Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 313, 2006, with
the layers of the course: 784 -> 128 -> 128 -> 784, of which the first 128 are the code. Differs from the paper by ReLU
units as the default, and by learning all layers at once (tasks/stacked.py learns them one by one first).

>>> from dlzoo.specs.targets import Classes
>>> layers.num_parameters(Autoencoder(ImageSpec(1, 28, 28, Classes(tuple("0123456789")))))
218128
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.layers import basic as layers
from dlzoo.layers.basic import ActivationName, InitName, NormName
from dlzoo.nets.base import LayeredEncoderDecoder
from dlzoo.specs.inputs import ImageSpec


class Autoencoder(LayeredEncoderDecoder):
    """For pictures, flattened.

    Args:
        encoder: units of each layer of the encoder; the last one is the code.
        decoder: units of each hidden layer of the decoder; null mirrors the encoder.
        code_activation: of the code; null is that of the other layers.
    """

    accepts = (ImageSpec,)

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
                f"net.encoder={list(encoder)} and net.decoder={None if decoder is None else list(decoder)} must hold "
                "the number of units of each layer, at least 1, and the encoder at least one layer"
            )
        self.shape = spec.shape
        code_activation = code_activation or activation
        self.has_unit_codes = code_activation == "sigmoid"
        out = [encoder[-1], *(reversed(encoder[:-1]) if decoder is None else decoder)]
        kinds = [activation] * (len(encoder) - 1) + [code_activation]
        self.encoder = nn.Sequential(
            *(
                block(*sizes, kind, norm)
                for sizes, kind in zip(itertools.pairwise([spec.num_features, *encoder]), kinds, strict=True)
            )
        )
        self.decoder = nn.Sequential(
            *(block(*sizes, activation, norm) for sizes in itertools.pairwise(out)),
            nn.Linear(out[-1], spec.num_features),
        )
        layers.initialise(self, init)

    def encode(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> codes (B, D)."""
        return self.encoder(x.flatten(1))

    def decode(self, codes: Tensor) -> Tensor:
        """codes: (B, D) -> logits of the pixels (B, C, H, W)."""
        return self.decoder(codes).view(-1, *self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> its reconstruction in [0, 1]."""
        return self.decode(self.encode(x)).sigmoid()


def block(num_in: int, num_out: int, activation: ActivationName, norm: NormName) -> nn.Sequential:
    """One layer: linear map, norm, activation."""
    return layers.sequential(nn.Linear(num_in, num_out), layers.norm(norm, num_out), layers.activation(activation))
