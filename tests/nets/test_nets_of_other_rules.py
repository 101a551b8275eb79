"""Nets that learn by closed forms or rules of their own: what holds of their outputs, whatever their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from net_classes import ALL, GENERATIVE, OF_WINDOWS, OTHER_RULES, PREDICTORS
from net_specs import SPECS, STREAMS, make
from torch import Tensor, nn

from dlzoo.nets.backbone import Backbone
from dlzoo.nets.base import SampleNet, TransducerNet, WordNet
from dlzoo.nets.uniform_policy import UniformPolicy
from dlzoo.specs.base import Spec

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS: dict[str, dict[str, Any]] = {
    "KMeans": {"num_clusters": 4},
    "PCA": {"num_components": 2},
    "RBM": {"num_hidden": 7},
    "DeepBeliefNet": {"hidden": [7, 6]},
    "SelfOrganizingMap": {"rows": 2, "columns": 3},
}
SHAPES: dict[str, Callable[[Any], tuple[int, ...]]] = {
    "BoltzmannMachine": lambda spec: (spec.num_features,),
    "DeepBeliefNet": lambda spec: (spec.target.num_outputs,),
    "GloVe": lambda spec: (12, 100),
    "Hopfield": lambda spec: (spec.num_features,),
    "KMeans": lambda spec: (4,),
    "ModernHopfield": lambda spec: (spec.num_features,),
    "PCA": lambda spec: spec.shape,
    "RBF": lambda spec: (spec.target.num_outputs,),
    "RBM": lambda spec: (7,),
    "RatingsRBM": lambda spec: (spec.num_features, len(spec.scale)),
    "SelfOrganizingMap": lambda spec: (6,),
    "Word2Vec": lambda spec: (12, 100),
}
"""Of the output for a row."""
CASES = [
    pytest.param(cls, SPECS[name], id=f"{cls.__name__}-{name}")
    for cls in OTHER_RULES
    for name in ("grey8", "angles", "wine", "california", "ratings")
    if isinstance(SPECS[name], cls.accepts)
]
CASES += [pytest.param(cls, STREAMS["word"], id=cls.__name__) for cls in OTHER_RULES if issubclass(cls, WordNet)]
every_net = pytest.mark.parametrize(("cls", "spec"), CASES)


def fitted(cls: type[nn.Module], spec: Spec, seed: int = 0) -> nn.Module:
    """With random weights, and random statistics above 0, in place of what would be learnt."""
    net = make(cls, spec, **OPTIONS.get(cls.__name__, {})).eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in net.parameters():
            weights.copy_(0.3 * torch.randn(weights.shape, generator=draw))
        for name, statistics in net.named_buffers():
            if name != "mask":  # of the connections
                statistics.copy_(torch.rand(statistics.shape, generator=draw) + 0.5)
    return net


def output(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x)  # type: ignore[no-any-return]


def test_every_net_is_tested_in_one_way_or_another() -> None:
    of_sequences = SampleNet | TransducerNet  # test_wavenet.py, test_transducers.py
    elsewhere = [cls for cls in ALL if issubclass(cls, Backbone | of_sequences) or cls is UniformPolicy]
    assert {*ALL} == {*GENERATIVE, *PREDICTORS, *OTHER_RULES, *OF_WINDOWS, *elsewhere}
    assert not {*GENERATIVE} & {*OTHER_RULES}
    assert {cls.__name__ for cls in OTHER_RULES} == {*SHAPES}


@every_net
def test_output_shape(cls: type[nn.Module], spec: Spec) -> None:
    net, (x, _) = fitted(cls, spec), spec.example(4)
    result = output(net, x)
    assert result.shape == (4, *SHAPES[cls.__name__](spec))
    assert result.isfinite().all()
    torch.testing.assert_close(output(net, x[:1]), result[:1])  # a row's output does not depend on its neighbours


@every_net
def test_reload_gives_equal_outputs(cls: type[nn.Module], spec: Spec) -> None:
    one, other, (x, _) = fitted(cls, spec), fitted(cls, spec, seed=1), spec.example(4)
    before = output(one, x)
    assert not torch.equal(before, output(other, x))
    other.load_state_dict(one.state_dict())
    assert torch.equal(before, output(other, x))
