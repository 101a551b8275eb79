"""Which folders are classes and splits, and clear words for those that are neither."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from photo_folders import CLASSES, RED, ids, make_folder, paint, ways

from dlzoo.data.images.folder import ImageFolder
from dlzoo.errors import UserError


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
        assert [k for x, _, _ in data.val_dataloader() for k, _ in ids(x)] == [0, 0, 1, 1, 2, 2]


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
        ([], "at least two folders, one per class; it has none"),
        (["a"], "at least two folders, one per class; it has only a"),
        (["a", "b/"], "b contains no image"),
        (["train/a"], "at least two folders, one per class; it has only a"),
        (["train"], "at least two folders, one per class; it has none"),
        (["train/a", "train/b", "val/a", "val/c"], "val has different classes from .*train: b, c"),
        (["train/a", "train/b", "test/a"], "test has different classes from .*train: b"),
        (["train/a", "train/b", "test/a", "test/b/"], "b contains no image"),
        (
            ["train/a", "train/b", "val/a", "val/b", "extra/a"],
            "contains the folders extra, train, val, but must contain train",
        ),
        (["val/a", "val/b", "test/a", "test/b"], "contains the folders test, val, but must contain train"),
        (["train/a", "valid/a", "val/a"], "contains the folders train, val, valid, but must contain train"),
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
