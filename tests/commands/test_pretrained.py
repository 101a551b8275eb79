"""A library's net answers without training: its own outputs, ImageNet's names, mistakes in a sentence."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import Terminal

from dlzoo.commands import predict

models = importlib.import_module("torchvision.models")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph of 300x224 pixels, and weights with 1,000 classes and with 7."""
    folder = tmp_path_factory.mktemp("library")
    pixels = np.random.default_rng(0).integers(0, 256, (224, 300, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    torch.manual_seed(0)
    torch.save(models.resnet18(weights=None).state_dict(), folder / "thousand.pth")
    torch.save(models.resnet18(weights=None, num_classes=7).state_dict(), folder / "seven.pth")
    torch.save(models.resnet18(weights=None).conv1.state_dict(), folder / "part.pth")
    return folder


def test_the_five_likeliest_of_a_thousand(folder: Path, terminal: Terminal) -> None:
    words = ("model=resnet18", f"net.weights={folder / 'thousand.pth'}", f"input={folder / 'photo.png'}")
    answer = terminal(predict.main, *words, "format=json")
    assert answer.code == 0, answer.err
    (told,) = json.loads(answer.out)
    library = models.resnet18(weights=None).eval()
    library.load_state_dict(torch.load(folder / "thousand.pth", weights_only=True))
    enum = models.ResNet18_Weights.DEFAULT
    standardized = enum.transforms()(Image.open(folder / "photo.png"))[None]
    with torch.no_grad():
        share, label = library(standardized).softmax(1).topk(5)
    assert [guess["class"] for guess in told["predictions"]] == [enum.meta["categories"][k] for k in label[0].tolist()]
    assert [guess["probability"] for guess in told["predictions"]] == pytest.approx(share[0].tolist(), rel=1e-3)


def test_classes_that_nobody_named_have_numbers(folder: Path, terminal: Terminal) -> None:
    words = ("model=resnet18", f"net.weights={folder / 'seven.pth'}", f"input={folder / 'photo.png'}")
    answer = terminal(predict.main, *words, "top_k=7", "format=json")
    (told,) = json.loads(answer.out)
    assert {guess["class"] for guess in told["predictions"]} == {f"class {i}" for i in range(7)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=resnet18"], "needs trained weights to predict: give net.weights=imagenet"),
        (["model=mlp"], "model=mlp has no published weights: train it, then give ckpt="),
        (["model=resnt18"], "there is no such model; did you mean 'resnet18'?"),
        (["model=resnet18", "net.weight=none"], "did you mean 'weights'?"),
        (["model=resnet18", "ckpt=a.ckpt"], "give ckpt=<run>/checkpoints/best.ckpt, or model="),
        ([], "give ckpt=<run>/checkpoints/best.ckpt, or model="),
        (["ckpt=a.ckpt", "net.weights=imagenet"], "the net of a checkpoint cannot be changed"),
        (["model=resnet18", "net.weights=part.pth"], "net.weights=part.pth has no last layer: resnet18 calls it fc"),
    ],
)
def test_mistakes(
    words: list[str], message: str, folder: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert message in terminal.mistake(predict.main, *words, "input=photo.png")
