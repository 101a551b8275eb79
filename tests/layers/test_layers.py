"""Parts of nets against their textbook definitions."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import nn

from dlzoo.errors import UserError
from dlzoo.layers import basic as layers
from dlzoo.layers.basic import ActivationName, InitName, NormName

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017
FORMULAS = {
    "identity": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": lambda x: (math.exp(2 * x) - 1) / (math.exp(2 * x) + 1),
    "relu": lambda x: max(x, 0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "selu": lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * (math.exp(x) - 1)),
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "softsign": lambda x: x / (1 + abs(x)),
    "softplus": lambda x: math.log(1 + math.exp(x)),
    "exponential": lambda x: math.exp(x),
}


@pytest.mark.parametrize("name", get_args(ActivationName))
def test_activations_match_their_formulas(name: ActivationName) -> None:
    points = [-3.0, -0.5, 0.0, 0.5, 3.0]
    expected = torch.tensor([FORMULAS[name](x) for x in points], dtype=torch.double)
    module = layers.activation(name)
    torch.testing.assert_close(module(torch.tensor(points, dtype=torch.double)), expected)
    assert isinstance(module, layers.ACTIVATION_TYPES) == (name != "identity")


@pytest.mark.parametrize("name", get_args(NormName))
@pytest.mark.parametrize("shape", [(16, 5), (16, 5, 4, 3)], ids=["features", "maps"])
def test_norm_normalises_over_its_axes(name: NormName, shape: tuple[int, ...]) -> None:
    module = (layers.norm if len(shape) == 2 else layers.map_norm)(name, 5)
    x = 3 + 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    y = module(x)
    if name == "none":
        assert y is x
    elif name == "unit":
        torch.testing.assert_close(y.square().sum(1), torch.ones(shape[0], *shape[2:]))
        torch.testing.assert_close(y * x.norm(dim=1, keepdim=True), x)
    else:
        axes = [a for a in range(len(shape)) if a != (1 if name == "batch" else 0)]
        scaled = (x - x.mean(axes, keepdim=True)) / x.std(axes, correction=0, keepdim=True)
        torch.testing.assert_close(y, scaled, atol=1e-4, rtol=1e-4)
        assert layers.num_parameters(module) == 10


FAN_IN, FAN_OUT = 200, 100
STD = {
    "glorot": math.sqrt(2 / (FAN_IN + FAN_OUT)),
    "he": math.sqrt(2 / FAN_IN),
    "lecun": math.sqrt(1 / FAN_IN),
    "normal": 0.05,
}


@pytest.mark.parametrize("name", [n for n in get_args(InitName) if n != "default"])
@pytest.mark.parametrize("make", [lambda: nn.Linear(200, 100), lambda: nn.Conv2d(50, 25, 2)], ids=["linear", "conv"])
def test_initialisers_have_the_published_variance(name: InitName, make) -> None:
    torch.manual_seed(0)
    layer = layers.initialise(nn.Sequential(make()), name)[0]
    std = STD[name.split("_")[0]]
    w = layer.weight.detach()
    assert w.std().item() == pytest.approx(std, rel=0.03)
    assert abs(w.mean().item()) < 0.03 * std
    # A uniform draw ends at sqrt(3) standard deviations; of 20,000 normal ones some lie beyond three.
    ratio = w.abs().max().item() / std
    assert 1.65 < ratio <= 1.74 if name.endswith("uniform") else ratio > 3
    assert not layer.bias.any()


def test_default_initialiser_changes_nothing() -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight.clone(), layer.bias.clone()
    torch.manual_seed(1)
    layers.initialise(layer, "default")
    assert torch.equal(layer.weight, before[0])
    assert torch.equal(layer.bias, before[1])


@pytest.mark.parametrize(("make", "key"), [(layers.activation, "activation"), (lambda n: layers.norm(n, 3), "norm")])
def test_an_unknown_name_is_reported_with_its_key(make, key: str) -> None:
    with pytest.raises(UserError, match=rf"net\.{key}=rleu"):
        make("rleu")
    with pytest.raises(UserError, match=r"net\.init=he_norml is unknown; did you mean 'he_normal'"):
        layers.initialise(nn.Linear(1, 1), "he_norml")


@pytest.mark.parametrize("rate", [-0.1, 1.0, 30])
def test_dropout_rate_is_validated(rate: float) -> None:
    with pytest.raises(UserError, match=r"net\.dropout="):
        layers.dropout(rate)


def test_sequential_drops_identities() -> None:
    net = layers.sequential(nn.Linear(2, 2), layers.norm("none", 2), layers.activation("identity"), layers.dropout(0))
    assert [type(m) for m in net] == [nn.Linear]
    assert [m.p for m in layers.sequential(layers.dropout(0.3))] == [0.3]


@pytest.mark.parametrize("shape", [(64, 3), (64, 3, 5, 4)], ids=["table", "images"])
def test_standardize_by_feature_or_channel(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape) * torch.tensor([1.0, 2.0, 3.0]).view(3, *[1] * (len(shape) - 2)) + 7
    over = [a for a in range(len(shape)) if a != 1]
    module = layers.Standardize(x.mean(over).tolist(), x.std(over, correction=0).tolist())
    y = module(x)
    torch.testing.assert_close(y.mean(over), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std(over, correction=0), torch.ones(3))
    assert set(module.state_dict()) == {"mean", "std"}


def test_standardize_without_statistics_is_the_identity() -> None:
    module, x = layers.Standardize(), torch.randn(2, 3)
    assert module(x) is x
    assert not module.state_dict()


@pytest.mark.parametrize(("mean", "std"), [((0.0,), ()), ((0.0,), (0.0,)), ((0.0,), (float("nan"),))])
def test_standardize_rejects_invalid_statistics(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="deviations"):
        layers.Standardize(mean, std)
