"""Traces: feature maps of any net; Grad-CAM matches its formula and is located at the evidence."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from plain_nets import as_net
from torch import Tensor, nn

from dlzoo.config import compose as config
from dlzoo.config import instantiate as build
from dlzoo.config import introspection as signatures
from dlzoo.config.run_config import RunConfig
from dlzoo.errors import UserError
from dlzoo.inference import activations as trace
from dlzoo.nets.filters import Filters
from dlzoo.nets.lenet import LeNet
from dlzoo.nets.mlp import MLP
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes
from dlzoo.tasks.supervised import Supervised

SPEC = ImageSpec(1, 12, 10, Classes(("a", "b", "c"), (1, 1, 1)))


class OneLayer(nn.Module):
    """Maps by a 1x1 convolution, classes by a linear layer on all of them."""

    def __init__(self, num_outputs: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 1)
        self.linear = nn.Linear(4 * 12 * 10, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.conv(x).flatten(1))


class Awkward(nn.Module):
    """What library nets may do: resize, modify in place, use channels last, have training-only branches."""

    def __init__(self) -> None:
        super().__init__()
        self.enlarge = nn.Upsample(scale_factor=2)
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 2, 2), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.norm = nn.LayerNorm(6)
        self.branch = nn.Conv2d(6, 3, 3)
        self.attention = nn.Softmax(-1)
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        maps = self.norm(self.stem(self.enlarge(x)).permute(0, 2, 3, 1))  # (B, 12, 10, 6)
        tokens = maps.flatten(1, 2)
        tokens = self.attention((tokens @ tokens.mT)[:, None])[:, 0] @ tokens
        aside = self.branch(maps.permute(0, 3, 1, 2))
        pooled = self.squeeze(tokens.unflatten(1, (12, 10)).permute(0, 3, 1, 2)).flatten(1)
        return (self.linear(pooled), aside) if self.training else self.linear(pooled)


def task_of(net: nn.Module, spec: ImageSpec = SPEC) -> Supervised:
    return Supervised(as_net(net), spec).eval()


def by_hand(maps: Tensor, slopes: Tensor) -> Tensor:
    """(C, H, W) and the slopes of a score -> (H, W), in loops."""
    heat = torch.zeros(maps.shape[1:])
    for one, slope in zip(maps, slopes, strict=True):
        heat += slope.sum() / slope.numel() * one
    return heat.clamp(min=0)


def test_grad_cam_matches_its_formula() -> None:
    net, x, classes = OneLayer(), torch.rand(5, 1, 12, 10), torch.tensor([[0, 2], [1, 0], [2, 1], [0, 1], [1, 2]])
    heat = trace.grad_cam(task_of(net), x, classes)
    assert heat.layer.name == "conv"
    slopes = net.linear.weight.view(3, 4, 12, 10)  # of a linear layer, whatever the input
    for i in range(5):
        for k in range(2):
            torch.testing.assert_close(heat.maps[i, k], by_hand(net.conv(x)[i], slopes[classes[i, k]]).detach())
    assert (heat.maps.flatten(2).amax(2) > 0).any()


def test_grad_cam_of_an_awkward_and_frozen_net() -> None:
    net, x = Awkward(), torch.rand(3, 1, 12, 10)
    net.requires_grad_(False)
    task = task_of(net)
    seen = trace.look(task, x)
    shapes = {layer.name: tuple(layer.maps.shape[1:]) for layer in seen.layers}
    assert shapes == {"stem.0": (6, 12, 10), "stem": (6, 12, 10), "norm": (6, 12, 10), "branch": (3, 10, 8)}
    heat = trace.grad_cam(task, x, torch.tensor([[0, 1]] * 3))
    assert heat.layer.name == "norm"  # the branch says nothing about the classes
    assert heat.maps.shape == (3, 2, 12, 10)
    maps = heat.layer.maps.detach().permute(0, 2, 3, 1).requires_grad_()
    tokens = maps.flatten(1, 2)
    mixed = (tokens @ tokens.mT).softmax(-1) @ tokens
    (slopes,) = torch.autograd.grad(net.linear(mixed.mean(1))[:, 1].sum(), maps)
    for i in range(3):
        expected = by_hand(maps[i].permute(2, 0, 1), slopes[i].permute(2, 0, 1))
        torch.testing.assert_close(heat.maps[i, 1], expected.detach(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("pool", "layer"), [("avg", None), ("max", None), ("max", "layers.4")])
def test_heatmaps_are_located_at_the_evidence(pool: Any, layer: str | None) -> None:
    """A net that adds up brightness, and a bright dot: near it, though LeNet-5 has no cell for the outer pixels."""
    spec = ImageSpec(1, 28, 28, Classes(("dark", "bright")))
    net = LeNet(spec, activation="relu", pool=pool)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.fill_(0.1 if isinstance(module, nn.Linear) else 0.0)
                module.bias.zero_()
            if isinstance(module, nn.Conv2d):
                module.weight[:, :, 2, 2] = 1  # a pixel is seen by one place only
        last = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
        last.weight[0] = -0.1
    for y, x in ((6, 6), (6, 21), (22, 10), (13, 14)):
        image = torch.zeros(1, 1, 28, 28)
        image[0, 0, y, x] = 1
        heat = trace.grad_cam(task_of(net, spec), image, torch.tensor([[0, 1]]), layer).maps[0]
        assert (heat[0] == 0).all()  # nothing speaks for dark
        mass = heat[1] / heat[1].sum()
        centre = ((mass.sum(1) * torch.arange(28)).sum().item(), (mass.sum(0) * torch.arange(28)).sum().item())
        assert centre == pytest.approx((y, x), abs=1)


def test_chunks_give_the_same_heatmaps(monkeypatch: pytest.MonkeyPatch) -> None:
    task, x, classes = task_of(OneLayer()), torch.rand(5, 1, 12, 10), torch.tensor([[1]] * 5)
    whole = trace.grad_cam(task, x, classes).maps
    monkeypatch.setattr(trace, "CHUNK", 2)
    torch.testing.assert_close(trace.grad_cam(task, x, classes).maps, whole)


def test_a_single_logit_scores_both_classes() -> None:
    net, x = OneLayer(num_outputs=1), torch.rand(1, 1, 12, 10)
    heat = trace.grad_cam(task_of(net), x, torch.tensor([[0, 1]])).maps[0]
    slopes = net.linear.weight.view(4, 12, 10)
    torch.testing.assert_close(heat[0], by_hand(net.conv(x)[0], -slopes).detach())
    torch.testing.assert_close(heat[1], by_hand(net.conv(x)[0], slopes).detach())


def test_weights_and_hooks_are_unchanged() -> None:
    net = Awkward()
    task, x, classes = task_of(net), torch.rand(2, 1, 12, 10), torch.tensor([[1], [2]])
    trace.grad_cam(task, x, classes)
    with pytest.raises(UserError, match=r"layer=stme: no such layer with maps; did you mean 'stem'\?"):
        trace.grad_cam(task, x, classes, "stme")
    assert not any(module._forward_hooks for module in net.modules())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert trace.grad_cam(task, x, classes, "stem").layer.kind == "Sequential"
    assert (trace.grad_cam(task, x, classes, "branch").maps == 0).all()  # no class depends on it


def test_a_net_without_maps_is_reported() -> None:
    task, x = task_of(MLP(SPEC, hidden=[4])), torch.rand(1, 1, 12, 10)
    assert not trace.look(task, x).layers
    with pytest.raises(UserError, match="no layer of this net has maps"):
        trace.grad_cam(task, x, torch.tensor([[0]]))


def test_the_first_kernels() -> None:
    x = torch.rand(1, 1, 12, 10)
    mlp, filters = MLP(SPEC, hidden=[4]), Filters(SPEC)
    seen = trace.look(task_of(mlp), x)
    assert seen.kernels is not None
    first = next(module for module in mlp.modules() if isinstance(module, nn.Linear))
    assert torch.equal(seen.kernels.flatten(1), first.weight)
    assert seen.kernels.shape == (4, 1, 12, 10)
    assert trace.look(task_of(OneLayer()), x).first == "conv  Conv2d"
    seen = trace.look(task_of(filters), x)
    assert (seen.first, seen.kernels) == ("linear  Linear", None)  # its weights are for the images of the bank
    assert [layer.name for layer in seen.layers] == ["bank"]


@pytest.mark.parametrize(
    ("sizes", "num", "chosen"),
    [
        ([8, 8, 4, 4, 2], 3, [1, 3, 4]),
        ([8, 8, 4, 4, 2], 2, [1, 4]),
        ([8, 8, 4, 4, 2], 1, [4]),
        ([8, 8, 4, 4, 2], 9, [0, 1, 2, 3, 4]),
        ([8] * 9, 3, [0, 4, 8]),
        ([8] * 5 + [4], 3, [0, 4, 5]),
    ],
)
def test_depths(sizes: list[int], num: int, chosen: list[int]) -> None:
    places = trace.Places(torch.Size((8, 8))).of(8, 8)
    layers = [trace.Layer(str(i), "", torch.rand(1, 2, n, n), False, places) for i, n in enumerate(sizes)]
    assert [int(layer.name) for layer in trace.at_depths(layers, num)] == chosen


def small_classifiers() -> list[str]:
    """All image models that are small enough to test."""
    spec = ImageSpec(3, 32, 32, Classes(("a", "b"), (1, 1)))
    results = []
    for name in build.fitting_models(spec):
        cfg = config.compose([f"model={name}"])
        supervised = issubclass(signatures.locate(cfg.task._target_, "task"), Supervised)
        if not supervised or OmegaConf.missing_keys(cfg.net):
            continue
        with torch.device("meta"):
            if build.num_parameters(build.build_task(RunConfig.from_hydra(cfg), spec).net) < 12_000_000:
                results.append(name)
    return results


def test_every_small_classifier() -> None:
    spec = ImageSpec(3, 32, 32, Classes(("a", "b"), (1, 1)))
    x, with_evidence = torch.rand(2, 3, 32, 32), set()
    for name in small_classifiers():
        torch.manual_seed(0)
        task = build.build_task(RunConfig.from_hydra(config.compose([f"model={name}"])), spec).eval()
        if not trace.look(task, x).layers:
            continue
        heat = trace.grad_cam(task, x, torch.tensor([[0, 1], [1, 0]]))
        assert heat.maps.shape == (2, 2, 32, 32), name
        assert heat.maps.isfinite().all(), name
        if heat.maps.any():  # what speaks for a class may speak nowhere for it, in an untrained net
            with_evidence.add(name)
    assert {"lenet", "cnn_pool", "fast_cnn", "filters"} <= with_evidence


@pytest.mark.parametrize("name", ["convnext_tiny", "swin_t", "googlenet", "densenet121"])
def test_nets_of_torchvision(name: str) -> None:
    models = importlib.import_module("torchvision.models")
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    net = getattr(models, name)(weights=None, num_classes=3, **options).requires_grad_(False)
    x = torch.rand(1, 3, 64, 64)
    task = task_of(net, ImageSpec(3, 64, 64, Classes(("a", "b", "c"))))
    layers = trace.look(task, x).layers
    assert all(layer.maps.shape[2] == layer.maps.shape[3] for layer in layers)
    heat = trace.grad_cam(task, x, torch.tensor([[0, 1]]))
    assert heat.layer.maps.shape[2:] == (2, 2)
