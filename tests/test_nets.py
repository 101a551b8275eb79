"""Every net of dlzoo/nets, found by import, with every spec that it accepts."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dlzoo.nets
from dlzoo.errors import SpecError, UserError
from dlzoo.layers import ActivationName, InitName, NormName, num_parameters
from dlzoo.nets.cnn import CNN
from dlzoo.nets.cnn_pool import CNNPool
from dlzoo.nets.dice import Dice
from dlzoo.nets.filters import FilterBank, Filters
from dlzoo.nets.forecaster import Forecaster
from dlzoo.nets.lenet import LeNet
from dlzoo.nets.linear import Linear
from dlzoo.nets.mlp import MLP
from dlzoo.nets.perceptron import Perceptron
from dlzoo.nets.rnn_classifier import RNNClassifier
from dlzoo.nets.text_cnn import TextCNN
from dlzoo.nets.wide_deep import WideDeep
from dlzoo.recurrent import CellName
from dlzoo.specs import (
    Actions,
    Classes,
    Column,
    EnvSpec,
    ImageSpec,
    NextTokens,
    SequenceSpec,
    SeriesSpec,
    Spec,
    StatesSpec,
    TableSpec,
    TextSpec,
    Values,
)
from dlzoo.tokenizer import SPECIAL, Tokenizer


def table(num_features: int, target: Classes | Values) -> TableSpec:
    return TableSpec(tuple(Column(f"x{i}") for i in range(num_features)), target)


TEN = Classes(tuple("0123456789"))
MNIST = ImageSpec(1, 28, 28, TEN)
SPECS: dict[str, Spec] = {
    "grey8": ImageSpec(1, 8, 8, TEN),
    "grey28": MNIST,
    "colour32": ImageSpec(3, 32, 32, TEN),
    "angles": ImageSpec(1, 12, 20, Values(("sine", "cosine"))),
    "wine": table(13, Classes(("a", "b", "c"))),
    "bits": table(2, Classes(("false", "true"))),
    "california": table(8, Values(("price",))),
    "sequences": SequenceSpec(10, 1, Values(("ones",))),
    "series": SeriesSpec(Values(("sales", "visits")), window=12, horizon=3),
    "reviews": TextSpec(Classes(("negative", "positive")), vocabulary=(*SPECIAL, *"abcdefghijklmnopqr")),
    "pole": EnvSpec("CartPole-v1", (4,), Actions(("left", "right"))),
    "screen": EnvSpec("Breakout", (4, 44, 40), Actions(tuple("0123"))),
    "lake": StatesSpec("FrozenLake-v1", 16, Actions(tuple("0123"))),
    "topics": TextSpec(Classes(("a", "b", "c")), Tokenizer("char"), vocabulary=(*SPECIAL, *"abcdefghijklmnopqr")),
}
STREAMS = {
    level: TextSpec(NextTokens(20), Tokenizer(level), vocabulary=(*SPECIAL, *"abcdefghijklmnopqr"))
    for level in ("char", "word")
}
REFUSED = {("Perceptron", "angles"), ("Perceptron", "california")}


def all_nets() -> Iterator[type[nn.Module]]:
    for module in pkgutil.iter_modules(dlzoo.nets.__path__, "dlzoo.nets."):
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            makes_pictures = hasattr(cls, "encode") or hasattr(cls, "generate")  # test_generative_nets.py has those
            if cls.__module__ == module.name and hasattr(cls, "accepts") and not makes_pictures and cls is not Dice:
                yield cls


NETS = list(all_nets())
CASES = [
    pytest.param(cls, spec, id=f"{cls.__name__}-{name}")
    for cls in NETS
    for name, spec in SPECS.items()
    if isinstance(spec, cls.accepts) and (cls.__name__, name) not in REFUSED and not hasattr(cls, "advance")
]
CASES += [  # language models
    pytest.param(cls, STREAMS[cls.level], id=f"{cls.__name__}-{cls.level}") for cls in NETS if hasattr(cls, "advance")
]
every_net = pytest.mark.parametrize(("cls", "spec"), CASES)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Two threads on a busy machine wait for each other: ten times slower on nets this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(cls: type[nn.Module], spec: Spec, seed: int = 0, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    return cls(spec, **options)


def batch_loss(output: Tensor | tuple[Tensor, ...], target: Tensor) -> Tensor:
    loss = F.mse_loss if target.is_floating_point() else F.cross_entropy
    outputs = output if isinstance(output, tuple) else (output,)
    flat = [(F.pad(o, (1, 0)) if o.shape[-1] == 1 and loss is F.cross_entropy else o).flatten(0, -2) for o in outputs]
    return torch.stack([loss(o, target.flatten() if target.dtype == torch.long else target) for o in flat]).sum()


def output_shape(spec: Spec, x: Tensor) -> tuple[int, ...]:
    """One column for each class or value; one logit does for the two classes of texts; one row for each token."""
    if isinstance(spec.target, NextTokens):
        return (*x.shape, spec.target.num_outputs)
    return (len(x), 1 if isinstance(spec, TextSpec) and spec.target.num_outputs == 2 else spec.target.num_outputs)


def test_discovery_finds_the_nets() -> None:
    assert {MLP, Linear, LeNet, CNN, CNNPool, WideDeep, Perceptron, Filters} <= set(NETS)
    assert all(cls.accepts for cls in NETS)


@every_net
def test_output_has_one_column_per_class_or_value(cls: type[nn.Module], spec: Spec) -> None:
    net, (x, _) = make(cls, spec), spec.example(4)
    shape = output_shape(spec, x)
    outputs = net.train()(x)
    assert {o.shape for o in (outputs if isinstance(outputs, tuple) else (outputs,))} == {shape}
    evaluated = net.eval()(x)
    assert evaluated.shape == shape
    assert torch.equal(evaluated, net(x))
    torch.testing.assert_close(evaluated[:1], net(x[:1]))  # a sample's output does not depend on its neighbours


@every_net
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
    assert not torch.equal(other.eval()(x), net.eval()(x))
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.eval()(x), net.eval()(x))


SMALL = ("grey8", "wine", "california", "reviews")


@pytest.mark.parametrize(
    ("cls", "spec"),
    [c for c in CASES if c.id.split("-")[1] in SMALL and c.id != "Linear-california"],  # which has its own test
)
def test_a_net_learns_sixteen_samples(cls: type[nn.Module], spec: Spec) -> None:
    """Noise by heart: every class, or values to a hundredth of their variance."""
    net, (x, y) = make(cls, spec), spec.example(16)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        for _ in range(10):
            optimizer.zero_grad()
            batch_loss(net.train()(x), y).backward()
            optimizer.step()
        with torch.no_grad():
            output = net.eval()(x)
        output = F.pad(output, (1, 0)) if y.ndim == 1 and output.shape[1] == 1 else output
        right = (output.argmax(1) == y).all() if y.ndim == 1 else F.mse_loss(output, y) < 0.01 * y.var()
        if right:
            return
    pytest.fail("not learnt in 600 steps")


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
}
FORBIDDEN = {(Forecaster, "bidirectional")}  # it would read the future


@pytest.mark.parametrize("cls", NETS)
def test_every_named_option_works_and_changes_the_net(cls: type[nn.Module]) -> None:
    spec = (
        STREAMS[cls.level] if hasattr(cls, "advance") else next(s for s in SPECS.values() if isinstance(s, cls.accepts))
    )
    x, _ = spec.example(8)
    known = inspect.signature(cls).parameters
    for option, values in OPTIONS.items():
        if option not in known or (cls, option) in FORBIDDEN:
            continue
        outputs = []
        for value in values:
            output = make(cls, spec, **{option: value}).train()(x)
            outputs.append(output[0] if isinstance(output, tuple) else output)
        for i, one in enumerate(outputs):
            assert one.isfinite().all(), (option, values[i])
            assert not any(torch.equal(one, other) for other in outputs[:i]), (option, values[i])


# Linear


def test_linear_learns_the_least_squares_solution() -> None:
    spec = SPECS["california"]
    net = make(Linear, spec).double()
    x = torch.randn(64, 8, dtype=torch.double)
    y = x @ torch.randn(8, 1, dtype=torch.double) + torch.randn(64, 1, dtype=torch.double) + 3
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=100, tolerance_change=0, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.mse_loss(net(x), y)
        loss.backward()
        return loss

    optimizer.step(closure)
    exact = torch.linalg.lstsq(torch.cat([x, torch.ones(64, 1, dtype=torch.double)], 1), y).solution
    learnt = torch.cat([net.linear.weight.detach().T, net.linear.bias.detach()[None]])
    torch.testing.assert_close(learnt, exact, atol=1e-6, rtol=1e-6)


# Nets for pictures


@pytest.mark.parametrize("spec", [ImageSpec(1, 5, 40, TEN), ImageSpec(2, 33, 27, TEN), ImageSpec(1, 64, 50, TEN)])
@pytest.mark.parametrize("cls", [LeNet, CNN, CNNPool, Filters])
def test_pictures_of_odd_sizes(cls: type[nn.Module], spec: ImageSpec) -> None:
    assert make(cls, spec)(spec.example(2)[0]).shape == (2, 10)


@pytest.mark.parametrize(("size", "scale", "margin"), [(8, 4, 0), (28, 1, 2), (12, 2, 4), (32, 1, 0)])
def test_lenet_brings_a_small_picture_to_a_field_of_32(size: int, scale: int, margin: int) -> None:
    spec = ImageSpec(1, size, size, TEN)
    small, full = make(LeNet, spec), make(LeNet, ImageSpec(1, 32, 32, TEN))
    full.load_state_dict(small.state_dict())
    x, _ = spec.example(3)
    large = x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    torch.testing.assert_close(small(x), full(F.pad(large, [margin] * 4)))


@pytest.mark.parametrize(
    ("cls", "size", "options", "remedy"),
    [
        (CNN, 8, {"padding": 0}, r"at least 10x10.*images of 1x8x8.*net\.padding=1"),
        (CNN, 1, {}, "at least 2x2"),
        (CNNPool, 8, {"num_filters": [4, 4, 4, 4]}, r"shorten net\.num_filters"),
        (Filters, 8, {"filters": ["box_blur"], "padding": "none"}, r"10x10 kernel exceeds 8 pixels"),
        (Filters, 4, {"padding": "reflect"}, r"cannot be reflected.*net\.padding=replicate"),
    ],
)
def test_a_picture_that_does_not_fit_is_refused(
    cls: type[nn.Module], size: int, options: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(SpecError, match=remedy):
        cls(ImageSpec(1, size, size, TEN), **options)


@pytest.mark.parametrize(
    ("cls", "options", "key"),
    [
        (MLP, {"hidden": [5, 0]}, r"net\.hidden=\[5, 0\]"),
        (MLP, {"dropout": 1.5}, r"net\.dropout=1\.5"),
        (CNNPool, {"head_dropout": 1.5}, r"net\.head_dropout=1\.5"),
        (CNNPool, {"num_filters": []}, r"net\.num_filters=\[\]"),
        (LeNet, {"pool": "mean"}, r"net\.pool=mean"),
        (Filters, {"filters": ["sobl_x"]}, r"net\.filters=sobl_x is unknown; did you mean 'sobel_x'"),
        (Filters, {"filters": []}, r"net\.filters is empty"),
        (Filters, {"stride": 0}, r"net\.stride=0"),
        (Filters, {"padding": "none"}, r"sizes \[3, 10\]"),
        (Filters, {"num_padding": 2}, r"sizes \[3, 10\]"),
        (Filters, {"padding": "none", "num_padding": 2, "filters": ["box_blur"]}, r"net\.num_padding=2"),
    ],
)
def test_wrong_options_are_told_with_their_key(cls: type[nn.Module], options: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=key):
        cls(MNIST, **options)


# Wide & deep


@pytest.mark.parametrize(
    ("num_features", "options", "wide", "deep"),
    [
        (8, {}, range(5), range(2, 8)),
        (13, {}, range(13), range(13)),
        (13, {"wide": [12, 0]}, [12, 0], range(13)),
        (8, {"deep": [1]}, range(5), [1]),
    ],
)
def test_wide_deep_reads_only_its_features(num_features: int, options: dict[str, Any], wide: Any, deep: Any) -> None:
    spec = table(num_features, Values(("y",)))
    net = make(WideDeep, spec, **options).train()
    x = spec.example(8)[0].requires_grad_()
    main, auxiliary = net(x)
    (seen_by_main,) = torch.autograd.grad(main.sum(), x, retain_graph=True)
    (seen_by_auxiliary,) = torch.autograd.grad(auxiliary.sum(), x)
    assert seen_by_main.any(0).nonzero().flatten().tolist() == sorted({*wide, *deep})
    assert seen_by_auxiliary.any(0).nonzero().flatten().tolist() == sorted(deep)


def test_wide_deep_is_its_equations() -> None:
    spec = SPECS["california"]
    net, x = make(WideDeep, spec).train(), spec.example(4)[0]
    first, second = (m for m in net.hidden if isinstance(m, nn.Linear))
    h = (second((first(x[:, 2:8])).clamp(min=0))).clamp(min=0)
    main, auxiliary = net(x)
    w, b = net.output.weight, net.output.bias
    torch.testing.assert_close(main, x[:, :5] @ w[:, :5].T + h @ w[:, 5:].T + b)
    torch.testing.assert_close(auxiliary, net.auxiliary(h))
    torch.testing.assert_close(net.eval()(x), main)


@pytest.mark.parametrize("options", [{"wide": [0, 8]}, {"deep": [-1]}, {"wide": []}, {"deep": [3, 3]}])
def test_wide_deep_refuses_features_that_are_not_there(options: dict[str, Any]) -> None:
    (key,) = options
    with pytest.raises(SpecError, match=rf"net\.{key}=\[.*a table of 8 features, 0 to 7"):
        WideDeep(SPECS["california"], **options)


# Perceptron


@pytest.mark.parametrize("name", ["angles", "california"])
def test_perceptron_refuses_values(name: str) -> None:
    with pytest.raises(SpecError, match="classes"):
        Perceptron(SPECS[name])


def test_perceptron_unit_is_a_step() -> None:
    net = Perceptron(SPECS["bits"])
    assert not any(p.any() for p in net.parameters())
    with torch.no_grad():  # x1 + x2 > 1.5: AND
        net.linear.weight.fill_(1.0)
        net.linear.bias.fill_(-1.5)
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [1.5, 0.0]])
    assert net.fire(x).tolist() == [[0.0], [0.0], [0.0], [1.0], [0.0]]  # at the threshold it stays silent
    assert net(x).argmax(1).tolist() == [0, 0, 0, 1, 0]


def test_perceptron_with_three_classes_has_a_unit_each() -> None:
    net, (x, _) = make(Perceptron, SPECS["wine"]), SPECS["wine"].example(6)
    nn.init.normal_(net.linear.weight)
    assert torch.equal(net(x), net.pre(x))
    assert torch.equal(net.fire(x), (x @ net.linear.weight.T > 0).float())


# Filters


def convolve_by_loops(picture: Tensor, kernel: list[list[float]], p: tuple[int, int], stride: int, mode: str) -> Tensor:
    """The definition, pixel by pixel. p: pixels before and behind."""
    (h, w), f = picture.shape, len(kernel)

    def pixel(i: int, j: int) -> float:
        if mode == "replicate":
            i, j = min(max(i, 0), h - 1), min(max(j, 0), w - 1)
        elif mode == "reflect":
            i, j = (n - 1 - abs(n - 1 - abs(k)) for k, n in ((i, h), (j, w)))
        return picture[i, j].item() if 0 <= i < h and 0 <= j < w else 0.0

    def side(n: int) -> int:
        return (n + sum(p) - f) // stride + 1

    out = torch.zeros(side(h), side(w))
    for i in range(side(h)):
        for j in range(side(w)):
            corner = i * stride - p[0], j * stride - p[0]
            out[i, j] = sum(kernel[a][b] * pixel(corner[0] + a, corner[1] + b) for a in range(f) for b in range(f))
    return out


RIGHT = [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]
DOWN = [[-1.0, -2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0]]


@pytest.mark.parametrize("mode", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize("stride", [1, 2])
def test_filter_bank_is_the_loop_definition(mode: Any, stride: int) -> None:
    bank = FilterBank(blur_size=4, padding=mode, stride=stride)
    x = torch.rand(2, 3, 6, 9, generator=torch.Generator().manual_seed(0))
    out = bank(x).view(2, 3, 4, -(-6 // stride), -(-9 // stride))
    box = [[1 / 16] * 4] * 4
    for b, c in [(0, 0), (1, 2)]:
        right, down = (convolve_by_loops(x[b, c], k, (1, 1), stride, mode) for k in (RIGHT, DOWN))
        blur = convolve_by_loops(x[b, c], box, (1, 2), stride, mode)
        torch.testing.assert_close(out[b, c], torch.stack([right, down, (right**2 + down**2).sqrt(), blur]))


@pytest.mark.parametrize(("p", "stride", "blur_size"), [(0, 1, 3), (2, 1, 4), (3, 2, 5), (1, 3, 10)])
def test_output_side_is_the_formula(p: int, stride: int, blur_size: int) -> None:
    bank = FilterBank(["box_blur"], blur_size=blur_size, num_padding=p, stride=stride)
    x = torch.rand(1, 1, 12, 15, generator=torch.Generator().manual_seed(0))
    side = [(w + 2 * p - blur_size) // stride + 1 for w in (12, 15)]
    assert list(bank(x).shape) == [1, 1, *side]
    assert [bank.output_side(w) for w in (12, 15)] == side
    box = [[1 / blur_size**2] * blur_size] * blur_size
    torch.testing.assert_close(bank(x)[0, 0], convolve_by_loops(x[0, 0], box, (p, p), stride, "zeros"))


def test_filters_without_padding_see_only_the_picture() -> None:
    bank = FilterBank(["sobel_magnitude", "sobel_x"], padding="none")
    ramp = torch.arange(5.0).expand(1, 2, 5, 5)  # brighter by 1 with each pixel to the right
    assert torch.equal(bank(ramp), torch.full((1, 4, 3, 3), 8.0))
    assert torch.equal(bank(ramp.mT), torch.tensor([8.0, 0.0]).repeat(2).view(1, 4, 1, 1).expand(1, 4, 3, 3))


def test_sobel_magnitude_has_a_slope_on_a_flat_picture() -> None:
    x = torch.ones(1, 1, 5, 5, requires_grad=True)
    FilterBank(["sobel_magnitude"], padding="none")(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


# Nets for texts

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
def test_padding_never_changes_what_is_said_of_a_text(
    cls: type[nn.Module], spec: TextSpec, options: dict[str, Any]
) -> None:
    net = make(cls, spec, **options).eval()
    with torch.no_grad():
        net.embedding.table.weight.mul_(20)  # type: ignore[union-attr, operator]  # else all texts are much alike
    texts = [torch.randint(1, spec.num_tokens, (length,)) for length in (1, 2, 3, 7, 30, 150)]
    batch = nn.utils.rnn.pad_sequence(texts, batch_first=True)
    together = net(batch)
    for text, said in zip(texts, together, strict=True):
        torch.testing.assert_close(net(text[None])[0], said, rtol=1e-4, atol=1e-5)
    assert together.std(0).min() > 1e-3


def test_text_cnn_is_its_definition() -> None:
    spec = SPECS["reviews"]
    net = make(TextCNN, spec, embedding=5, num_filters=4, kernel_sizes=[3]).eval()
    x = torch.tensor([[2, 3, 4, 5, 6, 0], [7, 8, 0, 0, 0, 0]])
    vectors, (convolution,) = net.embedding(x), net.convolutions
    windows = {0: [vectors[0, i : i + 3] for i in range(3)], 1: [torch.cat([vectors[1, :2], torch.zeros(1, 5)])]}
    for row, own in windows.items():
        values = [(convolution.weight * window.T).sum((1, 2)) + convolution.bias for window in own]
        pooled = torch.stack(values).amax(0).relu()
        torch.testing.assert_close(net(x)[row], net.output(net.hidden(pooled)))


@pytest.mark.parametrize(
    ("options", "key"),
    [({"kernel_sizes": []}, r"net\.kernel_sizes=\[\]"), ({"kernel_sizes": [3, 0]}, r"net\.kernel_sizes=\[3, 0\]")],
)
def test_text_cnn_refuses_kernels_that_see_nothing(options: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=key):
        TextCNN(SPECS["reviews"], **options)  # type: ignore[arg-type]
