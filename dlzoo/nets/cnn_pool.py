"""Convolutions, each followed by max-pooling, then a dense head with dropout.

After A. Géron, "Hands-On Machine Learning with Scikit-Learn, Keras, and TensorFlow", 2019, chapter 14. Differs by being
narrower (32 and 64 filters, one convolution a stage), so that an epoch of Fashion-MNIST takes seconds on two cores.

>>> from dlzoo.specs.targets import Classes
>>> layers.num_parameters(CNNPool(ImageSpec(1, 28, 28, Classes(tuple("0123456789")))))
421642
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dlzoo.errors import SpecError, UserError
from dlzoo.layers import basic as layers
from dlzoo.layers.basic import ActivationName, InitName, NormName
from dlzoo.nets.base import Net
from dlzoo.nets.mlp import hidden_layers
from dlzoo.specs.inputs import ImageSpec


class CNNPool(Net):
    """For images with sides of at least 2^stages pixels.

    Args:
        num_filters: filters of each stage: convolution 3x3 that keeps the size, norm, activation, max-pool 2.
        hidden: units of each hidden layer of the head.
        dropout: dropout rate of the features that enter the head.
        head_dropout: dropout rate of each hidden layer.
    """

    accepts = (ImageSpec,)

    def __init__(
        self,
        spec: ImageSpec,
        *,
        num_filters: Sequence[int] = (32, 64),
        hidden: Sequence[int] = (128,),
        activation: ActivationName = "relu",
        norm: NormName = "none",
        dropout: float = 0.25,
        head_dropout: float = 0.5,
        init: InitName = "default",
    ) -> None:
        super().__init__()
        stages, num_features = pooled_stages("cnn_pool", spec, num_filters, activation=activation, norm=norm)
        self.stages = layers.sequential(*stages, nn.Flatten(), layers.dropout(dropout))
        self.hidden = hidden_layers(
            num_features, hidden, activation=activation, norm=norm, dropout=head_dropout, key="net.head_dropout"
        )
        self.output = nn.Linear([num_features, *hidden][-1], spec.target.num_outputs)
        layers.initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> (B, K) logits or values."""
        return self.output(self.hidden(self.stages(x)))


def pooled_stages(
    model: str, spec: ImageSpec, num_filters: Sequence[int], *, activation: ActivationName, norm: NormName
) -> tuple[list[nn.Module], int]:
    """The layers of stages of convolution 3x3 that keeps the size, norm, activation and max-pool 2, and the number of
    their outputs.

    Args:
        model: for messages.
        num_filters: of each stage.

    Raises:
        UserError: a stage has no filters, or there is none.
        SpecError: the image is too small.
    """
    if not num_filters or any(n < 1 for n in num_filters):
        raise UserError(f"net.num_filters={list(num_filters)} must give the filters of each stage, at least 1")
    if min(spec.height, spec.width) < 2 ** len(num_filters):
        raise SpecError(
            f"{model} halves the image {len(num_filters)} times, but the data gives {spec.describe()}; shorten "
            f"net.num_filters={list(num_filters)}"
        )
    stages: list[nn.Module] = []
    for before, n in zip([spec.channels, *num_filters], num_filters, strict=False):
        conv = nn.Conv2d(before, n, 3, padding=1)
        stages += [conv, layers.map_norm(norm, n), layers.activation(activation), nn.MaxPool2d(2)]
    return stages, num_filters[-1] * (spec.height >> len(num_filters)) * (spec.width >> len(num_filters))
