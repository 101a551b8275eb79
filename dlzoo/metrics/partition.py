"""Partition functions of restricted Boltzmann machines: exact for small ones, else estimated.

R. M. Neal, "Annealed Importance Sampling", Statistics and Computing 11, 2001; R. Salakhutdinov, I. Murray, "On the
Quantitative Analysis of Deep Belief Networks", ICML 2008, whose 14,500 temperatures `betas` has in their proportions.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.distributed.noise import GeneratorNoise
from dlzoo.layers.boltzmann import BoltzmannLayer

MAX_ENUMERATED = 20
"""Hidden units of which all states are enumerated: a million."""
MAX_TERMS = 2**30
"""Inputs of visible units in all these states, at most: seconds."""
CHUNK = 2**12


class LogPartition(NamedTuple):
    """log Z in nats, and the ends of its interval: three standard errors of Z."""

    value: float
    low: float
    high: float


def is_enumerable(layer: BoltzmannLayer) -> bool:
    """Whether `log_partition` is exact."""
    num = layer.num_hidden
    return num <= MAX_ENUMERATED and 2**num * len(layer.visible_bias) <= MAX_TERMS


def log_partition(layer: BoltzmannLayer, *, num_chains: int, num_betas: int, seed: int) -> LogPartition:
    """log Z: exact if the states of the hidden units can be enumerated, else by `estimated_log_partition`."""
    with torch.autocast(layer.weight.device.type, enabled=False):  # rounding would add up over the steps
        if is_enumerable(layer):
            exact = exact_log_partition(layer)
            return LogPartition(exact, exact, exact)
        return estimated_log_partition(layer, num_chains=num_chains, num_betas=num_betas, seed=seed)


@torch.no_grad()
def exact_log_partition(layer: BoltzmannLayer) -> float:
    """log of the sum over all states of the hidden units; the sum over visible states has a closed form."""
    num, dtype = layer.num_hidden, layer.weight.dtype
    bits = torch.arange(num, device=layer.weight.device)
    terms = []
    for numbers in torch.arange(2**num, device=layer.weight.device).split(CHUNK):
        h = (numbers[:, None] >> bits & 1).to(dtype)
        terms.append(h @ layer.hidden_bias + layer.units.log_partition(layer.visible_input(h), layer.visible_bias))
    return float(torch.cat(terms).double().logsumexp(0))


@torch.no_grad()
def estimated_log_partition(layer: BoltzmannLayer, *, num_chains: int, num_betas: int, seed: int) -> LogPartition:
    """log Z from importance weights of annealed chains, whose mean is unbiased for Z.

    Args:
        num_chains: at least 2, of which the standard error is computed.
        num_betas: distributions between the base rates and the machine: with too few, few chains carry the weight, and
            Z is more likely too low than too high.
    """
    device = layer.weight.device
    noise = GeneratorNoise(torch.Generator(device).manual_seed(seed))
    v = layer.base_sample(num_chains, noise)
    weights = torch.zeros(num_chains, dtype=torch.float64, device=device)
    for before, beta in itertools.pairwise(betas(num_betas)):
        inputs = layer.hidden_input(v)
        own = layer.units.energy(v, layer.base_bias) - layer.units.energy(v, layer.visible_bias)
        hidden = (F.softplus(beta * inputs) - F.softplus(before * inputs)).sum(1)
        weights += ((beta - before) * own + hidden).double()
        h = (noise.uniform(inputs.shape, device, inputs.dtype) < (beta * inputs).sigmoid()).to(inputs.dtype)
        v = layer.sample_visible(h, noise, beta)
    base = float(layer.units.log_partition(layer.base_bias, layer.base_bias)) + layer.num_hidden * math.log(2)
    return interval(weights, base)


def interval(log_weights: Tensor, base: float) -> LogPartition:
    """base + log of the mean weight, and of three standard errors below and above it."""
    largest = log_weights.max()
    weights = (log_weights - largest).exp()
    mean, error = float(weights.mean()), float(weights.std()) / math.sqrt(len(weights))
    offset = base + float(largest)
    low = mean - 3 * error
    return LogPartition(
        offset + math.log(mean), offset + math.log(low) if low > 0 else -math.inf, offset + math.log(mean + 3 * error)
    )


def betas(num: int) -> list[float]:
    """From 0 to 1, a thirtieth of the steps to 0.5, eight to 0.9 and the rest to 1.

    >>> len(betas(14_500)), betas(290)[0], betas(290)[10], betas(290)[-1]
    (14500, 0.0, 0.5, 1.0)
    """
    first, second = max(1, num // 29), max(1, 8 * num // 29)
    third = max(1, num - 1 - first - second)
    parts = [torch.linspace(0, 0.5, first + 1), torch.linspace(0.5, 0.9, second + 1), torch.linspace(0.9, 1, third + 1)]
    return [*parts[0].tolist(), *parts[1].tolist()[1:], *parts[2].tolist()[1:]]
