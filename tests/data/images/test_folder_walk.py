"""What a walk over a user's folder meets: splits by other names, hidden folders, files of other kinds, archives."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photo_folders import CLASSES, RED, ids, make_folder, paint, ways
from PIL import Image

from dlzoo.data.folders.files import ZipMember
from dlzoo.data.folders.tree import ZipTree
from dlzoo.data.images.folder import ImageFolder
from dlzoo.errors import UserError

TWO = ("cat", "dog")


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Training", None, "Testing"),
        ("seg_train", None, "seg_test"),
        ("train_set", "val_set", "test_set"),
        ("training_set", None, "test_set"),
        ("train2017", "val2017", None),
        ("trainset", "devset", "testset"),
        ("Train Data", "Validation Data", "Test Data"),
        ("training", "validation", "evaluation"),
        ("seg_train/seg_train", None, "seg_test/seg_test"),
    ],
)
def test_splits_by_other_names(train: str, val: str | None, test: str | None, tmp_path: Path) -> None:
    make_folder(tmp_path / train, num=10, classes=TWO)
    for name, num in ((val, 2), (test, 3)):
        if name:
            make_folder(tmp_path / name, num=num, classes=TWO)
    data = ImageFolder(path=tmp_path, size=8)
    assert data.declare().target.names == TWO
    count = {split: data.arrays(split).num_rows for split in ("train", "val", "test")}
    expected = {"train": 20, "val": 4, "test": 6}
    if val is None:
        expected |= {"train": 18, "val": 2}
    if test is None:
        expected |= {"train": 16, "test": 4}
    assert count == expected


def test_images_without_classes_beside_splits_are_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("seg_train", "seg_test"):
        make_folder(tmp_path / name / name, num=4, classes=TWO)
    paint(tmp_path / "seg_pred" / "seg_pred" / "1.jpg", RED)
    data = ImageFolder(path=tmp_path, size=8)
    assert data.arrays("test").num_rows == 8
    assert f"warning: data.path={tmp_path}: skipped seg_pred in {tmp_path}" in capsys.readouterr().err
    assert data.declare().target.names == TWO


@pytest.mark.parametrize("folder", ["photos", "a/b/c"])
def test_a_folder_within_a_folder_is_looked_into(folder: str, tmp_path: Path) -> None:
    make_folder(tmp_path / folder, num=4, classes=TWO)
    data = ImageFolder(path=tmp_path, size=8)
    assert data.declare().target.names == TWO
    assert data.arrays("test").num_rows == 2


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            ["fold1/cat", "fold1/dog", "fold2/cat", "fold2/dog"],
            "the folders fold1, fold2 all contain the folders cat, dog",
        ),
        (
            ["cat/train", "cat/test", "dog/train", "dog/test"],
            "the folders cat, dog all contain the folders test, train",
        ),
        (["2019/cat", "2019/dog", "2020/cat", "2020/dog", "2020/cow"], "it is ambiguous which are the classes"),
        (["trainA", "trainB", "testA", "testB"], "are named like splits, not classes"),
        (["train", "test1"], "at least two folders, one per class; it has none"),
        (
            ["train1/a", "train1/b", "train2/a", "train2/b", "test/a", "test/b"],
            "contains the folders test, train1, train2",
        ),
    ],
)
def test_splits_are_never_taken_for_classes(folders: list[str], message: str, tmp_path: Path) -> None:
    for name in folders:
        for i in range(4):
            paint(tmp_path / name / f"{i}.png", RED)
    with pytest.raises(UserError, match=message):
        ImageFolder(path=tmp_path).declare()


@pytest.mark.parametrize(
    "names", [("test tube", "beaker"), ("Training wheels", "Bike"), ("value", "trainer"), ("dev", "ops")]
)
def test_names_that_only_begin_as_splits_are_classes(names: tuple[str, ...], tmp_path: Path) -> None:
    make_folder(tmp_path, num=2, classes=names)
    assert ImageFolder(path=tmp_path).declare().target.names == tuple(sorted(names))


def test_deeper_folders_of_a_class_may_be_alike_beside_images(tmp_path: Path) -> None:
    for name in TWO:
        paint(tmp_path / name / "0.png", RED)
        make_folder(tmp_path / name, num=2, classes=("front", "back"))
    assert len(ImageFolder(path=tmp_path)._files[0]) == 2 * 5


@pytest.mark.parametrize(
    "hidden", [".ipynb_checkpoints", "__MACOSX", ".git/more", "@eaDir", "$RECYCLE.BIN", "System Volume Information"]
)
def test_hidden_folders_are_no_data(hidden: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (photos, photos / CLASSES[0], photos / CLASSES[1] / "deep er"):
        paint(folder / hidden / "copy.png", RED)
    (photos / CLASSES[0] / "Thumbs.db").write_bytes(b"thumbnails")
    (photos / CLASSES[0] / ".DS_Store").write_bytes(b"layout")
    data = ImageFolder(path=photos)
    assert len(data._files[0]) == 30
    assert capsys.readouterr().err == ""
    assert data.declare().target.names == CLASSES


def test_files_of_other_kinds_are_counted_and_said(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.HEIC", "b.heic", "c.CR2", "without", "notes.txt"):
        (photos / CLASSES[0] / name).write_bytes(b"?")
    paint(photos / "stray.png", RED)
    assert len(ImageFolder(path=photos)._files[0]) == 30
    assert re.search(
        r"skipped 1 images in .*, outside .*; skipped files .*: 2 \.heic, 1 without extension, 1 \.cr2$",
        capsys.readouterr().err,
        re.MULTILINE,
    )


def test_a_class_of_other_kinds_alone_is_refused(photos: Path) -> None:
    shutil.rmtree(photos / CLASSES[0])
    (photos / CLASSES[0]).mkdir()
    (photos / CLASSES[0] / "a.HEIC").write_bytes(b"?")
    with pytest.raises(
        UserError, match=r"contains no image .*it contains 1 \.heic, which cannot be read: convert them"
    ):
        ImageFolder(path=photos).declare()


def test_classes_that_differ_in_case_alone_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(tmp_path, num=4, classes=("Cat", "cat"))
    assert len(ImageFolder(path=tmp_path)._files[0]) == 8
    assert re.search("differ only in case: Cat and cat", capsys.readouterr().err, re.MULTILINE)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_followed_but_not_around(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "linked").mkdir()
    for name in CLASSES:
        (tmp_path / "linked" / name).symlink_to(photos / name)
    (photos / CLASSES[0] / "up").symlink_to(photos / CLASSES[0])
    (photos / CLASSES[0] / "itself").symlink_to(photos / CLASSES[0] / "itself")
    assert len(ImageFolder(path=tmp_path / "linked")._files[0]) == 30
    assert re.search("1 without extension$", capsys.readouterr().err, re.MULTILINE)


@pytest.mark.parametrize("bits", [10, 12, 14])
@ways
def test_few_bits_in_16_are_not_black(bits: int, way: dict[str, Any], tmp_path: Path) -> None:
    most = 2**bits - 1
    for k, name in enumerate(TWO):
        (tmp_path / name).mkdir()
        for i in range(5):
            pixels = np.full((9, 9), most * (1 + k) // 4, np.uint16)
            pixels[:, :4] = most
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    data = ImageFolder(path=tmp_path, size=9, channels=1, **way)
    data.setup()
    assert data.spec.images is not None
    assert data.spec.images.bits == bits
    x, y, _ = data.arrays("test")
    assert x[:, 0, 0, 0].tolist() == [255] * len(x)
    assert (x[:, 0, 8, 8].long() - torch.tensor([63, 127])[y]).abs().max() <= 1
    # A checkpoint's data keep its bits, whatever the files at hand are, and an option comes first.
    other = ImageFolder(path=tmp_path, size=9, channels=1, **way)
    other.adopt(data.spec.with_statistics((), ()))
    assert other.decode.bits == bits
    assert ImageFolder(path=tmp_path, bits=16).arrays("test").x.max() == round(most * 255 / 65535)


def test_files_of_8_bits_are_not_looked_through(photos: Path) -> None:
    data = ImageFolder(path=photos, size=8)
    data.setup()
    assert data.spec.images is not None
    assert data.spec.images.bits == 16


def test_a_pixel_beyond_the_bits_is_refused(tmp_path: Path) -> None:
    for name in TWO:
        for i in range(4):
            paint(tmp_path / name / f"{i}.png", 5000, mode="I;16")
    with pytest.raises(UserError, match=r"brightest pixel is 5,000, which exceeds 12 bits: set data\.bits=16"):
        ImageFolder(path=tmp_path, bits=12).arrays("train")


def zipped(folder: Path, archive: Path, compression: int = zipfile.ZIP_DEFLATED, prefix: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", compression) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, prefix + path.relative_to(folder).as_posix())
    return archive


@ways
@pytest.mark.parametrize(("compression", "prefix"), [(zipfile.ZIP_DEFLATED, ""), (zipfile.ZIP_STORED, "photos/")])
def test_an_archive_gives_the_same_rows_as_its_folder(
    compression: int, prefix: str, way: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    paint(photos / "__MACOSX" / CLASSES[0] / "._0.png", RED)
    archive = zipped(photos, tmp_path / "photos.zip", compression, prefix)
    before = sorted(tmp_path.rglob("*"))
    ours, plain = (ImageFolder(path=path, size=8, seed=1, **way) for path in (archive, photos))
    assert ours.declare() == plain.declare()
    ours.setup()
    plain.setup()
    assert ours.spec == plain.spec
    for split in ("train", "val", "test"):
        assert ids(ours.arrays(split).x) == ids(plain.arrays(split).x)
    for one, other in zip(ours.fit_ids(), plain.fit_ids(), strict=True):
        assert (one == other).all()
    assert sorted(tmp_path.rglob("*")) == before, "nothing is extracted"


def test_an_archive_of_splits(tmp_path: Path) -> None:
    for name, num in (("Training", 5), ("Testing", 2)):
        make_folder(tmp_path / "data" / name, num=num, classes=TWO)
    data = ImageFolder(path=zipped(tmp_path / "data", tmp_path / "a.zip"), size=8)
    assert (data.declare().target.names, data.arrays("test").num_rows) == (TWO, 4)


def test_a_damaged_archive_is_named(photos: Path, tmp_path: Path) -> None:
    archive = zipped(photos, tmp_path / "photos.zip", zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    place = content.find(b"IDAT")
    content[place + 6] ^= 255
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"photos\.zip/.*\.png cannot be read as an image \(the archive is damaged"):
        ImageFolder(path=archive, size=8).setup()
    archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="this is a file; give a folder, or a zip archive"):
        ImageFolder(path=archive, size=8).declare()


def test_an_encrypted_archive_is_named(photos: Path, tmp_path: Path) -> None:
    archive = zipped(photos, tmp_path / "photos.zip", zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    place = content.find(b"PK\x01\x02")
    while place >= 0:
        content[place + 8] |= 1
        place = content.find(b"PK\x01\x02", place + 4)
    archive.write_bytes(content)
    with pytest.raises(UserError, match="is encrypted: extract the archive"):
        ImageFolder(path=archive).declare()


def test_a_member_is_not_decompressed_beyond_its_size(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("cat/a.png", bytes(10_000_000))
    (member,) = ZipTree(tmp_path / "a.zip").members
    short = ZipMember(member.archive, member.name, member.offset, member.compressed_size, 10, member.method, member.crc)
    with pytest.raises(ValueError, match="checksum differs"):
        short.read()
