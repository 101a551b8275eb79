"""Visible units of restricted Boltzmann machines, which decide what kind of data a machine models.

G. E. Hinton, "A Practical Guide to Training Restricted Boltzmann Machines", 2010, section 13. A kind of unit is a class
derived from `VisibleUnits` and an entry in `KINDS`; everything else (learning, sampling, partition functions) calls its
methods alone. Units get their input b + W h, which is their bias without hidden units.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.distributed.noise import Noise

UnitName = Literal["binary", "gaussian"]


class VisibleUnits(ABC):
    """A layer of F visible units, each distributed independently of the others given the hidden units."""

    is_binary: ClassVar[bool] = False
    """Whether states are 0 or 1."""

    @abstractmethod
    def mean(self, inputs: Tensor) -> Tensor:
        """Inputs (B, F) -> mean states (B, F)."""

    @abstractmethod
    def sample(self, inputs: Tensor, noise: Noise) -> Tensor:
        """Inputs (B, F) -> random states (B, F)."""

    @abstractmethod
    def energy(self, states: Tensor, bias: Tensor) -> Tensor:
        """States (B, F), bias (F,) -> the part of the energy without hidden units, (B,); its gradient with respect to
        the bias is minus the states, up to a term that does not depend on them."""

    @abstractmethod
    def log_partition(self, inputs: Tensor, bias: Tensor) -> Tensor:
        """Inputs (..., F), bias (F,) -> log of the sum over all states v of exp(v · (inputs - bias) - energy(v, bias)),
        (...,)."""

    @abstractmethod
    def bias_for(self, mean: Tensor) -> Tensor:
        """The bias (F,) with which units have these mean states without hidden units."""


class BinaryUnits(VisibleUnits):
    """States 0 and 1: P(v = 1) is the sigmoid of the input."""

    is_binary = True

    def mean(self, inputs: Tensor) -> Tensor:
        return inputs.sigmoid()

    def sample(self, inputs: Tensor, noise: Noise) -> Tensor:
        return bernoulli(inputs.sigmoid(), noise)

    def energy(self, states: Tensor, bias: Tensor) -> Tensor:
        return -(states @ bias)

    def log_partition(self, inputs: Tensor, bias: Tensor) -> Tensor:
        return F.softplus(inputs).sum(-1)

    def bias_for(self, mean: Tensor) -> Tensor:
        """log p / (1 - p), section 8 of the guide; p is kept from 0 and 1, where this is infinite."""
        return mean.clamp(1e-3, 1 - 1e-3).logit()


class GaussianUnits(VisibleUnits):
    """Real numbers with variance 1, for data with mean 0 and variance 1: the mean is the input."""

    def mean(self, inputs: Tensor) -> Tensor:
        return inputs

    def sample(self, inputs: Tensor, noise: Noise) -> Tensor:
        return inputs + noise.normal(inputs.shape, inputs.device, inputs.dtype)

    def energy(self, states: Tensor, bias: Tensor) -> Tensor:
        return (states - bias).square().sum(1) / 2

    def log_partition(self, inputs: Tensor, bias: Tensor) -> Tensor:
        excess = inputs.square().sum(-1) - bias.square().sum()
        return inputs.shape[-1] * math.log(2 * math.pi) / 2 + excess / 2

    def bias_for(self, mean: Tensor) -> Tensor:
        return mean


class SoftmaxUnits(VisibleUnits):
    """Units in groups of K, one group for each item, of which one is 1: the level of its rating. A group of zeros has
    no rating, and takes no part (R. Salakhutdinov, A. Mnih, G. Hinton, "Restricted Boltzmann Machines for Collaborative
    Filtering", ICML 2007).

    Args:
        num_levels: K.
    """

    def __init__(self, num_levels: int) -> None:
        self.num_levels = num_levels

    def groups(self, x: Tensor) -> Tensor:
        """(..., F) -> (..., F / K, K)."""
        return x.unflatten(-1, (-1, self.num_levels))

    def states(self, levels: Tensor) -> Tensor:
        """Levels (B, M) from 1, 0 for none -> states (B, F), ones and zeros."""
        return F.one_hot(levels.long(), self.num_levels + 1)[..., 1:].flatten(1).float()

    def mask(self, states: Tensor) -> Tensor:
        """States (B, F) -> 1 for the units of items with a rating, else 0."""
        return self.groups(states).amax(-1, keepdim=True).expand(*states.shape[:-1], -1, self.num_levels).flatten(-2)

    def mean(self, inputs: Tensor) -> Tensor:
        return self.groups(inputs).softmax(-1).flatten(-2)

    def sample(self, inputs: Tensor, noise: Noise) -> Tensor:
        """The level whose input with a Gumbel variable added is largest."""
        dtype = torch.promote_types(inputs.dtype, torch.float32)
        uniform = noise.uniform(inputs.shape, inputs.device, dtype).clamp(1e-20, 1 - 1e-7)
        levels = self.groups(inputs - (-uniform.log()).log()).argmax(-1)
        return F.one_hot(levels, self.num_levels).flatten(-2).to(inputs.dtype)

    def energy(self, states: Tensor, bias: Tensor) -> Tensor:
        return -(states @ bias)

    def log_partition(self, inputs: Tensor, bias: Tensor) -> Tensor:
        return self.groups(inputs).logsumexp(-1).sum(-1)

    def bias_for(self, mean: Tensor) -> Tensor:
        """log p of the levels of each item among its ratings; a level that no one gave is kept from -infinity."""
        counts = self.groups(mean) + 1e-3
        return (counts / counts.sum(-1, keepdim=True)).log().flatten(-2)


KINDS: dict[str, type[VisibleUnits]] = {"binary": BinaryUnits, "gaussian": GaussianUnits}


def bernoulli(probability: Tensor, noise: Noise) -> Tensor:
    """1 with these probabilities, else 0; half precision is too coarse for the random numbers."""
    dtype = torch.promote_types(probability.dtype, torch.float32)
    return (noise.uniform(probability.shape, probability.device, dtype) < probability).to(probability.dtype)
