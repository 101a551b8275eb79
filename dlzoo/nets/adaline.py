"""Adaline, the adaptive linear neuron: a linear unit whose sign is the predicted class.

B. Widrow, M. E. Hoff, "Adaptive Switching Circuits", IRE WESCON Convention Record 4, 1960. One unit separates two
classes; more classes get one unit each (Madaline, without its logic gate), and the largest output wins.

>>> from dlzoo.specs.targets import Classes
>>> from dlzoo.specs.inputs import Column
>>> flowers = TableSpec(tuple(map(Column, "abcd")), Classes(("setosa", "versicolor", "virginica")))
>>> sum(p.numel() for p in Adaline(flowers).parameters())
15
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlzoo.errors import SpecError
from dlzoo.nets.base import LinearUnits
from dlzoo.specs.inputs import ImageSpec, TableSpec


class Adaline(LinearUnits):
    """For images (flattened) and tables with classes. Weights are initialized to zero; `DeltaRule` trains them."""

    accepts = (ImageSpec, TableSpec)

    def __init__(self, spec: ImageSpec | TableSpec) -> None:
        super().__init__()
        if spec.target.classes is None:
            raise SpecError(f"adaline is a classifier, but this data gives {spec.target.what}; see model=linear")
        num_classes = spec.target.num_outputs
        self.linear = nn.Linear(spec.num_features, 1 if num_classes == 2 else num_classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) or (B, F) -> (B, K) scores, a single unit's output a as (-a, a); the argmax is the class."""
        a = self.linear(x.flatten(1))
        return torch.cat([-a, a], 1) if a.shape[1] == 1 else a
