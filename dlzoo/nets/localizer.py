"""Localizer: one convolutional trunk that says what an image shows, and where.

Class and box from one trunk, by two output layers: P. Sermanet et al., "OverFeat: Integrated Recognition, Localization
and Detection using Convolutional Networks", 2014. The last maps are flattened, not averaged, since their places matter.

>>> from dlzoo.specs.boxes import Boxes
>>> from dlzoo.specs.named import Targets
>>> from dlzoo.specs.targets import Classes
>>> target = Targets.of({"class": Classes(tuple("0123456789-")), "box": Boxes()})
>>> layers.num_parameters(Localizer(ImageSpec(1, 64, 64, target)))
362095
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dlzoo.layers import basic as layers
from dlzoo.layers.basic import ActivationName, InitName, NormName
from dlzoo.nets.base import Net
from dlzoo.nets.cnn_pool import pooled_stages
from dlzoo.nets.mlp import hidden_layers
from dlzoo.specs.inputs import ImageSpec

NUM_FILTERS = (16, 32, 64, 128)


class Localizer(Net):
    """For images with sides of at least 2^stages pixels and several targets, such as a class and a box.

    Args:
        num_filters: filters of each stage: convolution 3x3 that keeps the size, norm, activation, max-pool 2; None: 16,
            32, 64 and 128, the first of these for images of less than 16 pixels.
        hidden: units of each hidden layer between the flattened maps and the outputs.
        dropout: dropout rate of each hidden layer.
    """

    accepts = (ImageSpec,)

    def __init__(
        self,
        spec: ImageSpec,
        *,
        num_filters: Sequence[int] | None = None,
        hidden: Sequence[int] = (128,),
        activation: ActivationName = "relu",
        norm: NormName = "batch",
        dropout: float = 0.0,
        init: InitName = "default",
    ) -> None:
        super().__init__()
        if num_filters is None:
            num_filters = NUM_FILTERS[: max(min(spec.height, spec.width).bit_length() - 1, 1)]
        stages, num_features = pooled_stages("localizer", spec, num_filters, activation=activation, norm=norm)
        self.trunk = layers.sequential(*stages, nn.Flatten())
        self.hidden = hidden_layers(num_features, hidden, activation=activation, norm=norm, dropout=dropout)
        targets = spec.target.by_name
        self.target_names = tuple(targets)
        num = [num_features, *hidden][-1]
        self.outputs = nn.ModuleList(nn.Linear(num, target.num_outputs) for target in targets.values())
        layers.initialise(self, init)

    def forward(self, x: Tensor) -> dict[str, Tensor] | Tensor:
        """x: (B, C, H, W) -> logits or values (B, K), of several targets by name."""
        features = self.hidden(self.trunk(x))
        found = {name: output(features) for name, output in zip(self.target_names, self.outputs, strict=True)}
        return found.get("", found)
