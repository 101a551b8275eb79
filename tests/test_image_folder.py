"""Folders of images: every kind of file, the same batches from memory and from workers, clear words for mistakes."""

from __future__ import annotations

import multiprocessing
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from dlzoo.data import image_folder, loaders
from dlzoo.data.decode import Decode, to_8_bits
from dlzoo.data.image_folder import ImageFolder
from dlzoo.errors import UserError

CLASSES = ("Blüte weiß", "red rose", "äpfel")
"""Sorted as Python sorts: capitals, small letters, others."""


def paint(path: Path, color: Any, mode: str = "RGB", size: tuple[int, int] = (12, 8), **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path, **options)
    return path


def make_folder(path: Path, num: int = 10, classes: tuple[str, ...] = CLASSES) -> Path:
    """Class k holds ``num`` images; image i is of colour (80 k, 10 i, 0), so each can be told from all others."""
    for k, name in enumerate(classes):
        for i in range(num):
            sub = "deep er" if i % 3 == 0 else ""
            paint(path / name / sub / f"bild {i}.png", (80 * k, 10 * i, 0))
    return path


def ids(x: Tensor) -> list[tuple[int, int]]:
    """Which images these are."""
    return [(int(r) // 80, int(g) // 10) for r, g in x[:, :2, 0, 0]]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "meine photos")


ways = pytest.mark.parametrize(
    "way",
    [{"placement": "host"}, {"placement": "workers", "num_workers": 0}, {"placement": "workers", "num_workers": 2}],
    ids=["memory", "inline", "workers"],
)


def test_the_spec_reads_folder_names_only(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was opened"))
    monkeypatch.setattr(ImageFolder, "_files", property(lambda self: pytest.fail("all files were listed")))
    spec = ImageFolder(path=photos, size=[6, 9], channels=1).declare()
    assert spec.shape == (1, 6, 9)
    assert spec.target.names == CLASSES
    assert spec.mean == ()


@ways
def test_each_image_is_in_one_split_and_has_its_class(photos: Path, way: dict[str, Any]) -> None:
    data = ImageFolder(path=str(photos), size=8, val_fraction=0.25, batch_size=5, seed=1, **way)
    data.setup()
    sizes = {}
    seen = []
    for split, loader in {
        "train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader(),
    }.items():  # fmt: skip
        batches = list(loader)
        x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
        assert (x.dtype, y.dtype, x.shape[1:]) == (torch.uint8, torch.int64, (3, 8, 8))
        assert [k for k, _ in ids(x)] == y.tolist()
        assert len(batches) == len(loader)
        sizes[split] = y.bincount().tolist()
        seen += ids(x)
    assert sizes == {"train": [6, 6, 6], "val": [2, 2, 2], "test": [2, 2, 2]}
    assert sorted(seen) == [(k, i) for k in range(3) for i in range(10)]


def epochs(data: ImageFolder, num: int = 2) -> Iterator[list[tuple[list[tuple[int, int]], list[int]]]]:
    loader = data.train_dataloader()
    for epoch in range(num):
        loader.set_epoch(epoch)
        yield [(ids(x), y.tolist()) for x, y in loader]


@pytest.mark.parametrize("rank", [(0, 1), (1, 2)])
def test_memory_and_workers_give_the_same_batches(
    photos: Path, rank: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaders, "ranks", lambda: rank)
    common: dict[str, Any] = {"path": photos, "size": 8, "batch_size": 4, "seed": 5, "standardize": True}
    memory = ImageFolder(placement="host", **common)
    workers = ImageFolder(placement="workers", num_workers=2, **common)
    first, second = list(epochs(memory)), list(epochs(workers))
    assert first == second
    assert first[0] != first[1]
    assert [ids(x) for x, _ in memory.val_dataloader()] == [ids(x) for x, _ in workers.val_dataloader()]
    assert memory.spec == workers.spec
    assert len(memory.spec.mean) == 3
    for split in ("train", "val", "test"):
        assert memory.arrays(split).x.equal(workers.arrays(split).x)


def test_both_ways_train_the_same_model(photos: Path) -> None:
    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 8), nn.Dropout(), nn.Linear(8, 3))

        def training_step(self, batch: tuple[Tensor, ...], _: int) -> Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        validation_step = training_step

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def weights(**way: Any) -> Tensor:
        net = Net()
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = pl.Trainer(accelerator="cpu", max_epochs=2, enable_model_summary=False, **quiet)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(net, ImageFolder(path=photos, size=4, batch_size=7, **way))
        assert multiprocessing.active_children() == []
        assert trainer.global_step == 2 * 4  # 30 images, less 6 for test, less 2 for validation: 22 in an epoch
        return torch.cat([p.flatten() for p in net.parameters()])

    assert weights(placement="host").equal(weights(placement="workers", num_workers=1))


@pytest.mark.parametrize(("num_bytes", "in_workers"), [(30 * 3 * 64, False), (30 * 3 * 64 - 1, True)])
def test_auto_takes_memory_while_the_images_fit(photos: Path, num_bytes: int, in_workers: bool) -> None:
    data = ImageFolder(path=photos, size=8, memory_mb=num_bytes / 2**20)
    assert data.in_workers is in_workers
    assert isinstance(data.train_dataloader(), loaders.WorkerLoader if in_workers else loaders.TensorLoader)
    assert not ImageFolder(path=photos, memory_mb=0, placement="device").in_workers
    assert ImageFolder(path=photos, placement="workers").in_workers


def test_workers_refuse_to_give_arrays_beyond_the_memory(photos: Path) -> None:
    data = ImageFolder(path=photos, size=8, memory_mb=0.001)
    assert data.arrays("val").num_rows == 2
    with pytest.raises(UserError, match=r"the train images .* raise data\.memory_mb"):
        data.arrays("train")


def test_statistics_of_a_large_set_come_from_some_training_images(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_folder, "NUM_FIT_IMAGES", 5)
    opened = []
    call = Decode.__call__
    monkeypatch.setattr(Decode, "__call__", lambda self, path: opened.append(path) or call(self, path))
    data = ImageFolder(path=photos, size=8, placement="workers", num_workers=0, standardize=True)
    data.setup("fit")
    assert len(set(opened)) == 5
    paths, rows = data._files
    assert set(opened) <= {paths[i] for i in data._arrays["train"].x.tolist()}
    green = np.mean([np.asarray(Image.open(path))[0, 0, 1] for path in opened]) / 255
    assert data.spec.mean[1] == pytest.approx(green)
    assert rows["test"].num_rows == 6


# ------------------------------------------------------------------------------------------------ decoding

RED, GREY = (255, 0, 0), (90, 90, 90)


def palette(color: tuple[int, int, int], transparent: bool) -> Image.Image:
    image = Image.new("P", (6, 6), 1)
    image.putpalette([0, 0, 0, *color])
    if transparent:
        image.info["transparency"] = 1
    return image


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("rgb.png", Image.new("RGB", (6, 6), RED), RED),
        ("grey.png", Image.new("L", (6, 6), 90), GREY),
        ("black and white.png", Image.new("1", (6, 6), 1), (255, 255, 255)),
        ("palette.png", palette(RED, False), RED),
        ("transparent palette.png", palette(RED, True), (255, 255, 255)),
        ("transparent palette.gif", palette(RED, True), (255, 255, 255)),
        ("opaque.png", Image.new("RGBA", (6, 6), (*RED, 255)), RED),
        ("transparent.png", Image.new("RGBA", (6, 6), (*RED, 0)), (255, 255, 255)),
        ("half transparent.png", Image.new("RGBA", (6, 6), (*RED, 128)), (255, 127, 127)),
        ("grey with alpha.png", Image.new("LA", (6, 6), (90, 255)), GREY),
        ("cmyk.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), RED),
        ("16 bits.png", Image.fromarray(np.full((6, 6), 90 * 257, np.uint16)), GREY),
        ("16 bits.tif", Image.fromarray(np.full((6, 6), 90 * 257 + 100, np.uint16)), GREY),
        ("brightest.pgm", Image.fromarray(np.full((6, 6), 65535, np.uint16)), (255, 255, 255)),
        ("color.bmp", Image.new("RGB", (6, 6), RED), RED),
        ("color.webp", Image.new("RGB", (6, 6), GREY), GREY),
    ],
)
def test_every_kind_of_image(name: str, image: Image.Image, expected: tuple[int, ...], tmp_path: Path) -> None:
    image.save(tmp_path / name)
    colored = Decode(3, 4, 5)(str(tmp_path / name))
    assert (colored.shape, colored.dtype) == ((3, 4, 5), np.uint8)
    assert np.abs(colored[:, 2, 2].astype(int) - expected).max() <= 2
    assert np.ptp(colored, axis=(1, 2)).max() <= 2
    grey = Decode(1, 4, 5)(str(tmp_path / name))
    assert grey.shape == (1, 4, 5)
    assert grey[0, 2, 2] == pytest.approx(np.dot(expected, (0.299, 0.587, 0.114)), abs=2)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [(np.full((2, 2), 0.5, np.float32), "floating"), (np.full((2, 2), 70000, np.int32), "16 bits")],
)
def test_numbers_of_unknown_range_are_refused(pixels: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        to_8_bits(Image.fromarray(pixels), "RGB")


def corners(path: Path, quality: dict[str, Any], orientation: int = 1) -> None:
    """Left half red, right half blue, its upper left sixth green; 48 x 24 pixels as stored."""
    pixels = np.zeros((24, 48, 3), np.uint8)
    pixels[:, :24, 0] = pixels[:, 24:, 2] = 255
    pixels[:8, :8] = (0, 255, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, **quality)


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_exif_orientation(extension: str, tmp_path: Path) -> None:
    """Orientation 6: the picture was taken with the camera turned; stored left is shown on top."""
    corners(tmp_path / f"a.{extension}", {"quality": 95}, orientation=6)
    upright = Decode(3, 48, 24)(str(tmp_path / f"a.{extension}")).astype(int)
    assert np.abs(upright[:, 4, 20] - (0, 255, 0)).max() < 40  # the green corner is at the upper right
    assert np.abs(upright[:, 12, 12] - (255, 0, 0)).max() < 40
    assert np.abs(upright[:, 40, 12] - (0, 0, 255)).max() < 40


def test_crop_and_squash(tmp_path: Path) -> None:
    corners(tmp_path / "a.png", {})
    crop = Decode(3, 12, 12, "crop")(str(tmp_path / "a.png")).astype(int)
    squash = Decode(3, 12, 12, "squash")(str(tmp_path / "a.png")).astype(int)
    assert crop[:, 1, 1].tolist() == [255, 0, 0]  # the middle 24 x 24: the green corner is cut off
    assert crop[:, 6, 10].tolist() == [0, 0, 255]
    assert squash[:, 0, 0].tolist() == [0, 255, 0]
    assert squash[:, 11, 2].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("height", "width"), [(20, 30), (80, 120), (200, 300)])
def test_a_large_jpeg_looks_as_if_resized_from_all_its_pixels(height: int, width: int, tmp_path: Path) -> None:
    cells = np.random.default_rng(0).integers(0, 256, (100, 150), np.uint8)
    image = Image.fromarray(cells).resize((600, 400), Image.Resampling.BICUBIC)
    image.save(tmp_path / "a.jpg", quality=95)
    fast = Decode(1, height, width)(str(tmp_path / "a.jpg"))[0].astype(int)
    exact = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(fast - exact).mean() < 2


# ------------------------------------------------------------------------------------------------ unreadable files


def spoil(photos: Path) -> list[str]:
    """Three files that are no images any more: text, empty, cut off. None in the test split: see the test."""
    whole = paint(photos / CLASSES[0] / "whole.jpg", RED, size=(64, 64)).read_bytes()
    (photos / CLASSES[0] / "whole.jpg").unlink()
    bad = {"text.png": b"no image", "empty.jpg": b"", "cut.jpg": whole[: len(whole) * 2 // 3]}
    for name, content in bad.items():
        (photos / CLASSES[0] / name).write_bytes(content)
    return list(bad)


def complaint(data: ImageFolder) -> str:
    """What a run over all images ends with. (A caught exception would keep the loaders and so their workers.)"""
    try:
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
            list(loader)
    except UserError as error:
        return str(error)
    return ""


@ways
def test_unreadable_files_are_refused(photos: Path, way: dict[str, Any]) -> None:
    names = spoil(photos)

    message = complaint(ImageFolder(path=photos, size=8, batch_size=3, **way))
    assert re.fullmatch(r"[^\n]* cannot be read as an image .*data\.on_error=skip", message)
    assert any(name in message for name in names)


@ways
def test_unreadable_files_are_left_out_and_counted(photos: Path, way: dict[str, Any]) -> None:
    names = spoil(photos)
    data = ImageFolder(path=photos, size=8, batch_size=8, on_error="skip", **way)
    with pytest.warns(UserWarning, match=r"cannot be read .* left out so far"):
        batches = [*data.train_dataloader(), *data.val_dataloader(), *data.test_dataloader()]
    assert all([k for k, _ in ids(x)] == y.tolist() for x, y in batches)
    seen = [one for x, _ in batches for one in ids(x)]
    assert sorted(seen) == [(k, i) for k in range(3) for i in range(10)]
    assert len(data.skipped) == 3
    assert all(any(name in problem for problem in data.skipped) for name in names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        list(data.train_dataloader())


@ways
def test_nothing_left_is_an_error_also_when_skipping(photos: Path, way: dict[str, Any]) -> None:
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no image")
    assert "nothing is left of these" in complaint(ImageFolder(path=photos, size=8, on_error="skip", **way))


# ------------------------------------------------------------------------------------------------ folders of splits


@ways
@pytest.mark.parametrize("val_name", ["val", "Validation", None])
@pytest.mark.parametrize("has_test", [False, True])
def test_folders_of_splits(val_name: str | None, has_test: bool, way: dict[str, Any], tmp_path: Path) -> None:
    make_folder(tmp_path / "train", num=10)
    if val_name:
        make_folder(tmp_path / val_name, num=2)
    if has_test:
        make_folder(tmp_path / "test", num=3)
    data = ImageFolder(path=tmp_path, size=8, val_size=6, **way)
    assert data.declare().target.names == CLASSES
    count = {split: data.arrays(split).y.bincount().tolist() for split in ("train", "val", "test")}
    num_train = 10 - 2 * (val_name is None) - 2 * (not has_test)
    assert count == {"train": [num_train] * 3, "val": [2] * 3, "test": [3 if has_test else 2] * 3}
    assert [k for k, _ in ids(data.arrays("val").x)] == data.arrays("val").y.tolist()
    if val_name:
        assert {i for _, i in ids(data.arrays("val").x)} == {0, 1}
        assert [k for x, _ in data.val_dataloader() for k, _ in ids(x)] == [0, 0, 1, 1, 2, 2]


def test_the_test_images_do_not_depend_on_the_seed_of_the_run(photos: Path) -> None:
    def held(split: Any, **options: Any) -> list[tuple[int, int]]:
        return ids(ImageFolder(path=photos, size=8, **options).arrays(split).x)

    assert held("test", seed=0) == held("test", seed=1) != held("test", test_seed=1)
    assert held("val", seed=0, val_size=9) != held("val", seed=1, val_size=9)
    assert len(held("test", test_fraction=0.5)) == 15


def test_the_order_of_the_disk_does_not_matter(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ImageFolder(path=photos)._files[0]
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: [(d, s, f[::-1]) for d, s, f in [*walk(*a, **k)][::-1]])
    assert ImageFolder(path=photos)._files[0] == before


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    make_folder(tmp_path, num=2, classes=("car", "plane", "train"))
    assert ImageFolder(path=tmp_path).declare().target.names == ("car", "plane", "train")


def test_hidden_and_other_files_do_not_count(photos: Path) -> None:
    make_folder(photos, num=1, classes=(".cache", "__MACOSX"))
    (photos / "readme.txt").write_text("")
    (photos / CLASSES[0] / "notes.txt").write_text("")
    paint(photos / CLASSES[0] / ".hidden.png", RED)
    paint(photos / CLASSES[0] / "LOUD.PNG", (0, 250, 0))
    data = ImageFolder(path=photos)
    assert data.declare().target.names == CLASSES
    assert len(data._files[0]) == 31


def test_a_folder_at_home(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(photos.parent))
    assert ImageFolder(path="~/meine photos").declare().target.names == CLASSES


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (None, "there is no such folder"),
        ([], "at least two; it has none"),
        (["a"], "at least two; it has only a"),
        (["a", "b/"], "b holds no image"),
        (["train/a"], "at least two; it has only a"),
        (["train"], "at least two; it has none"),
        (["train/a", "train/b", "val/a", "val/c"], "val has other classes than .*train: b, c"),
        (["train/a", "train/b", "test/a"], "test has other classes than .*train: b"),
        (["train/a", "train/b", "test/a", "test/b/"], "b holds no image"),
        (["train/a", "train/b", "val/a", "val/b", "extra/a"], "holds the folders extra, train, val: give it train"),
        (["val/a", "val/b", "test/a", "test/b"], "holds the folders test, val: give it train"),
        (["train/a", "valid/a", "val/a"], "holds the folders train, val, valid: give it train"),
    ],
)
def test_folders_that_do_not_fit(folders: list[str] | None, message: str, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for name in folders or []:
        if name.endswith("/"):
            (root / name).mkdir(parents=True)
        else:
            paint(root / name / "a.png", RED)
    if folders == []:
        paint(root / "a.png", RED)
    with pytest.raises(UserError, match=message):
        ImageFolder(path=root).declare()


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this is a file"):
        ImageFolder(path=paint(tmp_path / "a.png", RED)).declare()


@pytest.mark.parametrize(
    "options",
    [
        *({"size": size} for size in (0, [8], [8, 8, 3], [8, -1])),
        *({"test_fraction": share} for share in (0.0, 1.0)),
        {"channels": 2},
        {"num_workers": -1},
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"data\.{next(iter(options))}="):
        ImageFolder(path=tmp_path, **options)
