"""Q-network: the value of each action in the observed state.

V. Mnih et al., "Human-level control through deep reinforcement learning", Nature 518, 2015. Images go through its
three convolutions and 512 units; vectors, an addition, through fully connected layers. ``dueling`` is
Z. Wang et al., "Dueling Network Architectures for Deep Reinforcement Learning", ICML 2016: the state's value and the
mean-centred advantages of the actions are computed in separate streams.

>>> from dlzoo.specs.targets import Actions
>>> from dlzoo.layers.basic import num_parameters
>>> num_parameters(QNetwork(EnvSpec("CartPole-v1", (4,), Actions(("0", "1"))), hidden=(256, 256)))
67586
>>> num_parameters(QNetwork(EnvSpec("ALE/Breakout-v5", (4, 84, 84), Actions(tuple("0123")))))
1686180
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
from dlzoo.specs.environments import EnvSpec

MIN_SIDE = 36
"""Smallest side length in pixels that the three convolutions can process."""


class QNetwork(Net):
    """For vectors and images.

    Args:
        hidden: units of each hidden layer, after the convolutions, if any; None is (64, 64) for vectors,
            (512,) for images.
        dueling: two streams, each with its per_stream last hidden layer.
    """

    accepts = (EnvSpec,)

    def __init__(
        self,
        spec: EnvSpec,
        *,
        hidden: Sequence[int] | None = None,
        dueling: bool = False,
        activation: ActivationName = "relu",
        init: InitName = "default",
    ) -> None:
        super().__init__()
        if hidden is None:
            hidden = (512,) if spec.is_image else (64, 64)
        num_features, num_actions = spec.num_features, spec.target.num_outputs
        self.features = convolutions(spec, activation) if spec.is_image else nn.Flatten()
        if spec.is_image:
            with torch.no_grad():
                num_features = self.features(torch.zeros(1, *spec.shape)).shape[1]
        shared, per_stream = (hidden[:-1], hidden[-1:]) if dueling else (hidden, ())
        self.hidden = hidden_layers(num_features, shared, activation=activation)
        num_shared = [num_features, *shared][-1]

        def stream(num_outputs: int) -> nn.Module:
            if not per_stream:
                return nn.Linear(num_shared, num_outputs)
            return nn.Sequential(
                *hidden_layers(num_shared, per_stream, activation=activation), nn.Linear(per_stream[0], num_outputs)
            )

        self.output = stream(num_actions)
        self.value = stream(1) if dueling else None
        layers.initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, D), or (B, C, H, W) in [0, 1] -> (B, K) action values."""
        h = self.hidden(self.features(x))
        q = self.output(h)
        return q if self.value is None else self.value(h) + q - q.mean(1, keepdim=True)


def convolutions(spec: EnvSpec, activation: ActivationName) -> nn.Sequential:
    """The three convolutions of Mnih et al., flattened."""
    channels, height, width = spec.shape
    if min(height, width) < MIN_SIDE:
        raise SpecError(f"images must be at least {MIN_SIDE}x{MIN_SIDE}, but these are {height}x{width}")
    sizes = [(channels, 32, 8, 4), (32, 64, 4, 2), (64, 64, 3, 1)]
    parts: list[nn.Module] = []
    for before, filters, size, stride in sizes:
        parts += [nn.Conv2d(before, filters, size, stride), layers.activation(activation)]
    return nn.Sequential(*parts, nn.Flatten())
