"""Weights of backbones: they give their library's outputs, and what does not match or is damaged is reported."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from local_server import serving
from net_specs import TEN
from safetensors.torch import save_file
from torch import Tensor

from dlzoo.errors import UserError
from dlzoo.nets.backbone import IMAGENET_MEAN, IMAGENET_STD
from dlzoo.nets.timm_net import TimmNet
from dlzoo.nets.torchvision_net import TorchvisionNet, imagenet_classes
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes

models = importlib.import_module("torchvision.models")
timm = importlib.import_module("timm")

COLOUR = ImageSpec(3, 32, 32, TEN)
PHOTO = ImageSpec(3, 224, 224, Classes(tuple(f"c{i}" for i in range(1000))))


def named(state: dict[str, Tensor], folder: Path) -> str:
    torch.save(state, folder / "weights.pth")
    return str(folder / "weights.pth")


def test_torchvision_s_weights_give_torchvision_s_outputs(tmp_path: Path) -> None:
    """On a photograph's size, with ImageNet's mean and standard deviation; the 1,000 classes are kept."""
    torch.manual_seed(0)
    library = models.resnet18(weights=None).eval()
    net = TorchvisionNet(PHOTO, name="resnet18", weights=named(library.state_dict(), tmp_path)).eval()
    (line,) = net.load_pretrained()
    assert "122 tensors loaded" in line
    assert "new" not in line
    x = torch.rand(2, 3, 224, 224)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(net(x), library((x - mean) / std))


def test_inception_inputs_are_scaled_to_plus_minus_one(tmp_path: Path) -> None:
    """torchvision turns ImageNet's standardisation into that, within its net; here the net standardises so at once."""
    library = models.googlenet(weights=None, init_weights=False, transform_input=True).eval()
    net = TorchvisionNet(PHOTO, name="googlenet", weights=named(library.state_dict(), tmp_path)).eval()
    net.load_pretrained()
    x = torch.rand(1, 3, 224, 224)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(net(x), library((x - mean) / std), rtol=1e-3, atol=1e-4)


def test_timm_s_weights_give_timm_s_outputs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    library = timm.create_model("test_resnet", pretrained=False).eval()
    save_file(library.state_dict(), tmp_path / "w.safetensors")
    net = TimmNet(PHOTO, name="test_resnet", weights=str(tmp_path / "w.safetensors")).eval()
    net.load_pretrained()
    x = torch.rand(2, 3, 160, 160)
    torch.testing.assert_close(net(x), library((x - net.mean) / net.std))


def test_other_classes_get_a_new_last_layer(tmp_path: Path) -> None:
    file = named(models.resnet18(weights=None).state_dict(), tmp_path)
    net = TorchvisionNet(COLOUR, name="resnet18", weights=file, stem="imagenet")
    fresh = net.head[-1].weight.clone()
    (line,) = net.load_pretrained()
    assert line.endswith("120 tensors loaded; the last layer is new")
    assert torch.equal(net.head[-1].weight, fresh)


def test_weights_that_do_not_match_are_reported_by_name(tmp_path: Path) -> None:
    state = models.resnet18(weights=None).state_dict()
    state["extra.weight"] = state.pop("layer1.0.conv1.weight")
    file = named(state, tmp_path)
    small = TorchvisionNet(COLOUR, name="resnet18", weights=file, stem="small")
    with pytest.raises(UserError) as error:
        small.load_pretrained()
    for part in (
        "1 missing (body.layer1.0.conv1.weight)",
        "1 unexpected (body.extra.weight)",
        "1 reshaped (body.conv1.weight [64, 3, 7, 7] for [64, 3, 3, 3])",
        "net.strict=false",
    ):
        assert part in str(error.value)
    small.strict = False
    before = small.body.conv1.weight.clone()
    report = small.load_pretrained()
    assert len(report) == 4
    assert torch.equal(small.body.conv1.weight, before)
    assert torch.equal(small.body.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


@pytest.mark.parametrize("content", [b"", b"not a file of weights", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_corrupted_file_is_reported(tmp_path: Path, content: bytes, ending: str) -> None:
    file = tmp_path / f"weights.{ending}"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"net.weights={file}.*damaged"):
        TorchvisionNet(COLOUR, name="resnet20", weights=str(file)).load_pretrained()


def test_untrusted_weights_run_no_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(UserError, match="neither safetensors nor a state dict of plain tensors"):
        TorchvisionNet(COLOUR, name="resnet20", weights=str(tmp_path / "trap.pth")).load_pretrained()
    assert not (tmp_path / "sprung").exists()


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"net\.weights=nowhere/w\.pth: there is no folder nowhere"):
        TorchvisionNet(COLOUR, name="resnet20", weights="nowhere/w.pth").load_pretrained()


def test_published_weights_are_verified_and_their_location_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is served under the name of the file is not that file: its checksum is in its name."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    enum = models.ResNet18_Weights.DEFAULT
    name = Path(enum.url).name
    net = TorchvisionNet(ImageSpec(3, 224, 224, Classes(imagenet_classes())), name="resnet18", weights="imagenet")
    with serving() as server:
        monkeypatch.setattr(enum.value, "url", server.url + name)
        server.files[name] = b"something else"
        with pytest.raises(UserError, match=r"could not be downloaded.*a wrong checksum"):
            net.load_pretrained()
    with pytest.raises(UserError) as error:  # the server is gone
        net.load_pretrained()
    folder = tmp_path / "home" / "hub" / "checkpoints"
    assert f"Put it into {folder} yourself (set by TORCH_HOME), or give net.weights=" in str(error.value)
    (folder / name).write_bytes(b"something else")
    with pytest.raises(UserError, match=r"is damaged.*Delete it"):
        net.load_pretrained()
    state = models.resnet18(weights=None).state_dict()
    torch.save(state, tmp_path / "home" / "hub" / "checkpoints" / name)  # as the message says
    net.load_pretrained()
    assert torch.equal(net.head[-1].weight, state["fc.weight"])


def test_imagenet_has_a_thousand_names() -> None:
    names = imagenet_classes()
    assert len(names) == 1000
    assert (names[0], names[-1]) == ("tench", "toilet tissue")
