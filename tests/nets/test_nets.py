"""Every net of dlzoo/nets, discovered by import, with every spec that it accepts."""

from __future__ import annotations

import inspect
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from net_classes import FITTED_KINDS
from net_classes import PREDICTORS as NETS
from net_specs import MNIST, SPECS, STREAMS, TEN, make
from torch import Tensor, nn

from dlzoo.layers.basic import ActivationName, InitName, NormName, num_parameters
from dlzoo.layers.positions import PositionName
from dlzoo.layers.recurrent import CellName
from dlzoo.nets.base import WindowNet
from dlzoo.nets.char_rnn import CharRNN
from dlzoo.nets.cnn import CNN
from dlzoo.nets.cnn_pool import CNNPool
from dlzoo.nets.filters import Filters
from dlzoo.nets.lenet import LeNet
from dlzoo.nets.linear import Linear
from dlzoo.nets.mlp import MLP
from dlzoo.nets.perceptron import Perceptron
from dlzoo.nets.rnn_classifier import RNNClassifier
from dlzoo.nets.rnn_forecaster import Forecaster
from dlzoo.nets.text_cnn import TextCNN
from dlzoo.nets.transformer_classifier import TransformerClassifier
from dlzoo.nets.wide_deep import WideDeep
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import tensors
from dlzoo.specs.inputs import ImageSpec, TextSpec
from dlzoo.specs.sentences import Tags
from dlzoo.specs.targets import Classes, NextTokens

REFUSED = {(name, spec) for name in ("Adaline", "Perceptron") for spec in ("angles", "california")}
REFUSED.add(("CountingRNN", "gestures"))


def is_language_model(cls: type[nn.Module]) -> bool:
    return issubclass(cls, CharRNN | WindowNet)


def stream_of(cls: type[nn.Module]) -> TextSpec:
    return STREAMS[getattr(cls, "level", "char")]


CASES = [
    pytest.param(cls, spec, id=f"{cls.__name__}-{name}")
    for cls in NETS
    for name, spec in SPECS.items()
    if isinstance(spec, cls.accepts) and (cls.__name__, name) not in REFUSED and not is_language_model(cls)
]
CASES += [
    pytest.param(cls, stream_of(cls), id=f"{cls.__name__}-{stream_of(cls).tokenizer.level}")
    for cls in NETS
    if is_language_model(cls)
]
every_net = pytest.mark.parametrize(("cls", "spec"), CASES)
TRAINED = [case for case in CASES if not issubclass(case.values[0], FITTED_KINDS)]
"""Nets that gradients train."""


pytestmark = pytest.mark.usefixtures("one_thread")


def batch_loss(output: Tensor | dict[str, Tensor], target: Tensor) -> Tensor:
    loss = F.mse_loss if target.is_floating_point() else F.cross_entropy
    outputs = tensors(output)
    flat = [(F.pad(o, (1, 0)) if o.shape[-1] == 1 and loss is F.cross_entropy else o).flatten(0, -2) for o in outputs]
    return torch.stack([loss(o, target.flatten() if target.dtype == torch.long else target) for o in flat]).sum()


def output_shape(spec: Spec, x: Tensor) -> tuple[int, ...]:
    """One column for each class or value; one logit does for the two classes of texts; one row for each token."""
    if isinstance(spec.target, NextTokens | Tags):
        return (*x.shape[:2], spec.target.num_outputs)
    return (len(x), 1 if isinstance(spec, TextSpec) and spec.target.num_outputs == 2 else spec.target.num_outputs)


def test_discovery_finds_the_nets() -> None:
    assert {MLP, Linear, LeNet, CNN, CNNPool, WideDeep, Perceptron, Filters} <= set(NETS)
    assert all(cls.accepts for cls in NETS)


@every_net
def test_output_has_one_column_per_class_or_value(cls: type[nn.Module], spec: Spec) -> None:
    net, (x, target) = make(cls, spec), spec.example(4)
    shape = output_shape(spec, x if isinstance(x, Tensor) else target)
    outputs = net.train()(x)
    assert {o.shape for o in tensors(outputs)} == {shape}
    evaluated = tensors(net.eval()(x))
    assert {o.shape for o in evaluated} == {shape}
    assert all(map(torch.equal, evaluated, tensors(net(x))))
    first = x[:1] if isinstance(x, Tensor) else {name: part[:1] for name, part in x.items()}
    # a sample's output does not depend on its neighbours
    torch.testing.assert_close([o[:1] for o in evaluated], tensors(net(first)))


@pytest.mark.parametrize(("cls", "spec"), TRAINED)
def test_every_parameter_gets_a_gradient(cls: type[nn.Module], spec: Spec) -> None:
    net, (x, y) = make(cls, spec).train(), spec.example(31)
    batch_loss(net(x), y).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


@every_net
def test_reload_gives_equal_outputs(cls: type[nn.Module], spec: Spec) -> None:
    net, (x, y) = make(cls, spec).train(), spec.example(8)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    batch_loss(net(x), y).backward()
    optimizer.step()
    other = make(cls, spec, seed=1)
    assert not any(map(torch.equal, tensors(other.eval()(x)), tensors(net.eval()(x))))
    other.load_state_dict(net.state_dict())
    assert all(map(torch.equal, tensors(other.eval()(x)), tensors(net.eval()(x))))


SMALL = ("grey8", "wine", "california", "reviews")


@pytest.mark.parametrize(
    ("cls", "spec"),
    [c for c in TRAINED if c.id.split("-")[1] in SMALL and c.id != "Linear-california"],  # which has its own test
)
def test_a_net_learns_sixteen_samples(cls: type[nn.Module], spec: Spec) -> None:
    """Overfit noise: all classes correct, or values to a hundredth of their variance."""
    net, (x, y) = make(cls, spec), spec.example(16)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        for _ in range(10):
            optimizer.zero_grad()
            batch_loss(net.train()(x), y).backward()
            optimizer.step()
        with torch.no_grad():
            output = tensors(net.eval()(x))[0]
        output = F.pad(output, (1, 0)) if y.ndim == 1 and output.shape[1] == 1 else output
        right = (output.argmax(1) == y).all() if y.ndim == 1 else F.mse_loss(output, y) < 0.01 * y.var()
        if right:
            return
    pytest.fail("not learned in 600 steps")


def of_words(num_tokens: int) -> TextSpec:
    return TextSpec(Classes(("negative", "positive")), vocabulary=tuple(str(i) for i in range(num_tokens)))


COUNTS = [
    (Linear, MNIST, {}, 7_850),
    (MLP, MNIST, {}, 118_282),
    (MLP, MNIST, {"hidden": [300, 100]}, 266_610),
    (MLP, SPECS["wine"], {"hidden": [5, 5, 5]}, 13 * 5 + 5 + 2 * 30 + 18),
    (MLP, SPECS["california"], {"hidden": [50, 50, 50]}, 8 * 50 + 50 + 2 * 2550 + 51),
    (MLP, SPECS["wine"], {"hidden": []}, 42),
    (LeNet, MNIST, {}, 61_706),
    (LeNet, ImageSpec(1, 32, 32, TEN), {}, 61_706),
    (LeNet, SPECS["grey8"], {}, 61_706),
    (CNN, MNIST, {}, 20_706),
    (CNN, MNIST, {"norm": "batch"}, 20_706 + 2 * 32 + 2 * 200),
    (WideDeep, SPECS["california"], {}, 1_207),
    (Perceptron, SPECS["bits"], {}, 3),
    (TextCNN, of_words(10_000), {}, 2_789_889),
    # the source counts one bias a gate, 411,777; PyTorch's two directions of 4 gates of 64 units have 512 more
    (RNNClassifier, of_words(5_272), {"cell": "lstm", "bidirectional": True, "hidden": 64}, 411_777 + 2 * 4 * 64),
    (RNNClassifier, of_words(5_272), {"cell": "peephole_lstm", "bidirectional": True, "hidden": 64}, 411_777 + 2 * 192),
]


@pytest.mark.parametrize(("cls", "spec", "options", "count"), COUNTS)
def test_parameter_counts_of_the_sources(cls: type[nn.Module], spec: Spec, options: dict[str, Any], count: int) -> None:
    assert num_parameters(make(cls, spec, **options)) == count


OPTIONS: dict[str, tuple[Any, ...]] = {
    "activation": get_args(ActivationName),
    "norm": get_args(NormName),
    "init": get_args(InitName),
    "pool": ("avg", "max"),
    "dropout": (0.0, 0.3),
    "embedding_dropout": (0.0, 0.5),
    "word_dropout": (0.0, 0.5),
    "cell": get_args(CellName),
    "bidirectional": (False, True),
    "positions": get_args(PositionName),
}
FORBIDDEN = {
    (Forecaster, "bidirectional"),  # it would read the future
    (TransformerClassifier, "positions"),  # some need a limited length: its own tests
}


@pytest.mark.parametrize("cls", NETS)
def test_every_named_option_works_and_changes_the_net(cls: type[nn.Module]) -> None:
    specs = [stream_of(cls)] if is_language_model(cls) else SPECS.values()
    spec = next(s for s in specs if isinstance(s, cls.accepts))
    x, _ = spec.example(8)
    known = inspect.signature(cls).parameters
    for option, values in OPTIONS.items():
        if option not in known or (cls, option) in FORBIDDEN:
            continue
        outputs = []
        for value in values:
            outputs.append(tensors(make(cls, spec, **{option: value}).train()(x))[0])
        for i, one in enumerate(outputs):
            assert one.isfinite().all(), (option, values[i])
            assert not any(torch.equal(one, other) for other in outputs[:i]), (option, values[i])


TEXT_CASES = [case for case in CASES if isinstance(case.values[1], TextSpec) and case.values[1] not in STREAMS.values()]
TEXT_OPTIONS: dict[str, list[dict[str, Any]]] = {
    "RNNClassifier": [
        *({"cell": cell, "bidirectional": both} for cell in get_args(CellName) for both in (False, True)),
        {"num_layers": 2, "bidirectional": True, "dropout": 0.5, "hidden": 8},
        *({"pool": pool, "bidirectional": True} for pool in ("avg", "max")),
    ],
    "TextCNN": [{}, {"kernel_sizes": [1, 4, 9]}],
}


@pytest.mark.parametrize(
    ("cls", "spec", "options"),
    [
        pytest.param(*case.values, options, id=f"{case.id}-{i}")
        for case in TEXT_CASES
        for i, options in enumerate(TEXT_OPTIONS.get(str(case.id).split("-")[0], [{}]))
    ],
)
def test_padding_does_not_change_outputs(cls: type[nn.Module], spec: TextSpec, options: dict[str, Any]) -> None:
    net = make(cls, spec, **options).eval()
    with torch.no_grad():
        # else all texts are much alike
        getattr(net, "embedding", net).table.weight.mul_(20)  # type: ignore[union-attr, operator]
    texts = [torch.randint(1, spec.num_tokens, (length,)) for length in (1, 2, 3, 7, 30, 150)]
    batch = nn.utils.rnn.pad_sequence(texts, batch_first=True)
    together = net(batch)
    for text, said in zip(texts, together, strict=True):
        torch.testing.assert_close(net(text[None])[0], said, rtol=1e-4, atol=1e-5)
    assert together.std(0).min() > 1e-3
