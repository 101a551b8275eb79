"""One linear layer: linear regression for values, softmax (for two classes, logistic) regression for classes.

A.-M. Legendre, "Nouvelles méthodes pour la détermination des orbites des comètes", 1805 (least squares); D. R. Cox,
"The Regression Analysis of Binary Sequences", 1958 (logistic regression).

>>> from dlzoo.specs.targets import Classes
>>> layers.num_parameters(Linear(ImageSpec(1, 28, 28, Classes(tuple("0123456789")))))
7850
"""

from __future__ import annotations

from torch import Tensor, nn

from dlzoo.layers import basic as layers
from dlzoo.layers.basic import InitName
from dlzoo.nets.base import Net
from dlzoo.specs.inputs import ImageSpec, TableSpec


class Linear(Net):
    """W x + b, for images (flattened) and tables."""

    accepts = (ImageSpec, TableSpec)

    def __init__(self, spec: ImageSpec | TableSpec, *, init: InitName = "default") -> None:
        super().__init__()
        self.linear = layers.initialise(nn.Linear(spec.num_features, spec.target.num_outputs), init)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) or (B, F) -> (B, K) logits or values."""
        return self.linear(x.flatten(1))
