"""Multilayer perceptron: fully connected hidden layers.

D. E. Rumelhart, G. E. Hinton, R. J. Williams, "Learning representations by back-propagating errors", Nature 323, 1986.
Differs in ReLU units by default, and in optional dropout (Srivastava et al. 2014) and norms. A hidden layer is
linear map, norm, activation, dropout, in this order; the output layer has no activation.

>>> from dlzoo.specs.targets import Classes
>>> mnist = ImageSpec(1, 28, 28, Classes(tuple("0123456789")))
>>> layers.num_parameters(MLP(mnist))
118282
>>> layers.num_parameters(MLP(mnist, hidden=(300, 100)))
266610
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.layers import basic as layers
from dlzoo.layers.basic import ActivationName, InitName, NormName
from dlzoo.nets.base import Net
from dlzoo.specs.inputs import ImageSpec, TableSpec


class MLP(Net):
    """For images (flattened) and tables.

    Args:
        hidden: units of each hidden layer; an empty list gives a single linear layer.
        dropout: dropout rate of each hidden layer.
    """

    accepts = (ImageSpec, TableSpec)

    def __init__(
        self,
        spec: ImageSpec | TableSpec,
        *,
        hidden: Sequence[int] = (128, 128),
        activation: ActivationName = "relu",
        norm: NormName = "none",
        dropout: float = 0.0,
        init: InitName = "default",
    ) -> None:
        super().__init__()
        self.hidden = hidden_layers(spec.num_features, hidden, activation=activation, norm=norm, dropout=dropout)
        self.output = nn.Linear([spec.num_features, *hidden][-1], spec.target.num_outputs)
        layers.initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) or (B, F) -> (B, K) logits or values."""
        return self.output(self.hidden(x.flatten(1)))


def hidden_layers(
    num_features: int,
    hidden: Sequence[int],
    *,
    activation: ActivationName = "relu",
    norm: NormName = "none",
    dropout: float = 0.0,
    key: str = "net.dropout",
) -> nn.Sequential:
    """Fully connected layers (B, num_features) -> (B, hidden[-1]); error messages call the dropout option ``key``."""
    if any(units < 1 for units in hidden):
        raise UserError(f"net.hidden={list(hidden)} must give the number of units of each layer, at least 1")
    modules: list[nn.Module] = []
    for before, units in zip([num_features, *hidden], hidden, strict=False):
        modules += [
            nn.Linear(before, units),
            layers.norm(norm, units),
            layers.activation(activation),
            layers.dropout(dropout, key),
        ]
    return layers.sequential(*modules)
