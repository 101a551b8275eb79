"""A small convolutional net: two convolutions, a pooling, a narrow convolution, two fully connected layers.

From the course that this zoo follows: conv 32@3x3, conv 32@3x3, max-pool 2, conv 2@3x3, flatten (200 for 28x28),
50, 10; a second version (norm=batch) has BatchNorm after the first convolution and on the 200 features.
Differs from the source in having no ReLU on the logits: there it kept wrong classes from going below zero.

>>> from dlzoo.specs.targets import Classes
>>> mnist = ImageSpec(1, 28, 28, Classes(tuple("0123456789")))
>>> layers.num_parameters(CNN(mnist)), layers.num_parameters(CNN(mnist, norm="batch"))
(20706, 21170)
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from dlzoo.errors import SpecError
from dlzoo.layers import basic as layers
from dlzoo.layers.basic import ActivationName, InitName, NormName
from dlzoo.nets.base import Net
from dlzoo.specs.inputs import ImageSpec


class CNN(Net):
    """For images of at least 2x2.

    Args:
        norm: after the first convolution and on the flattened features.
        padding: pixels of zeros around each convolution's input; None: 0 as in the source, 1 for images below 10x10,
            whose maps would otherwise be empty.
    """

    accepts = (ImageSpec,)

    def __init__(
        self,
        spec: ImageSpec,
        *,
        norm: NormName = "none",
        padding: Literal[0, 1] | None = None,
        activation: ActivationName = "relu",
        init: InitName = "default",
    ) -> None:
        super().__init__()
        smallest = min(spec.height, spec.width)
        pad = padding if padding is not None else int(smallest < 10)
        min_size = 2 if pad else 10
        if smallest < min_size:
            raise SpecError(
                f"cnn with net.padding={pad} needs images of at least {min_size}x{min_size}, but the data gives "
                f"{spec.describe()}" + ("" if pad else "; net.padding=1 takes them from 2x2 up")
            )
        h, w = ((size - 4 + 4 * pad) // 2 - 2 + 2 * pad for size in (spec.height, spec.width))
        self.layers = layers.sequential(
            nn.Conv2d(spec.channels, 32, 3, padding=pad),
            layers.map_norm(norm, 32),
            layers.activation(activation),
            nn.Conv2d(32, 32, 3, padding=pad),
            layers.activation(activation),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 2, 3, padding=pad),
            layers.activation(activation),
            nn.Flatten(),
            layers.norm(norm, 2 * h * w),
            nn.Linear(2 * h * w, 50),
            layers.activation(activation),
            nn.Linear(50, spec.target.num_outputs),
        )
        layers.initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> (B, K) logits or values."""
        return self.layers(x)
