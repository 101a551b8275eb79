"""The modern Hopfield network, whose states are continuous and whose update is attention over the stored patterns.

H. Ramsauer et al., "Hopfield Networks is All You Need", ICLR 2021 (arXiv 2008.02217, 2020): the new state is
softmax(beta X s) X for the stored patterns X. One update usually suffices, and the number of patterns that can be
recalled grows exponentially with the number of units.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Classes
>>> num_parameters(ModernHopfield(ImageSpec(1, 28, 28, Classes(("a", "b"))), num_patterns=100))  # 100 x 784
78400
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from dlzoo.errors import UserError, between
from dlzoo.nets.base import AssociativeMemory
from dlzoo.nets.hopfield import MAX_PATTERNS, MAX_SWEEPS, as_states
from dlzoo.specs.inputs import ImageSpec


class ModernHopfield(AssociativeMemory):
    """For images of any size; patterns and queries are black and white as in the classical network, states are not.

    Args:
        num_patterns: that are stored, the first different ones of the training data, balanced by class.
        beta: inverse temperature. A small one averages over patterns that are alike.
        num_updates: in recall.
    """

    accepts = (ImageSpec,)
    standardizes_inputs = True

    def __init__(self, spec: ImageSpec, *, num_patterns: int = 10, beta: float = 1.0, num_updates: int = 3) -> None:
        super().__init__()
        between(1, MAX_PATTERNS, "net", num_patterns=num_patterns)
        between(1, MAX_SWEEPS, "net", num_updates=num_updates)
        if not 0 < beta < math.inf:
            raise UserError(f"net.beta={beta} must be above 0, and finite: it is an inverse temperature")
        self.beta = beta
        self.num_updates = num_updates
        self.patterns = nn.Parameter(torch.zeros(num_patterns, spec.num_features))

    @property
    def capacity(self) -> None:
        return None

    @torch.no_grad()
    def store(self, patterns: Tensor) -> None:
        self.patterns.copy_(patterns)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) in [0, 1] -> recalled states (B, N), from -1 to 1."""
        return self.recall(as_states(x).to(self.patterns.dtype))

    def states(self, start: Tensor, frames: int = 1) -> Iterator[Tensor]:
        # In double precision: between two patterns an update multiplies a rounding error by up to beta N / 4.
        dtype = torch.float32 if start.device.type == "mps" else torch.float64
        state, patterns = start.to(dtype), self.patterns.to(dtype)
        for _ in range(self.num_updates):
            state = (self.beta * state @ patterns.T).softmax(1) @ patterns
            yield state.to(start.dtype)

    def energy(self, state: Tensor) -> Tensor:
        """E = -lse(beta, X s) + s^T s / 2 + log(P) / beta + N / 2, which is at least 0."""
        state, patterns = state.double(), self.patterns.detach().double()
        attraction = (self.beta * state @ patterns.T).logsumexp(1) / self.beta
        constant = math.log(len(patterns)) / self.beta + patterns.shape[1] / 2
        return state.square().sum(1) / 2 - attraction + constant
