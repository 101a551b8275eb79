"""The classifier that measures made images: trained once by a fixed recipe, and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dlzoo.data.images.digits import Digits
from dlzoo.data.loaders import Arrays
from dlzoo.metrics import reference_classifier as ruler
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DLZOO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setitem(ruler.RECIPE, "least_steps", 100)
    return tmp_path / "cache"


def digits() -> Any:
    return Digits().load("train")


def test_the_reference_classifier_is_trained_once_and_reproducibly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DLZOO_CACHE_DIR", str(tmp_path / "new"))
    spec, rows, cpu = Digits().declare(), digits(), torch.device("cpu")
    state = torch.get_rng_state()
    first = ruler.load_reference_classifier(spec, rows, cpu)
    assert torch.equal(torch.get_rng_state(), state), "the run's random numbers were drawn"
    assert "training LeNet on the real images, once" in capsys.readouterr().err
    x = torch.rand(5, 1, 8, 8)
    again = ruler.load_reference_classifier(spec, rows, cpu)
    assert capsys.readouterr().err == ""
    assert all(torch.equal(a, b) for a, b in zip(first.read(x), again.read(x), strict=True))
    (file,) = (tmp_path / "new").iterdir()
    file.write_bytes(b"damaged")
    torch.manual_seed(99)
    retrained = ruler.load_reference_classifier(spec, rows, cpu)
    assert "is recreated" in capsys.readouterr().err
    torch.testing.assert_close(retrained.read(x)[1], first.read(x)[1])
    features, logits = first.read(x)
    assert (features.shape, logits.shape) == ((5, 84), (5, 10))
    torch.testing.assert_close(logits, first.net(x))
    test = Digits().arrays("test")
    assert float((first.read(test.x / 255)[1].argmax(1) == test.y).float().mean()) > 0.9


def test_the_cache_key_depends_on_images_labels_and_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = digits()
    other = rows._replace(x=rows.x.clone())
    other.x[0, 0, 0, 0] += 1
    prints = {ruler.fingerprint(r) for r in (rows, other, rows._replace(y=rows.y.flip(0)))}
    monkeypatch.setitem(ruler.RECIPE, "lr", 1.0)
    prints.add(ruler.fingerprint(rows))
    assert len(prints) == 4


def test_an_unwritable_cache_is_not_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DLZOO_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setitem(ruler.RECIPE, "least_steps", 1)
    monkeypatch.setitem(ruler.RECIPE, "epochs", 1)
    ruler.load_reference_classifier(Digits().declare(), digits(), torch.device("cpu"))
    assert "set DLZOO_CACHE_DIR to another folder" in capsys.readouterr().err


SMALL = ImageSpec(1, 8, 8, Classes(("a", "b")))
RECIPE = {"epochs": 2, "least_steps": 1, "batch_size": 4, "lr": 1e-2, "seed": 3}


def small_rows(num: int = 10) -> Arrays:
    x = torch.randint(256, (num, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Arrays(x, torch.arange(num) % 2)


def by_hand(rows: Arrays, epochs: int) -> ruler.ReferenceClassifier:
    """Adam with one cycle of the rate, from given weights and in a given order."""
    classifier = ruler.ReferenceClassifier(SMALL)
    torch.manual_seed(3)
    for module in classifier.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.reset_parameters()
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=3 * epochs)
    for _ in range(epochs):
        order = torch.randperm(10)
        for chosen in (order[:4], order[4:8], order[8:]):
            optimizer.zero_grad()
            F.cross_entropy(classifier(rows.x[chosen] / 255)[1], rows.y[chosen]).backward()
            optimizer.step()
            schedule.step()
    return classifier


@pytest.mark.parametrize(("least_steps", "epochs"), [(1, 2), (6, 2), (7, 3), (12, 4)])
def test_training_is_the_recipe(least_steps: int, epochs: int) -> None:
    """As many epochs as it says, and more where they would be fewer steps than it says."""
    rows = small_rows()
    trained = ruler.ReferenceClassifier(SMALL)
    with torch.no_grad():  # even where the run computes no gradients
        torch.manual_seed(8)
        state = torch.get_rng_state()
        ruler.train(trained, rows, RECIPE | {"least_steps": least_steps})
        assert torch.equal(torch.get_rng_state(), state), "the run's random numbers were drawn"
    torch.testing.assert_close(trained.state_dict(), by_hand(rows, epochs).state_dict(), atol=1e-4, rtol=1e-3)


def test_images_are_read_in_batches_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = ruler.ReferenceClassifier(SMALL).eval()
    x = torch.rand(10, 1, 8, 8)
    whole = classifier(x)
    monkeypatch.setattr(ruler, "BATCH_SIZE", 4)
    features, logits = classifier.read(x)
    torch.testing.assert_close(features, whole[0])
    torch.testing.assert_close(logits, whole[1])
    assert not logits.requires_grad


def test_what_is_kept_is_what_is_returned_and_it_does_not_learn(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruler, "train", lambda classifier, rows: torch.nn.init.zeros_(classifier.net.layers[-1].bias))
    rows = small_rows()
    made = ruler.load_reference_classifier(SMALL, rows, torch.device("cpu"))
    (file,) = cache.iterdir()
    assert file.name == f"lenet-{ruler.fingerprint(rows)}.pt"
    torch.testing.assert_close(torch.load(file, weights_only=True), made.state_dict(), rtol=0, atol=0)
    again = ruler.load_reference_classifier(SMALL, rows, torch.device("cpu"))
    torch.testing.assert_close(again.state_dict(), made.state_dict(), rtol=0, atol=0)
    for classifier in (made, again):
        assert not classifier.training
        assert not any(p.requires_grad for p in classifier.parameters())


def test_the_cache_key_tells_kinds_and_shapes_apart() -> None:
    """The same bytes, as another kind of number and in another shape."""
    rows = Arrays(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(4, dtype=torch.long))
    same = rows._replace(x=torch.zeros(4, 1, 2, 2, dtype=torch.uint8))
    others = [rows._replace(x=rows.x.to(torch.int8)), rows._replace(x=rows.x.view(4, 1, 1, 4))]
    assert ruler.fingerprint(rows) == ruler.fingerprint(same)
    assert ruler.fingerprint(rows) == ruler.fingerprint(rows._replace(x=rows.x.transpose(2, 3)))
    assert ruler.fingerprint(rows) not in {ruler.fingerprint(other) for other in others}
    assert len(ruler.fingerprint(rows)) == 16


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLZOO_CACHE_DIR", "~/kept")
    assert ruler.cache_folder() == Path.home() / "kept"
    monkeypatch.setenv("DLZOO_CACHE_DIR", "")
    assert ruler.cache_folder().name == "dlzoo"


def test_it_is_the_lenet_of_the_recipe() -> None:
    """Not LeNet's own default: tanh and means."""
    kinds = [type(layer) for layer in ruler.ReferenceClassifier(SMALL).net.layers]
    assert kinds.count(torch.nn.MaxPool2d) == 2
    assert torch.nn.ReLU in kinds
    assert torch.nn.Tanh not in kinds
