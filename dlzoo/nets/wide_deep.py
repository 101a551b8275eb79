"""Wide & deep: some features go straight to the output, some through hidden layers, and some both ways.

H.-T. Cheng et al., "Wide & Deep Learning for Recommender Systems", 2016; the small version for California housing of
A. Géron, "Hands-On Machine Learning with Scikit-Learn, Keras, and TensorFlow", 2019, chapter 10: wide features 0-4,
deep features 2-7 through 30 and 30 ReLU units, and an auxiliary output on the deep path, whose loss regularises it.

>>> from dlzoo.specs.inputs import Column
>>> from dlzoo.specs.targets import Values
>>> california = TableSpec(tuple(Column(name) for name in "abcdefgh"), Values(("value",)))
>>> layers.num_parameters(WideDeep(california))  # (6+1)*30 + (30+1)*30 + (5+30+1) + (30+1)
1207
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlzoo.errors import SpecError
from dlzoo.layers import basic as layers
from dlzoo.layers.basic import ActivationName, InitName
from dlzoo.nets.base import Net
from dlzoo.nets.mlp import hidden_layers
from dlzoo.specs.inputs import TableSpec


class WideDeep(Net):
    """For tables. It has two outputs for the target: ``main``, and ``auxiliary`` on the deep path alone.

    Args:
        wide: indices of the features connected directly to the output, from 0; None: 0-4 of a table with 8 features, as
            in the source, and all features of any other.
        deep: indices of the features for the hidden layers; None: 2-7 of 8, or all.
        hidden: units of each hidden layer.
    """

    accepts = (TableSpec,)
    output_names = ("main", "auxiliary")
    wide: Tensor
    deep: Tensor

    def __init__(
        self,
        spec: TableSpec,
        *,
        wide: Sequence[int] | None = None,
        deep: Sequence[int] | None = None,
        hidden: Sequence[int] = (30, 30),
        activation: ActivationName = "relu",
        init: InitName = "default",
    ) -> None:
        super().__init__()
        n, num_outputs = spec.num_features, spec.target.num_outputs
        wide = _checked("wide", wide if wide is not None else range(5 if n == 8 else n), spec)
        deep = _checked("deep", deep if deep is not None else range(2 if n == 8 else 0, n), spec)
        self.register_buffer("wide", torch.tensor(wide), persistent=False)
        self.register_buffer("deep", torch.tensor(deep), persistent=False)
        self.hidden = hidden_layers(len(deep), hidden, activation=activation)
        num_deep = [len(deep), *hidden][-1]
        self.output = nn.Linear(len(wide) + num_deep, num_outputs)
        self.auxiliary = nn.Linear(num_deep, num_outputs)
        layers.initialise(self, init)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x: (B, F) -> logits or values (B, K) of each output, by name."""
        h = self.hidden(x.index_select(1, self.deep))
        main = self.output(torch.cat([x.index_select(1, self.wide), h], 1))
        return {"main": main, "auxiliary": self.auxiliary(h)}


def _checked(key: str, features: Sequence[int], spec: TableSpec) -> list[int]:
    last = spec.num_features - 1
    if not features or len(set(features)) < len(features) or not all(0 <= i <= last for i in features):
        raise SpecError(
            f"net.{key}={list(features)} must give feature indices, each at most once: the data gives "
            f"{spec.describe()}, 0 to {last}"
        )
    return list(features)
