"""Boltzmann layers of a few units, whose states can be enumerated."""

from __future__ import annotations

import torch
from torch import Tensor

from dlzoo.distributed.noise import GeneratorNoise
from dlzoo.layers.boltzmann import BoltzmannLayer
from dlzoo.layers.visible_units import KINDS


def layer_of(kind: str, num_visible: int, num_hidden: int, scale: float = 1.0) -> BoltzmannLayer:
    """With random weights and biases, in double precision."""
    torch.manual_seed(0)
    layer = BoltzmannLayer(KINDS[kind](), num_visible, num_hidden, init_std=scale).double()
    with torch.no_grad():
        layer.visible_bias.normal_()
        layer.hidden_bias.normal_()
        layer.base_bias.normal_()
    return layer


def all_states(num: int) -> Tensor:
    """(2^num, num), each row a state of binary units."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * num).view(-1, num)


def energy(layer: BoltzmannLayer, v: Tensor, h: Tensor) -> Tensor:
    """Of each pair of states, (Nv, Nh), as its definition says."""
    own = layer.units.energy(v, layer.visible_bias)[:, None]
    return own - (h @ layer.hidden_bias)[None] - v @ layer.weight @ h.T


def noise(seed: int = 0) -> GeneratorNoise:
    return GeneratorNoise(torch.Generator().manual_seed(seed))
