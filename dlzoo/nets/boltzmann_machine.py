"""The Boltzmann machine: stochastic binary units with symmetric weights, some visible and some hidden.

D. H. Ackley, G. E. Hinton, T. J. Sejnowski, "A Learning Algorithm for Boltzmann Machines", Cognitive Science 9, 1985.
A unit is on with probability sigmoid((sum over j of s_j w_ij + b_i) / T), and a state s has the probability
exp(-E(s) / T) / Z, E(s) = -1/2 s^T W s - b^T s.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Classes
>>> encoder = ImageSpec(1, 2, 4, Classes(("a", "b")))
>>> num_parameters(BoltzmannMachine(encoder, num_hidden=2, groups=2))  # 10 x 10 weights, half of them used, 10 biases
110
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from dlzoo.distributed.noise import Noise
from dlzoo.errors import UserError, at_least, between
from dlzoo.nets.base import ConditionalNet
from dlzoo.specs.inputs import ImageSpec

MAX_EXACT = 16
"""Units whose 2^n states are enumerated."""
MAX_SWEEPS = 10_000
MAX_UNITS = 4096
"""Each is connected with every other one."""


class BoltzmannMachine(ConditionalNet):
    """For black-and-white images; a pixel above 1/2 is a visible unit that is on.

    Units are visible ones first. Each is connected with every other one, except as ``groups`` says.

    Args:
        num_hidden: hidden units; without any, only correlations of pairs can be learnt.
        groups: equal groups of visible units, in their order, which are connected by hidden units only; for the encoder
            problem 2.
        init_std: standard deviation of the initial weights.
    """

    accepts = (ImageSpec,)
    standardizes_inputs = True
    mask: Tensor

    def __init__(self, spec: ImageSpec, *, num_hidden: int = 2, groups: int = 1, init_std: float = 0.1) -> None:
        super().__init__()
        between(0, MAX_UNITS, "net", num_hidden=num_hidden)
        at_least(0, "net", init_std=init_std)
        between(1, MAX_UNITS, "net", groups=groups)
        self.num_visible, self.num_hidden = spec.num_features, num_hidden
        num = self.num_visible + num_hidden
        if num > MAX_UNITS:
            raise UserError(
                f"a Boltzmann machine of {num:,} units is too large: each is connected with every other one, and they "
                f"are sampled one after the other; give at most {MAX_UNITS:,} (images of fewer values, or a lower "
                f"net.num_hidden={num_hidden})"
            )
        if self.num_visible % groups:
            raise UserError(f"net.groups={groups} does not divide the {self.num_visible} visible units")
        self.register_buffer("mask", connections(self.num_visible, num_hidden, groups))
        weight = init_std * torch.randn(num, num)
        self.weight = nn.Parameter(self.mask * (weight + weight.T) / 2**0.5)
        self.bias = nn.Parameter(torch.zeros(num))

    @property
    def num_units(self) -> int:
        return len(self.bias)

    @property
    def is_exact(self) -> bool:
        """Whether there are so few units that their states can be enumerated."""
        return self.num_units <= MAX_EXACT

    def visible(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) -> states of the visible units (B, V), 0 or 1."""
        return (x.flatten(1) > 0.5).to(self.weight.dtype)

    def energy(self, state: Tensor) -> Tensor:
        """state: (B, N) -> (B,)."""
        return -((state @ self.weight) * state).sum(1) / 2 - state @ self.bias

    # ------------------------------------------------------------------ exact, by enumeration

    def log_probabilities(self, temperature: float = 1.0) -> Tensor:
        """log P of each state, (2^V, 2^H) float64: rows and columns in binary order, the first unit the highest bit."""
        states = all_states(self.num_units, self.weight.device)
        weight, bias = self.weight.double(), self.bias.double()
        score = (((states @ weight) * states).sum(1) / 2 + states @ bias) / temperature
        return (score - score.logsumexp(0)).view(2**self.num_visible, 2**self.num_hidden)

    def log_likelihood(self, visible: Tensor, temperature: float = 1.0) -> Tensor:
        """log P(v) of visible states (B, V) -> (B,) float64."""
        return self.log_probabilities(temperature).logsumexp(1)[numbers(visible)]

    def moments(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Expectations <s_i s_j> (N, N) and <s_i> (N,) under probabilities (2^N,) of the states."""
        states = all_states(self.num_units, probabilities.device)
        weighted = states * probabilities[:, None]
        return weighted.T @ states, weighted.sum(0)

    # ------------------------------------------------------------------ sampling

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> probabilities of the visible units (B, V), each given all others: the other visible ones,
        and the hidden ones at their probabilities given the visible ones alone."""
        visible = self.visible(x)
        silent = visible.new_zeros(len(x), self.num_hidden)
        hidden = self.fields(torch.cat([visible, silent], 1))[:, self.num_visible :].sigmoid()
        return self.fields(torch.cat([visible, hidden], 1))[:, : self.num_visible].sigmoid()

    def fields(self, state: Tensor) -> Tensor:
        """The input of each unit: state (B, N) -> (B, N)."""
        return state @ self.weight + self.bias

    def gibbs(
        self, state: Tensor, temperatures: Iterable[float], noise: Noise, *, clamped: bool = False
    ) -> Iterator[Tensor]:
        """Gibbs sampling: states (B, N) after each sweep, in which every unit is drawn once, given all others.

        Args:
            temperatures: of the sweeps; annealing lowers them.
            clamped: keep the visible units.
        """
        states = state.T.contiguous()
        first = self.num_visible if clamped else 0
        for temperature in temperatures:
            chances = noise.uniform(state.shape, state.device, state.dtype).T
            for i in range(first, self.num_units):
                field = torch.mv(states.T, self.weight[i]) + self.bias[i]
                states[i] = (chances[i] < (field / temperature).sigmoid()).to(states.dtype)
            yield states.T.clone()


def connections(num_visible: int, num_hidden: int, groups: int) -> Tensor:
    """(N, N): 1 for units that are connected, else 0."""
    mask = 1 - torch.eye(num_visible + num_hidden)
    group = torch.arange(num_visible) // (num_visible // groups)
    mask[:num_visible, :num_visible] *= (group[:, None] == group).float()
    return mask


def all_states(num: int, device: torch.device) -> Tensor:
    """(2^n, n) float64, in binary order."""
    bits = torch.arange(2**num, device=device)[:, None] >> torch.arange(num - 1, -1, -1, device=device)
    return (bits & 1).double()


def numbers(states: Tensor) -> Tensor:
    """States (B, n) -> their places (B,) in `all_states`."""
    powers = 2 ** torch.arange(states.shape[1] - 1, -1, -1, device=states.device)
    return (states.long() * powers).sum(1)


def check_temperatures(key: str, temperatures: Sequence[float]) -> None:
    """`UserError` unless all of them are above 0, and there are at least one and at most `MAX_SWEEPS`."""
    if not 1 <= len(temperatures) <= MAX_SWEEPS:
        raise UserError(f"{key} has {len(temperatures)} temperatures: give 1 to {MAX_SWEEPS:,}")
    for value in temperatures:
        if not value > 0:
            raise UserError(f"{key}={list(temperatures)}: a temperature must be above 0")
