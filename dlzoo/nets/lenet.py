"""LeNet-5: two convolutions with subsampling, then three fully connected layers.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998. As there, a
small image is brought to 32x32: upsampled by the largest integer factor that fits (8x8 by 4), then zero-padded
(28x28: 2 pixels); larger ones are left unchanged. Differs, like most versions: each map of the second convolution sees
all maps of the first, subsampling has no weights, tanh is not scaled, and the output is a linear layer in
place of radial basis functions. The defaults are the paper's tanh and average; activation=relu with pool=max is the
modern version.

>>> from dlzoo.specs.targets import Classes
>>> layers.num_parameters(LeNet(ImageSpec(1, 28, 28, Classes(tuple("0123456789")))))
61706
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from dlzoo.errors import pick
from dlzoo.layers import basic as layers
from dlzoo.layers.basic import ActivationName, InitName
from dlzoo.nets.base import Net
from dlzoo.specs.inputs import ImageSpec

PoolName = Literal["avg", "max"]


class LeNet(Net):
    """For images of any size.

    Args:
        pool: subsampling of 2x2 pixels by average or maximum.
    """

    accepts = (ImageSpec,)

    def __init__(
        self,
        spec: ImageSpec,
        *,
        activation: ActivationName = "tanh",
        pool: PoolName = "avg",
        init: InitName = "default",
    ) -> None:
        super().__init__()
        subsample = pick(pool, {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}, "net.pool")
        scale = max(1, 32 // max(spec.height, spec.width))
        height, width = spec.height * scale, spec.width * scale
        pad_h, pad_w = (max(0, -(-(32 - side) // 2)) for side in (height, width))
        h, w = (((side - 4) // 2 - 4) // 2 for side in (height + 2 * pad_h, width + 2 * pad_w))
        self.enlarge = nn.Upsample(scale_factor=scale) if scale > 1 else nn.Identity()
        self.layers = layers.sequential(
            nn.Conv2d(spec.channels, 6, 5, padding=(pad_h, pad_w)),
            layers.activation(activation),
            subsample(2),
            nn.Conv2d(6, 16, 5),
            layers.activation(activation),
            subsample(2),
            nn.Flatten(),
            nn.Linear(16 * h * w, 120),
            layers.activation(activation),
            nn.Linear(120, 84),
            layers.activation(activation),
            nn.Linear(84, spec.target.num_outputs),
        )
        layers.initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> (B, K) logits or values."""
        return self.layers(self.enlarge(x))
