"""Siamese net: one encoder, with the same weights, reads each of two inputs, and what it makes of them is compared.

J. Bromley et al., "Signature Verification using a 'Siamese' Time Delay Neural Network", 1993; the distance that is
learned, of the differences feature by feature, is that of G. Koch et al., "Siamese Neural Networks for One-shot Image
Recognition", 2015. Here the products stand beside the differences, and each target has an output layer of its own.

>>> from dlzoo.specs.inputs import Column
>>> from dlzoo.specs.named import Targets
>>> from dlzoo.specs.targets import Classes, Values
>>> target = Targets.of({"same": Classes(("no", "yes")), "distance": Values(("distance",))})
>>> side = TableSpec((Column("a"), Column("b"), Column("c")), target)
>>> net = Siamese(NamedSpec.of({"left": side, "right": side}, target))
>>> layers.num_parameters(net)  # (3+1)*32 + (32+1)*32, once for both inputs, and (2*32+1)*2 + (2*32+1)*1
1379
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dlzoo.errors import SpecError
from dlzoo.layers import basic as layers
from dlzoo.layers.basic import ActivationName, InitName
from dlzoo.nets.base import Net
from dlzoo.nets.mlp import hidden_layers
from dlzoo.specs.inputs import TableSpec as TableSpec
from dlzoo.specs.named import NamedSpec


class Siamese(Net):
    """For two named inputs with equally many features.

    Args:
        hidden: units of each layer of the encoder.
    """

    accepts = (NamedSpec,)

    def __init__(
        self,
        spec: NamedSpec,
        *,
        hidden: Sequence[int] = (32, 32),
        activation: ActivationName = "relu",
        init: InitName = "default",
    ) -> None:
        super().__init__()
        tables = [part.table for part in spec.parts]
        sizes = {table.num_features if table is not None else 0 for table in tables}
        if len(tables) != 2 or len(sizes) > 1 or 0 in sizes:
            raise SpecError(
                f"it compares two inputs of equally many features, but the data gives {spec.describe()}: name two with "
                "data.inputs={left: […], right: […]}"
            )
        if not hidden:
            raise SpecError("net.hidden=[] leaves no encoder: give the units of at least one layer")
        self.names = spec.names
        self.encoder = hidden_layers(sizes.pop(), hidden, activation=activation)
        targets = spec.target.by_name
        self.target_names = tuple(targets)
        self.outputs = nn.ModuleList(nn.Linear(2 * hidden[-1], target.num_outputs) for target in targets.values())
        layers.initialise(self, init)

    def forward(self, x: Mapping[str, Tensor]) -> dict[str, Tensor] | Tensor:
        """x: (B, F) by name -> logits or values (B, K), of several targets by name."""
        left, right = (self.encoder(x[name]) for name in self.names)
        compared = torch.cat([(left - right).abs(), left * right], 1)
        found = {name: output(compared) for name, output in zip(self.target_names, self.outputs, strict=True)}
        return found.get("", found)
