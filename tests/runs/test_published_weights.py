"""Published weights see images as the library prepares them: in predictions, training, evaluation and exports."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from PIL import Image, ImageOps
from small_runs import Terminal, changed
from torch import Tensor

from dlzoo.checkpoint.data_changes import different_fields
from dlzoo.checkpoint.load import load_task
from dlzoo.commands import export, predict
from dlzoo.config.compose import compose
from dlzoo.config.instantiate import build_run_data
from dlzoo.config.run_config import RunConfig
from dlzoo.data.images.folder import ImageFolder
from dlzoo.errors import UserError
from dlzoo.inference import datasets
from dlzoo.nets.timm_net import TimmNet
from dlzoo.nets.torchvision_net import TorchvisionNet
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.resize import Resize
from dlzoo.training.run import run as train

timm = importlib.import_module("timm")
models = importlib.import_module("torchvision.models")
v2 = importlib.import_module("torchvision.transforms.v2")

LITE, SMALL = "tf_efficientnet_lite0", "mobilenetv3_small_050"
CLASSES = ("cat", "dog")


def library_transform(name: str) -> Any:
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    return timm.data.create_transform(**config, is_training=False)


def library_inputs(paths: list[Path], name: str) -> Tensor:
    transform = library_transform(name)
    return torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])


@pytest.mark.realdata
def test_imagenet_s_classes_with_the_library_s_probabilities(real_data_dir: Path, terminal: Terminal) -> None:
    """Of the 65 pictures the library names 60 as their files are named."""
    weights, folder = real_data_dir / "weights" / f"{LITE}.safetensors", real_data_dir / "imagenet_pictures"
    if not weights.is_file() or not folder.is_dir():  # real data need not include these; where they are, this runs
        pytest.skip(f"no {weights.name} in {real_data_dir}")
    paths = sorted(folder.glob("*.JPEG"))
    words = ("model=timm", f"net.name={LITE}", f"net.weights={weights}", f"input={folder}", "format=json")
    answer = terminal(predict.main, *words, "top_k=1000")
    assert answer.code == 0, answer.err
    told = [{p["class"]: p["probability"] for p in record["predictions"]} for record in json.loads(answer.out)]
    library = timm.create_model(LITE).eval()
    library.load_state_dict(importlib.import_module("safetensors.torch").load_file(weights))
    with torch.no_grad():
        expected = library(library_inputs(paths, LITE)).softmax(1)
    names = models.ResNet18_Weights.DEFAULT.meta["categories"]
    ours = torch.tensor([[record.get(name, 0.0) for name in names] for record in told])
    unique = [k for k, name in enumerate(names) if names.count(name) == 1]  # crane and maillot are two classes each
    assert (ours - expected)[:, unique].abs().max() < 1e-3
    info = timm.data.ImageNetInfo()
    ids = [info.index_to_label_name(k) for k in expected.argmax(1).tolist()]
    assert sum(path.name.startswith(name) for name, path in zip(ids, paths, strict=True)) == 60
    assert [names[k] for k in expected.argmax(1).tolist()] == [next(iter(record)) for record in told]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs that are not square, in two classes of ten; noise, in which each pixel of a crop counts."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for k, name in enumerate(CLASSES):
        (folder / name).mkdir()
        for i in range(10):
            coarse = rng.integers(0, 200, (30 + 3 * i, 60 - 2 * i, 3), np.uint8) + np.uint8(50 * k)
            Image.fromarray(coarse).resize((620 - 20 * i, 410), Image.Resampling.NEAREST).save(
                folder / name / f"{i}.jpg"
            )
    return folder


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A checkpoint of a new head on a library's net, and the library's net."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    library = timm.create_model(SMALL)
    for module in library.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():  # statistics with which outputs differ from picture to picture
        library(library_inputs(sorted(photos.rglob("*.jpg")), SMALL))
    library.eval()
    torch.save(library.state_dict(), folder / "weights.pth")
    words = ["callbacks=checkpoint", "logger=none", "trainer=cpu", "trainer.max_epochs=1", "optimizer.lr=0.01"]
    words += ["model=timm", f"net.name={SMALL}", f"net.weights={folder / 'weights.pth'}", "transfer=features"]
    words += ["data=image_folder", f"data.path={photos}"]
    train(compose(words), folder / "run", words)
    return folder / "run" / "checkpoints" / "last.ckpt", library


def expected_probabilities(ckpt: Path, library: Any, paths: list[Path]) -> Tensor:
    """The library's features of the library's inputs, through the trained head."""
    head = load_task(ckpt)[0].net.head
    library.reset_classifier(0)
    with torch.no_grad():
        return head(library(library_inputs(paths, SMALL))).softmax(1)


def test_a_trained_head_predicts_as_on_the_library_s_inputs(
    trained: tuple[Path, Any], photos: Path, terminal: Terminal
) -> None:
    ckpt, library = trained
    answer = terminal(predict.main, f"ckpt={ckpt}", f"input={photos}", "format=json")
    told = [{p["class"]: p["probability"] for p in record["predictions"]} for record in json.loads(answer.out)]
    expected = expected_probabilities(ckpt, library, sorted(photos.rglob("*.jpg")))
    assert expected.std(0).min() > 0.01, "pictures must differ for the test to say anything"
    assert [record["cat"] for record in told] == pytest.approx(expected[:, 0].tolist(), abs=1e-3)


def test_training_and_evaluation_see_the_library_s_inputs(trained: tuple[Path, Any], photos: Path) -> None:
    task, cfg = load_task(trained[0])
    again = datasets.build_data(datasets.composed(cfg, None, []), task.spec)
    assert isinstance(again, ImageFolder)
    paths = sorted(photos.rglob("*.jpg"))
    for split in ("train", "val", "test"):
        rows = again.arrays(split)  # type: ignore[arg-type]
        found = task.net.preprocess(rows.x / 255)
        library = library_inputs(paths, SMALL)
        nearest = (found[:, None] - library).flatten(2).abs().amax(2).min(1)
        assert nearest.values.max() < 1e-5
        assert [CLASSES[y] for y in rows.y.tolist()] == [paths[i].parent.name for i in nearest.indices.tolist()]


def test_other_images_are_prepared_as_the_checkpoint_s_were(trained: tuple[Path, Any], photos: Path) -> None:
    task, cfg = load_task(trained[0])
    other = datasets.build_data(datasets.composed(cfg, "image_folder", [f"data.path={photos}"]), task.spec)
    declared, stored = other.declare(), task.spec.images
    assert isinstance(declared, ImageSpec)
    assert stored is not None
    assert (declared.shape, declared.resize) == (stored.shape, stored.resize)
    assert stored.resize == Resize("crop", "bicubic", (256, 256))


def test_a_resumed_run_keeps_its_preprocessing(trained: tuple[Path, Any], photos: Path) -> None:
    """Whether its version recorded it, or did not do so yet."""
    words = ["model=timm", f"net.name={SMALL}", f"net.weights={trained[0]}", "data=image_folder", f"data.path={photos}"]
    stored = load_task(trained[0])[0].spec.images
    assert stored is not None
    for spec in (stored, replace(stored, height=48, width=48, resize=None, bits=None)):
        data = build_run_data(RunConfig.from_hydra(compose(words)), spec)
        data.setup("fit")
        assert different_fields(spec, data.spec) == []


def test_data_without_files_record_the_interpolation(trained: tuple[Path, Any]) -> None:
    weights = trained[0].parents[2] / "weights.pth"
    words = ["model=timm", f"net.name={SMALL}", f"net.weights={weights}", "data=digits"]
    data = build_run_data(RunConfig.from_hydra(compose(words)))
    data.setup("fit")
    assert data.spec.images is not None
    assert (data.spec.shape, data.spec.images.resize) == ((1, 8, 8), Resize(interpolation="bicubic"))
    plain = build_run_data(RunConfig.from_hydra(compose(["model=lenet", "data=digits"])))
    plain.setup("fit")
    assert plain.spec.images is not None
    assert plain.spec.images.resize is None


def test_weights_of_a_checkpoint_come_with_its_preprocessing(trained: tuple[Path, Any]) -> None:
    found = TimmNet.pretrained_preprocessing({"name": SMALL, "weights": str(trained[0])})
    assert found is not None
    assert (found.size, found.resize) == ((224, 224), Resize("crop", "bicubic", (256, 256)))


@pytest.mark.slow
def test_an_exported_model_says_how_its_input_is_made(
    trained: tuple[Path, Any], photos: Path, terminal: Terminal, tmp_path: Path
) -> None:
    """Its metadata alone give the library's probabilities."""
    ckpt, library = trained
    answer = terminal(export.main, f"ckpt={ckpt}", f"output={tmp_path / 'm.onnx'}")
    assert answer.code == 0, answer.err
    assert "resized (bicubic, antialiased) to cover 256x256, centre cropped to 224x224" in answer.out
    session = ort.InferenceSession(tmp_path / "m.onnx")
    told = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    made, (port,) = told["preprocessing"], told["inputs"]
    prepare = v2.Compose(
        [
            v2.Resize(made["resize_size"][0], interpolation=v2.InterpolationMode(made["interpolation"])),
            v2.CenterCrop(port["shape"][2:]),
            v2.PILToTensor(),
        ]
    )
    paths = sorted(photos.rglob("*.jpg"))
    x = torch.stack([prepare(Image.open(path)) for path in paths])
    (p, *_) = session.run(None, {port["name"]: x.numpy()})
    np.testing.assert_allclose(p, expected_probabilities(ckpt, library, paths), atol=1e-3)


def test_options_of_the_data_come_first(photos: Path, tmp_path: Path) -> None:
    data = ImageFolder(path=photos, size=[96, 128], fit="squash")
    data.preprocessing = TimmNet.pretrained_preprocessing({"name": SMALL, "weights": "imagenet"})
    spec = data.declare()
    assert spec.shape == (3, 96, 128)
    assert spec.resize is not None
    assert (spec.resize.fit, spec.resize.interpolation, spec.resize.resize_size) == ("squash", "bicubic", None)
    data = ImageFolder(path=photos, size=112)
    data.preprocessing = TimmNet.pretrained_preprocessing({"name": SMALL, "weights": "imagenet"})
    assert data.decode.resize.resize_size == (128, 128), "the same part of each picture"


def test_an_earlier_checkpoint_keeps_its_preprocessing(
    trained: tuple[Path, Any], photos: Path, terminal: Terminal, tmp_path: Path
) -> None:
    """Without a record the files are cropped and resized as before, by a bilinear filter, and so is the net's input."""

    def earlier(content: dict[str, Any]) -> None:
        content["dlzoo"]["spec"] |= {"height": 64, "width": 64}
        del content["dlzoo"]["spec"]["resize"]

    ckpt = changed(trained[0], tmp_path / "earlier.ckpt", earlier)
    task, cfg = load_task(ckpt)
    net: Any = task.net
    assert (net.size, net.interpolation) == ((224, 224), "bilinear")
    data = datasets.build_data(datasets.composed(cfg, None, []), task.spec)
    assert isinstance(data, ImageFolder)
    assert data.declare().shape == (3, 64, 64)
    assert data.declare().resize is None
    path = photos / "cat" / "0.jpg"
    before = np.asarray(ImageOps.fit(Image.open(path), (64, 64), Image.Resampling.BILINEAR))
    assert np.abs(data.decode(str(path)).transpose(1, 2, 0).astype(int) - before).mean() < 2
    answer = terminal(predict.main, f"ckpt={ckpt}", f"input={path}", "format=json")
    (told,) = json.loads(answer.out)
    with torch.no_grad():
        expected = task(torch.from_numpy(data.decode(str(path)).copy())[None] / 255).softmax(1)[0]
    assert {p["class"]: p["probability"] for p in told["predictions"]}["cat"] == pytest.approx(
        expected[0].item(), abs=1e-6
    )


NAMES = ["vgg16", "resnet18", "resnet50", "googlenet", "inception_v3", "efficientnet_b0", "efficientnet_v2_s"]


@pytest.mark.parametrize("name", [*NAMES, "convnext_tiny", "mobilenet_v3_large", "densenet121"])
def test_torchvision_s_transforms_are_the_source(name: str) -> None:
    transform = models.get_model_weights(name).DEFAULT.transforms()
    found = TorchvisionNet.pretrained_preprocessing({"name": name, "weights": "imagenet"})
    assert found is not None
    assert found.resize is not None
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (411, 620, 3), np.uint8))
    cover = found.resize.cover(*image.size)
    expected = transform(image)
    assert expected.shape[1:] == found.size
    assert cover[1] == transform.resize_size[0]
    assert found.resize.interpolation == transform.interpolation.value
    if name in ("googlenet", "inception_v3"):  # what torchvision's transform_input makes of ImageNet's standardisation
        assert (found.mean, found.std) == ((0.5,) * 3, (0.5,) * 3)
    else:
        assert (found.mean, found.std) == (tuple(transform.mean), tuple(transform.std))


def test_every_published_net_of_timm_has_a_preprocessing_or_says_why() -> None:
    refused = []
    for name in timm.list_pretrained("*vit*") + timm.list_pretrained("resnet*"):
        try:
            found = TimmNet.pretrained_preprocessing({"name": name, "weights": "imagenet"})
        except UserError as error:
            refused.append(str(error))
            continue
        assert found is not None
        assert found.resize is not None
        crop = [size / ratio for size, ratio in zip(found.size, found.resize.resize_size or (), strict=True)]
        assert all(0 < share <= 1 for share in crop)
    assert refused
    assert all("crop_mode=border" in message for message in refused)
