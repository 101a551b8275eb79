"""The Hopfield network: threshold units with symmetric weights, whose stable states are memories.

J. J. Hopfield, "Neural Networks and Physical Systems with Emergent Collective Computational Abilities", Proceedings of
the National Academy of Sciences 79, 1982. Hebb's rule holds about 0.138 N random patterns (D. J. Amit, H. Gutfreund,
H. Sompolinsky, "Storing Infinite Numbers of Patterns in a Spin-Glass Model of Neural Networks", Physical Review Letters
55, 1985); the pseudo-inverse any fewer than N that are linearly independent (L. Personnaz, I. Guyon, G. Dreyfus,
"Information Storage and Retrieval in Spin-Glass like Neural Networks", Journal de Physique Lettres 46, 1985).

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Classes
>>> num_parameters(Hopfield(ImageSpec(1, 28, 28, Classes(("a", "b")))))  # 784 x 784
614656
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from dlzoo.errors import UserError, between, pick
from dlzoo.nets.base import AssociativeMemory
from dlzoo.specs.inputs import ImageSpec

MAX_UNITS = 16_384
"""A gibibyte of weights."""
MAX_PATTERNS = 1_000_000
MAX_SWEEPS = 1000
HEBBIAN_LOAD = 0.138
"""Random patterns for each unit that Hebb's rule can store, as the number of units grows (Amit et al., 1985)."""
ORDER_SEED = 1982
"""Of the order in which units are updated."""
ROUNDING = 1e-5
"""Below what Hebb's rule can give as an input other than zero, 1 / N."""

Rule = Literal["hebbian", "pseudo_inverse"]
Update = Literal["asynchronous", "synchronous"]


class Hopfield(AssociativeMemory):
    """For images of any size; a pixel above 1/2 is a unit that is +1, any other one is -1.

    Asynchronous updates take one unit after the other, in a new random order in each sweep, and never raise the energy.
    Synchronous ones take all units at once: they may end in a cycle of two states. A unit whose input is zero stays as
    it is.

    Args:
        num_patterns: that are stored, the first different ones of the training data, balanced by class.
        rule: that of Hebb, W = sum of x x^T / N, or the projection on the patterns; W_ii = 0 in both.
        update: of the units in recall.
        max_sweeps: updates of all units in recall, at most.
    """

    accepts = (ImageSpec,)
    standardizes_inputs = True
    weight: nn.Parameter

    def __init__(
        self,
        spec: ImageSpec,
        *,
        num_patterns: int = 10,
        rule: Rule = "hebbian",
        update: Update = "asynchronous",
        max_sweeps: int = 50,
    ) -> None:
        super().__init__()
        between(1, MAX_PATTERNS, "net", num_patterns=num_patterns)
        between(1, MAX_SWEEPS, "net", max_sweeps=max_sweeps)
        num_units = spec.num_features
        if num_units > MAX_UNITS:
            raise UserError(
                f"a Hopfield network of {num_units:,} units, one for each value of the image, has too many weights: "
                f"give images of at most {MAX_UNITS:,} values, or use model=modern_hopfield"
            )
        self.store_by = pick(rule, {"hebbian": hebbian, "pseudo_inverse": pseudo_inverse}, "net.rule")
        if rule == "pseudo_inverse" and num_patterns >= num_units:
            raise UserError(
                f"net.num_patterns={num_patterns} is too large: with net.rule=pseudo_inverse {num_units} units hold "
                f"at most {num_units - 1} patterns"
            )
        self.rule = rule
        self.is_asynchronous = pick(update, {"asynchronous": True, "synchronous": False}, "net.update")
        self.max_sweeps = max_sweeps
        self.weight = nn.Parameter(torch.zeros(num_units, num_units))
        self.register_buffer("patterns", torch.zeros(num_patterns, num_units))

    @property
    def capacity(self) -> int:
        num_units = len(self.weight)
        return int(HEBBIAN_LOAD * num_units) if self.rule == "hebbian" else num_units // 2

    @torch.no_grad()
    def store(self, patterns: Tensor) -> None:
        self.patterns.copy_(patterns)
        self.weight.copy_(self.store_by(patterns.double()))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) in [0, 1] -> recalled states (B, N), -1 or 1."""
        return self.recall(as_states(x).to(self.weight.dtype))

    def states(self, start: Tensor, frames: int = 1) -> Iterator[Tensor]:
        return self.one_by_one(start, frames) if self.is_asynchronous else self.all_at_once(start)

    def all_at_once(self, start: Tensor) -> Iterator[Tensor]:
        """Synchronous updates. When exported, as many as there may be, of which the last ones then change nothing."""
        state = start
        for _ in range(self.max_sweeps):
            after = threshold(state @ self.weight, state)
            if not torch.compiler.is_exporting() and torch.equal(after, state):
                return
            state = after
            yield state

    @torch.no_grad()
    def one_by_one(self, start: Tensor, frames: int = 1) -> Iterator[Tensor]:
        """Asynchronous updates: a yield for each sweep, or each part of it."""
        states = start.T.contiguous()  # (N, B), so that a unit is contiguous
        inputs = self.weight @ states
        draw = torch.Generator().manual_seed(ORDER_SEED)
        for _ in range(self.max_sweeps):
            has_changed = False
            for part in torch.randperm(len(states), generator=draw).tensor_split(frames):
                changed = [i for i in part.tolist() if self.update_unit(i, states, inputs)]
                if changed:
                    has_changed = True
                    yield states.T.clone()
            if not has_changed:
                return

    def update_unit(self, unit: int, states: Tensor, inputs: Tensor) -> bool:
        """Update one unit of all states (N, B) and the inputs (N, B) of the others; whether it has changed."""
        change = threshold(inputs[unit], states[unit]) - states[unit]
        if not change.any():
            return False
        states[unit] += change
        inputs.addr_(self.weight[unit], change)
        return True

    def energy(self, state: Tensor) -> Tensor:
        """E = -1/2 sum over i, j of W_ij s_i s_j."""
        state = state.double()
        return -((state @ self.weight.detach().double()) * state).sum(1) / 2


def as_states(x: Tensor) -> Tensor:
    """Images (B, ...) in [0, 1] -> (B, N): 1 for what is above 1/2, else -1."""
    return (x.flatten(1) > 0.5).to(x.dtype) * 2 - 1


def threshold(inputs: Tensor, states: Tensor) -> Tensor:
    """1 or -1 by the sign of the input; the state where it is zero but for rounding."""
    return torch.where(inputs.abs() < ROUNDING, states, inputs.sign())


def hebbian(patterns: Tensor) -> Tensor:
    """Weights (N, N) of the patterns (P, N)."""
    return without_diagonal(patterns.T @ patterns / patterns.shape[1])


def pseudo_inverse(patterns: Tensor) -> Tensor:
    """Weights (N, N): the projection on the span of the patterns (P, N), which leaves each of them as it is."""
    return without_diagonal(torch.linalg.pinv(patterns) @ patterns)


def without_diagonal(weight: Tensor) -> Tensor:
    """The same without what a unit would say to itself."""
    return weight - weight.diag().diag()
