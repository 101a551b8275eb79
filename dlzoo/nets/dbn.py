"""Deep belief network: restricted Boltzmann machines, each on the hidden units of the one below, and a classifier.

G. E. Hinton, S. Osindero, Y.-W. Teh, "A Fast Learning Algorithm for Deep Belief Nets", Neural Computation 18, 2006.
With the layers 784-500-500-2000-10 of G. E. Hinton, R. R. Salakhutdinov, "Reducing the Dimensionality of Data with
Neural Networks", Science 313, 2006. The classifier starts from the machines' weights, 1,665,010 parameters; the
machines keep theirs, so that the net still generates images once the classifier is fine-tuned.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Classes
>>> net = DeepBeliefNet(ImageSpec(1, 28, 28, Classes(tuple("0123456789"))))
>>> num_parameters(net.hidden) + num_parameters(net.output), num_parameters(net)
(1665010, 3311794)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.layers import basic as layers
from dlzoo.layers.boltzmann import BoltzmannLayer
from dlzoo.layers.visible_units import BinaryUnits
from dlzoo.nets.base import ConditionalNet
from dlzoo.specs.inputs import ImageSpec


class DeepBeliefNet(ConditionalNet):
    """For flattened images with classes.

    Args:
        hidden: hidden units of each machine, input first.
        dropout: dropout rate of each hidden layer of the classifier.
    """

    accepts = (ImageSpec,)
    standardizes_inputs = True  # pixels from 0 to 1 are probabilities of binary units

    def __init__(self, spec: ImageSpec, *, hidden: Sequence[int] = (500, 500, 2000), dropout: float = 0.0) -> None:
        super().__init__()
        if not hidden or min(hidden) < 1:
            raise UserError(f"net.hidden={list(hidden)} must give the hidden units of at least one layer, at least 1")
        sizes = list(itertools.pairwise([spec.num_features, *hidden]))
        self.machines = nn.ModuleList(BoltzmannLayer(BinaryUnits(), *size) for size in sizes)
        self.hidden = nn.ModuleList(nn.Linear(*size) for size in sizes)
        self.dropout = layers.dropout(dropout)
        self.output = nn.Linear(hidden[-1], spec.target.num_outputs)

    @property
    def boltzmann_layers(self) -> list[BoltzmannLayer]:
        return list(self.machines)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> (B, K) logits."""
        x = x.flatten(1)
        for linear in self.hidden:
            x = self.dropout(linear(x).sigmoid())
        return self.output(x)

    def initialise_classifier(self) -> None:
        """Copy the machines' weights to the classifier's hidden layers."""
        with torch.no_grad():
            for linear, machine in zip(self.hidden, self.boltzmann_layers, strict=True):
                assert isinstance(linear, nn.Linear)
                linear.weight.copy_(machine.weight.T)
                linear.bias.copy_(machine.hidden_bias)

    def up(self, x: Tensor, num_layers: int) -> Tensor:
        """x: (B, V), probabilities of the visible units -> those of the units ``num_layers`` above, (B, H)."""
        for machine in self.boltzmann_layers[:num_layers]:
            x = machine.hidden_input(x).sigmoid()
        return x

    def down(self, h: Tensor) -> Tensor:
        """Top hidden states (B, H) -> probabilities of the visible units, (B, V)."""
        for machine in reversed(self.boltzmann_layers):
            h = machine.visible_input(h).sigmoid()
        return h
