"""The bipartite layer of a restricted Boltzmann machine: its energy, free energy and Gibbs sampling.

P. Smolensky, "Information Processing in Dynamical Systems: Foundations of Harmony Theory", 1986; Hinton (2010), see
dlzoo/layers/visible_units.py. E(v, h) = E_v(v) - c · h - v · W h, where E_v is the visible units' own energy, -b · v if
they are binary. A factor ``beta`` on the energy gives the distributions between the base rates (0), where hidden units
play no role, and the machine (1), which annealing goes through (R. Salakhutdinov, I. Murray, "On the Quantitative
Analysis of Deep Belief Networks", ICML 2008).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.distributed.noise import Noise
from dlzoo.layers.visible_units import VisibleUnits, bernoulli


class BoltzmannLayer(nn.Module):
    """Symmetric connections between V visible and H hidden units; hidden units are binary.

    Args:
        units: the kind of visible units.
        init_std: standard deviation of the initial weights, section 8 of the guide.
    """

    base_bias: Tensor

    def __init__(self, units: VisibleUnits, num_visible: int, num_hidden: int, *, init_std: float = 0.01) -> None:
        super().__init__()
        self.units = units
        self.weight = nn.Parameter(torch.randn(num_visible, num_hidden) * init_std)
        """(V, H)"""
        self.visible_bias = nn.Parameter(torch.zeros(num_visible))
        self.hidden_bias = nn.Parameter(torch.zeros(num_hidden))
        self.register_buffer("base_bias", torch.zeros(num_visible))
        """(V,): the bias of visible units with the mean states of the training data, the base rates."""

    @property
    def num_hidden(self) -> int:
        return len(self.hidden_bias)

    def set_base_rates(self, mean: Tensor) -> None:
        """Start from the mean states (V,) of the training data: base rates and visible bias."""
        with torch.no_grad():
            self.base_bias.copy_(self.units.bias_for(mean))
            self.visible_bias.copy_(self.base_bias)

    def hidden_input(self, v: Tensor) -> Tensor:
        """States (B, V) -> inputs of the hidden units, (B, H); their sigmoids are the probabilities of 1."""
        return torch.addmm(self.hidden_bias, v, self.weight)

    def visible_input(self, h: Tensor) -> Tensor:
        """States or probabilities (B, H) -> inputs of the visible units, (B, V)."""
        return F.linear(h, self.weight, self.visible_bias)

    def free_energy(self, v: Tensor) -> Tensor:
        """States (B, V) -> -log of the sum over h of exp(-E(v, h)), (B,)."""
        return self.units.energy(v, self.visible_bias) - F.softplus(self.hidden_input(v)).sum(1)

    def sample_hidden(self, v: Tensor, noise: Noise, beta: float = 1.0) -> Tensor:
        """States (B, V) -> random states (B, H)."""
        inputs = self.hidden_input(v)
        return bernoulli((inputs if beta == 1 else beta * inputs).sigmoid(), noise)

    def sample_visible(self, h: Tensor, noise: Noise, beta: float = 1.0) -> Tensor:
        """States (B, H) -> random states (B, V)."""
        inputs = self.visible_input(h)
        return self.units.sample(inputs if beta == 1 else torch.lerp(self.base_bias, inputs, beta), noise)

    def base_sample(self, num: int, noise: Noise) -> Tensor:
        """Random states (num, V) of the base rates, without hidden units."""
        return self.units.sample(self.base_bias.expand(num, -1), noise)

    def annealed_sample(self, num: int, num_steps: int, noise: Noise) -> Tensor:
        """Random states (num, V): Gibbs steps from the base rates, with beta rising from 0 to 1.

        At small beta a chain changes freely; one that starts at beta 1 hardly ever leaves the mode that it begins in.
        """
        v = self.base_sample(num, noise)
        for step in range(1, num_steps + 1):
            beta = min(1.0, 1.25 * step / num_steps)  # the last fifth at 1
            v = self.sample_visible(self.sample_hidden(v, noise, beta), noise, beta)
        return v
