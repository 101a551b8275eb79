"""A folder of recordings meets the same readings and refusals as a folder of pictures."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from photo_folders import paint
from sound_stand_ins import tone, write

from dlzoo.data.audio.folder import AudioFolder
from dlzoo.data.folders.base import FolderData
from dlzoo.data.images.folder import ImageFolder
from dlzoo.errors import UserError
from dlzoo.specs import Unlabelled

kinds = pytest.mark.parametrize("kind", ["image", "recording"])


def put(kind: str, folder: Path, num: int = 1) -> None:
    """Different files of a kind."""
    for i in range(num):
        if kind == "image":
            paint(folder / f"{i}.png", (40 * i, 90, 0))
        else:
            write(folder / f"{i}.wav", tone(200 + 50 * i, 0.02))


def data_of(kind: str, path: Path, **options: Any) -> FolderData:
    return ImageFolder(path=path, size=8, **options) if kind == "image" else AudioFolder(path=path, seconds=0.02)


def sizes(data: FolderData) -> list[int]:
    return [data.arrays(split).num_rows for split in ("train", "val", "test")]  # type: ignore[arg-type]


@kinds
@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"), ("train", "valid", "test"), ("Training", "Validation", "Testing"),
        ("train_set", "dev_set", "test_set"), ("seg_train/seg_train", "seg_val", "seg_test/seg_test"),
    ],
)  # fmt: skip
def test_splits_by_their_usual_names(kind: str, train: str, val: str, test: str, tmp_path: Path) -> None:
    for split, num in {train: 4, val: 2, test: 3}.items():
        for name in ("cat", "dog"):
            put(kind, tmp_path / split / name, num)
    data = data_of(kind, tmp_path)
    assert data.target.names == ("cat", "dog")
    assert sizes(data) == [8, 4, 6]


@kinds
@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["a"], "at least two folders, one per class; it has only a"),
        (["train/a", "test/a"], "at least two folders, one per class; it has only a"),
        (["a", "b/"], r"b contains no (image|recording) \("),
        (["train/a", "train/b", "test/a", "noise"], "contains the folders noise, test, train, but must contain train"),
        (["train/a", "train/b", "val/a", "valid/a"], "contains the folders train, val, valid, but must contain train"),
        (["val/a", "val/b", "test/a", "test/b"], "contains the folders test, val, but must contain train"),
        (["train/a", "train/b", "val/a", "val/c"], "val has different classes from .*train: b, c"),
        (["1/cat", "1/dog", "2/cat", "2/dog"], "the folders 1, 2 all contain the folders cat, dog"),
        (["trainA", "trainB", "testA", "testB"], "are named like splits, not classes"),
    ],
)
def test_folders_that_do_not_fit(kind: str, folders: list[str], message: str, tmp_path: Path) -> None:
    for name in folders:
        put(kind, tmp_path / name, 0 if name.endswith("/") else 2)
        (tmp_path / name).mkdir(exist_ok=True, parents=True)
    with pytest.raises(UserError, match=message):
        data_of(kind, tmp_path).declare()


@kinds
@pytest.mark.parametrize("is_zipped", [False, True])
@pytest.mark.parametrize("inner", ["calls", "a/b/c"])
def test_a_folder_that_only_holds_another_is_entered(kind: str, inner: str, is_zipped: bool, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        put(kind, tmp_path / "all" / inner / name, 5)
    path = tmp_path / "all"
    if is_zipped:
        path = Path(shutil.make_archive(str(path), "zip", path))
    data = data_of(kind, path)
    assert data.target.names == ("cat", "dog")
    assert sizes(data) == [7, 1, 2]


@kinds
def test_files_that_are_not_read_are_a_warning(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("Cat", "cat"):
        put(kind, tmp_path / name, 5)
    put(kind, tmp_path, 2)
    (tmp_path / "cat" / "a.HEIC").write_bytes(b"?")
    (tmp_path / "cat" / "notes.txt").write_bytes(b"?")
    assert sum(sizes(data_of(kind, tmp_path))) == 10
    err = capsys.readouterr().err
    assert err.count("warning:") == 1
    for part in (
        rf"skipped 2 {kind}s in .*, outside the folders of the classes",
        "differ only in case: Cat and cat",
        rf"skipped files that cannot be read as {kind}s: 1 \.heic$",
    ):
        assert re.search(part, err, re.MULTILINE), part


@kinds
def test_files_beside_splits_and_folders_to_predict_are_a_warning(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            put(kind, tmp_path / split / name, 4)
    put(kind, tmp_path / "unlabeled", 3)
    put(kind, tmp_path, 1)
    assert sum(sizes(data_of(kind, tmp_path))) == 16
    err = capsys.readouterr().err
    assert "skipped unlabeled in" in err
    assert f"skipped 1 {kind}s in {tmp_path}, outside train, val and test" in err


@kinds
def test_a_row_is_known_by_its_file_in_whatever_split_and_container_it_is(kind: str, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        put(kind, tmp_path / "a" / name, 5)
        put(kind, tmp_path / "b" / "train" / name, 5)
        put(kind, tmp_path / "b" / "test" / name, 2)
    archive = Path(shutil.make_archive(str(tmp_path / "c"), "zip", tmp_path / "a"))
    plain, parted, zipped = (data_of(kind, path) for path in (tmp_path / "a", tmp_path / "b", archive))
    every = {*plain.ids_of(plain.load("train")).tolist(), *plain.test_ids().tolist()}
    assert len(every) == 10
    assert {*parted.test_ids().tolist()} < {*parted.ids_of(parted.load("train")).tolist()} == every
    assert zipped.test_ids().tolist() == plain.test_ids().tolist()


def test_recordings_without_classes(tmp_path: Path) -> None:
    put("recording", tmp_path / "plain", 10)
    put("recording", tmp_path / "parted" / "train", 6)
    put("recording", tmp_path / "parted" / "test", 3)
    archive = Path(shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path, "plain"))
    with zipfile.ZipFile(archive) as file:
        assert "plain/0.wav" in file.namelist(), "as archives of a folder are"
    for path, expected in {"plain": 10, "a.zip": 10, "parted": 9}.items():
        data = data_of("recording", tmp_path / path)
        assert isinstance(data.target, Unlabelled)
        assert sum(sizes(data)) == expected
    assert data.arrays("test").num_rows == 3
    shutil.rmtree(tmp_path / "parted")
    archive.unlink()
    with pytest.raises(UserError, match="to use recordings without classes, give the folder that holds them"):
        data_of("recording", tmp_path).declare()


def test_a_saved_data_set_is_not_one_of_recordings(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(UserError, match="a saved data set of Hugging Face, from which no recordings are read"):
        data_of("recording", tmp_path).declare()
