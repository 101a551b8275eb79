"""Backbones: they equal their libraries' nets, accept any image, and freeze correctly."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from net_specs import TEN
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor, nn

from dlzoo.config import introspection as signatures
from dlzoo.config.yaml_files import CONFIG_DIR
from dlzoo.errors import SpecError, UserError
from dlzoo.layers.basic import num_parameters
from dlzoo.nets.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone
from dlzoo.nets.timm_net import TimmNet
from dlzoo.nets.torchvision_net import TorchvisionNet
from dlzoo.specs.batch import tensors
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.resize import Resize
from dlzoo.specs.targets import Classes

models = importlib.import_module("torchvision.models")

GREY, COLOUR = ImageSpec(1, 32, 32, TEN), ImageSpec(3, 32, 32, TEN)
PHOTO = ImageSpec(3, 224, 224, Classes(tuple(f"c{i}" for i in range(1000))))
SIZES = {"inception_v3": 299, "inception_resnet_v2": 96, "nasnet": 96, "xception": 64}
"""Minimum image sizes of nets that need more than 32 pixels."""
SLOW = {
    "vgg16",
    "resnet34",
    "resnet101",
    "inception_resnet_v2",
    "nasnet",
    "vgg19",
    "efficientnet_v2_s",
    "convnext_tiny",
}


def library_nets() -> Iterator[tuple[str, type[Backbone], str]]:
    """(model, class, name) of every config whose net is a backbone."""
    for file in sorted((CONFIG_DIR / "model").glob("*.yaml")):
        net: Any = OmegaConf.load(file).net  # type: ignore[union-attr]
        cls = signatures.locate(net._target_, "net._target_")
        if issubclass(cls, Backbone) and not OmegaConf.is_missing(net, "name"):
            yield file.stem, cls, net.name


NETS = list(library_nets())
every_net = pytest.mark.parametrize(
    ("cls", "name", "size"),
    [
        pytest.param(cls, name, SIZES.get(model, 32), id=model, marks=[pytest.mark.slow] if model in SLOW else [])
        for model, cls, name in NETS
    ],
)


def small_resnet(spec: ImageSpec = COLOUR, **options: Any) -> TorchvisionNet:
    torch.manual_seed(0)
    return TorchvisionNet(spec, name="resnet20", **options)


def test_expected_names_are_available() -> None:
    known = {"vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "resnet101", "googlenet", "inception_v3", "xception"}
    known |= {"inception_resnet_v2", "densenet121", "mobilenet_v3", "efficientnet_b0", "efficientnet_v2_s"}
    assert known | {"convnext_tiny", "nasnet"} <= {model for model, _, _ in NETS}


@pytest.mark.parametrize(
    ("name", "count"), [("vgg16", 138_357_544), ("resnet50", 25_557_032), ("resnet18", 11_689_512), ("googlenet", None)]
)
def test_parameter_counts(name: Any, count: int | None) -> None:
    with torch.device("meta"):
        count = count or num_parameters(models.get_model(name, init_weights=False))
        assert num_parameters(TorchvisionNet(PHOTO, name=name)) == count


def test_inception_has_its_library_s_parameters() -> None:
    with torch.device("meta"):
        library = num_parameters(models.inception_v3(init_weights=False))
        assert num_parameters(TorchvisionNet(PHOTO, name="inception_v3")) == library == 27_161_264


def test_resnet20_is_the_paper_s() -> None:
    """6n + 2 layers with weights, projections aside, and 0.27 million parameters (table 6)."""
    net = small_resnet()
    layers = [m for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "downsample" not in name]
    assert len(layers) == 20
    assert round(num_parameters(net) / 1e6, 2) == 0.27


@every_net
def test_a_net_learns_saves_and_loads(cls: type[Backbone], name: str, size: int) -> None:
    torch.manual_seed(0)
    net: Backbone = cls(GREY, name=name, size=size)  # type: ignore[call-arg]
    x, y = GREY.example(2)
    outputs = net.train()(x)
    names = tuple(outputs) if isinstance(outputs, dict) else ("",)
    assert names == ("", *net.training_outputs)
    assert len(net.training_outputs) == len(net.auxiliary)
    outputs = tensors(outputs)
    assert {out.shape for out in outputs} == {(2, 10)}
    torch.stack([F.cross_entropy(out, y) for out in outputs]).sum().backward()
    assert not [n for n, p in net.named_parameters() if p.grad is None]
    before = net.eval()(x)
    assert before.shape == (2, 10)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other: Backbone = cls(GREY, name=name, size=size)  # type: ignore[call-arg]
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.eval()(x), before)
    assert torch.equal(other(net.features(x)), before)  # features and head are the whole
    own = {p for stage in net.stages for module in stage for p in module.parameters()}
    outside = [n for n, p in net.named_parameters() if p not in own]
    assert all(n.startswith(("head.", *(f"body.{a}." for a in net.auxiliary))) for n in outside)


def test_any_net_of_timm() -> None:
    net = TimmNet(COLOUR, name="test_resnet", size=32)
    assert net(COLOUR.example(2)[0]).shape == (2, 10)
    with pytest.raises(UserError, match="did you mean 'resnet18'"):
        TimmNet(COLOUR, name="resnt18")


def test_small_images_are_upsampled_to_the_minimum_size() -> None:
    net = TorchvisionNet(ImageSpec(1, 8, 40, Classes(("a", "b"))), name="vgg16").eval()
    assert net.size == (32, 40)  # VGG halves its maps five times
    assert net(torch.rand(2, 1, 8, 40)).shape == (2, 2)
    assert small_resnet(ImageSpec(1, 8, 8, Classes(("a", "b")))).size == (8, 8)


# Images


def test_grey_images_are_standardised_in_each_channel(tmp_path: Path) -> None:
    torch.save(small_resnet(GREY).state_dict(), tmp_path / "weights.pth")
    net = small_resnet(GREY, weights=str(tmp_path / "weights.pth"))
    x = torch.rand(2, 1, 32, 32)
    for channel in range(3):
        expected = (x[:, 0] - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        torch.testing.assert_close(net.preprocess(x)[:, channel], expected)


def test_without_weights_the_data_s_statistics_are_used() -> None:
    net = small_resnet(ImageSpec(1, 32, 32, TEN, mean=(0.25,), std=(0.5,)))
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(net.preprocess(x)[:, 2], (x[:, 0] - 0.25) / 0.5)
    assert torch.equal(small_resnet(GREY).preprocess(x)[:, 1], x[:, 0])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_images_of_another_size_are_resized_as_pillow_does(interpolation: Any) -> None:
    """With the interpolation that the spec states; bicubic overshoots are clipped as in 8-bit pixels."""
    net = small_resnet(ImageSpec(3, 20, 20, TEN, resize=Resize(interpolation=interpolation)), size=64)

    def both(*values: int) -> tuple[Tensor, Tensor]:
        pixels = np.random.default_rng(0).choice(np.array(values, np.uint8), (20, 20, 3))
        resized = Image.fromarray(pixels).resize((64, 64), Image.Resampling[interpolation.upper()])
        ours = net.preprocess(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)[0]
        return ours, torch.from_numpy(np.array(resized)).permute(2, 0, 1) / 255

    found, expected = both(60, 195)
    assert (found - expected).abs().max() < 2 / 255
    found, _ = both(0, 255)
    assert (found.min().item(), found.max().item()) == (0, 1)


@pytest.mark.parametrize(
    ("spec", "options", "stem", "size"),
    [
        (COLOUR, {}, "small", (32, 32)),
        (ImageSpec(3, 40, 64, TEN), {}, "small", (40, 64)),
        (ImageSpec(3, 65, 64, TEN), {}, "imagenet", (224, 224)),
        (COLOUR, {"weights": "imagenet"}, "imagenet", (224, 224)),
        (COLOUR, {"stem": "imagenet"}, "imagenet", (224, 224)),
        (COLOUR, {"size": 48}, "small", (48, 48)),
    ],
)
def test_stem_and_size_fit_the_images(spec: ImageSpec, options: Any, stem: str, size: tuple[int, int]) -> None:
    with torch.device("meta"):
        net = TorchvisionNet(spec, name="resnet18", **options)
    assert (net.stem, net.size) == (stem, size)
    assert net.preprocess(torch.rand(1, spec.channels, spec.height, spec.width, device="meta")).shape == (1, 3, *size)


@pytest.mark.parametrize("name", ["resnet18", "vgg16_bn", "densenet121"])
def test_the_small_stem_keeps_the_size(name: Any) -> None:
    """The first layer with weights answers with as many pixels as it sees."""
    net = TorchvisionNet(COLOUR, name=name)
    seen: list[tuple[int, ...]] = []
    first = next(m for m in net.body.modules() if isinstance(m, nn.Conv2d))
    first.register_forward_hook(lambda _m, _x, out: seen.append(tuple(out.shape[-2:])))
    net(COLOUR.example(2)[0])
    assert seen == [(32, 32)]


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (ImageSpec(2, 32, 32, TEN), {}, "grayscale or colour images"),
        (COLOUR, {"head": [0]}, r"net\.head=\[0\]"),
        (COLOUR, {"size": 0}, r"net\.size=0"),
        (COLOUR, {"dropout": 1.0}, r"net\.dropout=1\.0"),
        (COLOUR, {"name": "googlenet", "stem": "small"}, r"net\.stem=small"),
        (COLOUR, {"name": "inception_v3", "size": 96}, r"net\.size=96.*299"),
    ],
)
def test_wrong_options_are_reported_with_their_key(spec: ImageSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises((UserError, SpecError), match=message):
        TorchvisionNet(spec, **{"name": "resnet20", **options})


# Freezing and recomputing


def statistics(net: nn.Module) -> dict[str, Tensor]:
    return {name: b.clone() for name, b in net.named_buffers() if "running" in name or "batches" in name}


def test_frozen_stages_keep_weights_and_statistics() -> None:
    net = small_resnet()
    x, y = COLOUR.example(8)
    net.freeze(4)
    before = {**statistics(net), **{n: p.detach().clone() for n, p in net.named_parameters()}}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        net.train()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    after = {**statistics(net), **dict(net.named_parameters())}
    frozen = ("body.conv1", "body.bn1", "body.layer1")
    for name, value in before.items():
        if name in ("mean", "std"):
            continue
        assert torch.equal(after[name], value) == name.startswith(frozen), name
    net.freeze(0)
    assert all(m.training for m in net.modules())
    assert all(p.requires_grad for p in net.parameters())


def test_a_frozen_body_has_no_auxiliary_outputs() -> None:
    net = TorchvisionNet(COLOUR, name="googlenet", size=64)
    assert net.train()(COLOUR.example(2)[0]).keys() == {"", "auxiliary_2", "auxiliary_1"}
    net.freeze(len(net.stages))
    assert isinstance(net.train()(COLOUR.example(2)[0]), Tensor)


@pytest.mark.parametrize("name", ["resnet20", "densenet121"])
def test_activation_checkpointing_does_not_change_results(name: Any) -> None:
    """Outputs, gradients and BatchNorm's statistics; the latter would move twice without care."""
    results = []
    x, y = COLOUR.example(8)
    for checkpointing in (False, True):
        torch.manual_seed(0)
        net = TorchvisionNet(COLOUR, name=name, checkpointing=checkpointing).train()
        out = net(x)
        F.cross_entropy(out, y).backward()
        results.append((out, {n: p.grad for n, p in net.named_parameters()}, statistics(net)))
    (plain, grads, buffers), (again, other_grads, other_buffers) = results
    torch.testing.assert_close(again, plain)
    for name_, grad in grads.items():
        torch.testing.assert_close(other_grads[name_], grad)
    for name_, buffer in buffers.items():
        torch.testing.assert_close(other_buffers[name_], buffer)
    assert any(buffer.ndim for buffer in buffers.values())
