"""A layer of threshold logic units: step(w·x + b).

W. S. McCulloch, W. Pitts, "A Logical Calculus of the Ideas Immanent in Nervous Activity", 1943; F. Rosenblatt, "The
Perceptron", Psychological Review 65, 1958. One unit separates two classes; more classes get one unit each, and the
unit with the largest w·x + b wins. Weights are initialized to zero, and a unit fires only above zero, so that firing
and the predicted class always agree.

>>> from dlzoo.specs.targets import Classes
>>> from dlzoo.specs.inputs import Column
>>> bits = TableSpec((Column("a"), Column("b")), Classes(("false", "true")))
>>> [tuple(p.shape) for p in Perceptron(bits).parameters()]
[(1, 2), (1,)]
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlzoo.errors import SpecError
from dlzoo.nets.base import LinearUnits
from dlzoo.specs.inputs import ImageSpec, TableSpec


class Perceptron(LinearUnits):
    """For images (flattened) and tables with classes. The step has no gradient: `PerceptronRule` trains it."""

    accepts = (ImageSpec, TableSpec)

    def __init__(self, spec: ImageSpec | TableSpec) -> None:
        super().__init__()
        if spec.target.classes is None:
            raise SpecError(
                f"perceptron is a classifier: it needs data with classes, but this data gives {spec.target.what}"
            )
        num_classes = spec.target.num_outputs
        self.linear = nn.Linear(spec.num_features, 1 if num_classes == 2 else num_classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def pre(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, U): w·x + b of each unit."""
        return self.linear(x.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) or (B, F) -> (B, K) scores, a single unit's a as (-a, a); the argmax is the class."""
        a = self.pre(x)
        return torch.cat([-a, a], 1) if a.shape[1] == 1 else a
