"""Single nets against their definitions, and what they reject."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from net_specs import MNIST, SPECS, TEN, make, table
from torch import Tensor, nn

from dlzoo.errors import SpecError, UserError
from dlzoo.nets.cnn import CNN
from dlzoo.nets.cnn_pool import CNNPool
from dlzoo.nets.filters import FilterBank, Filters
from dlzoo.nets.jordan import Jordan
from dlzoo.nets.lenet import LeNet
from dlzoo.nets.linear import Linear
from dlzoo.nets.mlp import MLP
from dlzoo.nets.nbeats import NBEATS
from dlzoo.nets.perceptron import Perceptron
from dlzoo.nets.tcn import TCN, CausalConv
from dlzoo.nets.text_cnn import TextCNN
from dlzoo.nets.wide_deep import WideDeep
from dlzoo.specs.inputs import ImageSpec, SeriesSpec
from dlzoo.specs.targets import Values

pytestmark = pytest.mark.usefixtures("one_thread")


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
    learned = torch.cat([net.linear.weight.detach().T, net.linear.bias.detach()[None]])
    torch.testing.assert_close(learned, exact, atol=1e-6, rtol=1e-6)


# Nets for images


@pytest.mark.parametrize("spec", [ImageSpec(1, 5, 40, TEN), ImageSpec(2, 33, 27, TEN), ImageSpec(1, 64, 50, TEN)])
@pytest.mark.parametrize("cls", [LeNet, CNN, CNNPool, Filters])
def test_images_of_odd_sizes(cls: type[nn.Module], spec: ImageSpec) -> None:
    assert make(cls, spec)(spec.example(2)[0]).shape == (2, 10)


@pytest.mark.parametrize(("size", "scale", "margin"), [(8, 4, 0), (28, 1, 2), (12, 2, 4), (32, 1, 0)])
def test_lenet_scales_and_pads_small_images_to_32(size: int, scale: int, margin: int) -> None:
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
        (Filters, 8, {"filters": ["box_blur"], "padding": "none"}, r"10x10 exceeds 8 values"),
        (Filters, 4, {"padding": "reflect"}, r"cannot be reflected.*net\.padding=replicate"),
    ],
)
def test_an_image_that_does_not_fit_is_refused(
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
def test_wrong_options_are_reported_with_their_key(cls: type[nn.Module], options: dict[str, Any], key: str) -> None:
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
    main, auxiliary = net(x).values()
    (seen_by_main,) = torch.autograd.grad(main.sum(), x, retain_graph=True)
    (seen_by_auxiliary,) = torch.autograd.grad(auxiliary.sum(), x)
    assert seen_by_main.any(0).nonzero().flatten().tolist() == sorted({*wide, *deep})
    assert seen_by_auxiliary.any(0).nonzero().flatten().tolist() == sorted(deep)


def test_wide_deep_matches_its_equations() -> None:
    spec = SPECS["california"]
    net, x = make(WideDeep, spec).train(), spec.example(4)[0]
    first, second = (m for m in net.hidden if isinstance(m, nn.Linear))
    h = (second((first(x[:, 2:8])).clamp(min=0))).clamp(min=0)
    outputs = net(x)
    main, auxiliary = outputs["main"], outputs["auxiliary"]
    w, b = net.output.weight, net.output.bias
    torch.testing.assert_close(main, x[:, :5] @ w[:, :5].T + h @ w[:, 5:].T + b)
    torch.testing.assert_close(auxiliary, net.auxiliary(h))
    torch.testing.assert_close(net.eval()(x), outputs)


@pytest.mark.parametrize("options", [{"wide": [0, 8]}, {"deep": [-1]}, {"wide": []}, {"deep": [3, 3]}])
def test_wide_deep_rejects_unknown_features(options: dict[str, Any]) -> None:
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
    assert net(x).argmax(1).tolist() == [0, 0, 0, 1, 0]  # at the threshold it stays silent


def test_perceptron_with_three_classes_has_a_unit_each() -> None:
    net, (x, _) = make(Perceptron, SPECS["wine"]), SPECS["wine"].example(6)
    nn.init.normal_(net.linear.weight)
    assert torch.equal(net(x), net.pre(x))
    assert torch.equal(net.pre(x), x @ net.linear.weight.T)


# Filters


def convolve_by_loops(image: Tensor, kernel: list[list[float]], p: tuple[int, int], stride: int, mode: str) -> Tensor:
    """The definition, pixel by pixel. p: pixels before and behind."""
    (h, w), f = image.shape, len(kernel)

    def pixel(i: int, j: int) -> float:
        if mode == "replicate":
            i, j = min(max(i, 0), h - 1), min(max(j, 0), w - 1)
        elif mode == "reflect":
            i, j = (n - 1 - abs(n - 1 - abs(k)) for k, n in ((i, h), (j, w)))
        return image[i, j].item() if 0 <= i < h and 0 <= j < w else 0.0

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
def test_filter_bank_matches_loops(mode: Any, stride: int) -> None:
    bank = FilterBank(blur_size=4, padding=mode, stride=stride)
    x = torch.rand(2, 3, 6, 9, generator=torch.Generator().manual_seed(0))
    out = bank(x).view(2, 3, 4, -(-6 // stride), -(-9 // stride))
    box = [[1 / 16] * 4] * 4
    for b, c in [(0, 0), (1, 2)]:
        right, down = (convolve_by_loops(x[b, c], k, (1, 1), stride, mode) for k in (RIGHT, DOWN))
        blur = convolve_by_loops(x[b, c], box, (1, 2), stride, mode)
        torch.testing.assert_close(out[b, c], torch.stack([right, down, (right**2 + down**2).sqrt(), blur]))


@pytest.mark.parametrize(("p", "stride", "blur_size"), [(0, 1, 3), (2, 1, 4), (3, 2, 5), (1, 3, 10)])
def test_output_side_matches_the_formula(p: int, stride: int, blur_size: int) -> None:
    bank = FilterBank(["box_blur"], blur_size=blur_size, num_padding=p, stride=stride)
    x = torch.rand(1, 1, 12, 15, generator=torch.Generator().manual_seed(0))
    side = [(w + 2 * p - blur_size) // stride + 1 for w in (12, 15)]
    assert list(bank(x).shape) == [1, 1, *side]
    assert [bank.output_side(w) for w in (12, 15)] == side
    box = [[1 / blur_size**2] * blur_size] * blur_size
    torch.testing.assert_close(bank(x)[0, 0], convolve_by_loops(x[0, 0], box, (p, p), stride, "zeros"))


def test_filters_without_padding() -> None:
    bank = FilterBank(["sobel_magnitude", "sobel_x"], padding="none")
    ramp = torch.arange(5.0).expand(1, 2, 5, 5)  # brighter by 1 with each pixel to the right
    assert torch.equal(bank(ramp), torch.full((1, 4, 3, 3), 8.0))
    assert torch.equal(bank(ramp.mT), torch.tensor([8.0, 0.0]).repeat(2).view(1, 4, 1, 1).expand(1, 4, 3, 3))


def test_sobel_magnitude_has_finite_gradients_on_constant_images() -> None:
    x = torch.ones(1, 1, 5, 5, requires_grad=True)
    FilterBank(["sobel_magnitude"], padding="none")(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


# Nets for texts


def test_text_cnn_matches_its_definition() -> None:
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
def test_text_cnn_rejects_empty_kernels(options: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=key):
        TextCNN(SPECS["reviews"], **options)  # type: ignore[arg-type]


# Nets for series


def series(window: int = 12, steps: int = 6) -> SeriesSpec:
    return SeriesSpec(Values(("sales", "visits")), window=window, horizon=steps, steps=steps)


def test_nbeats_adds_up_forecasts_of_what_the_blocks_before_left() -> None:
    spec = series()
    net = make(NBEATS, spec, stacks=["trend", "generic"], num_blocks=2, num_units=8)
    x, _ = spec.example(3)
    rest, total = x[:, :, 1], torch.zeros(3, 6)
    for number in (0, 0, 1, 2):  # the trend's blocks are one
        block = net.blocks[number]
        h = block.hidden(rest)
        total = total + block.forecast(h)[:, 0]
        rest = rest if block.backcast is None else rest - block.backcast(h)[:, 0]
    torch.testing.assert_close(net(x)[:, :, 1], total)


def test_a_trend_is_a_polynomial_and_a_season_has_no_mean_beyond_its_constant() -> None:
    parts = make(NBEATS, series(), degree=1).parts(series().example(2)[0])
    trend, season = parts["trend"], parts["seasonality"]
    torch.testing.assert_close(trend.diff(dim=1).diff(dim=1), torch.zeros(2, 4, 2), atol=1e-6, rtol=0)
    wanted = torch.fft.rfft(season, dim=1)
    torch.testing.assert_close(wanted[:, 3], torch.zeros_like(wanted[:, 3]), atol=1e-6, rtol=0)  # 0, 1 and 2 waves


def test_a_tcn_sees_the_whole_window_and_nothing_ahead() -> None:
    spec = series(window=20, steps=1)
    net = make(TCN, spec, num_filters=16)
    x = spec.example(8)[0].requires_grad_()
    net(x).sum().backward()
    assert x.grad is not None
    assert x.grad[:, 0].any()
    hidden = net.blocks(x.transpose(1, 2))
    later = x.detach().clone()
    later[:, 13:] += 1
    assert torch.equal(hidden[:, :, :13], net.blocks(later.transpose(1, 2))[:, :, :13])


@pytest.mark.parametrize(("steps", "dilation"), [(20, 4), (20, 8), (20, 10), (20, 19), (20, 20), (20, 64), (1, 1)])
def test_a_causal_convolution_leaves_out_what_lies_before_the_first_step(steps: int, dilation: int) -> None:
    torch.manual_seed(0)
    layer = CausalConv(2, 3, 4, dilation)
    x = torch.randn(2, 2, steps)
    torch.testing.assert_close(layer(x), layer.conv(F.pad(x, (3 * dilation, 0))))


def test_more_blocks_than_steps_take_no_memory() -> None:
    """Of the 90th block an output would see 2^89 steps: 30 blocks of one filter took all memory there is."""
    net = make(TCN, series(window=20, steps=1), num_filters=1, num_blocks=90)
    assert net(series(window=20, steps=1).example(2)[0]).shape == (2, 2)


def test_a_jordan_net_by_hand() -> None:
    spec = series(window=3, steps=1)
    net = make(Jordan, spec, num_units=5, decay=0.5)
    x, _ = spec.example(2)
    state = y = torch.zeros(2, 2)
    for t in range(3):
        state = 0.5 * state + y
        y = net.output(torch.tanh(net.inputs(x[:, t]) + state @ net.feedback.weight.T))
    torch.testing.assert_close(net(x), y)


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (NBEATS, {"stacks": []}, r"net\.stacks=\[\] must name"),
        (NBEATS, {"stacks": ["season"]}, r"net\.stacks=season is unknown"),
        (NBEATS, {"degree": -1}, r"net\.degree=-1"),
        (TCN, {"num_filters": [4, 0]}, r"net\.num_filters=\[4, 0\] must be at least 1"),
        (TCN, {"num_filters": [4, 4], "num_blocks": 3}, r"are 2 blocks, but net\.num_blocks=3"),
        (TCN, {"kernel_size": 1}, r"net\.kernel_size=1"),
        (Jordan, {"decay": 1.0}, r"net\.decay=1\.0 must be"),
        (Jordan, {"stateful": True, "skip": True}, r"choose one"),
    ],
)
def test_options_that_nets_for_series_refuse(cls: type[nn.Module], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(cls, series(), **options)
