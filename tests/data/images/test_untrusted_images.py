"""Archives of images of a stranger: names of their members, and what they unpack to."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from photo_folders import RED, make_folder, paint, ways

from dlzoo.data.folders import files, tree
from dlzoo.data.folders.files import ZipMember
from dlzoo.data.folders.tree import ZipTree
from dlzoo.data.images.decode import Decode
from dlzoo.data.images.folder import ImageFolder
from dlzoo.errors import UserError

TITLE = "\x1b]0;owned\x07"
"""Sets the title of a terminal."""


@ways
@pytest.mark.parametrize("start", ["train//", "/", "//", "/train//", ""])
def test_slashes_without_a_folder_between_them(start: str, way: dict[str, Any], tmp_path: Path) -> None:
    make_folder(tmp_path / "photos", num=6)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in sorted((tmp_path / "photos").rglob("*.png")):
            member = zipfile.ZipInfo("x")
            name = path.relative_to(tmp_path / "photos").as_posix().replace("/", "//")
            member.filename = f"{start}{name}"  # `ZipInfo` may change what it is given
            archive.writestr(member, path.read_bytes())
    data = ImageFolder(path=tmp_path / "a.zip", size=8, **way)
    data.setup()
    assert sum(map(len, data.fit_ids())) == data.arrays("train").num_rows + data.arrays("val").num_rows


@ways
def test_names_of_classes_that_are_no_paths_as_written(way: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from saved_images import FEATURES, save_painted

    features = {**FEATURES, "label": {"_type": "ClassLabel", "names": ["a//b", "c/", "./d"]}}
    data = ImageFolder(path=save_painted(tmp_path / "set", features=features), size=8, **way)
    data.setup()
    assert len({*data.fit_ids()[0].tolist()}) == data.arrays("train").num_rows


def test_the_end_of_a_name_does_not_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(tmp_path, num=6)
    (next(tmp_path.iterdir()) / f"a.{TITLE}").touch()
    ImageFolder(path=tmp_path, size=8).setup()
    err = capsys.readouterr().err
    assert "skipped files" in err
    assert "\x1b" not in err


class Lock:
    """Stands for a lock, and says whether a thread is in its block."""

    is_held = False

    def __enter__(self) -> None:
        self.is_held = True

    def __exit__(self, *error: object) -> None:
        self.is_held = False


def test_large_members_are_unpacked_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread would hold as much as the limit of a member: a megabyte can unpack to a gigabyte."""
    paint(tmp_path / "a.png", RED)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
    (member,) = ZipTree(tmp_path / "a.zip").members
    lock, held = Lock(), []
    read = ZipMember.read

    def watched(self: ZipMember) -> bytes:
        held.append(lock.is_held)
        return read(self)

    monkeypatch.setattr(files, "_lock", lock)
    monkeypatch.setattr(ZipMember, "read", watched)
    for limit in (member.size - 1, member.size):
        monkeypatch.setattr(files, "LARGE_BYTES", limit)
        assert Decode(3, 4, 4)(member).shape == (3, 4, 4)
    assert held == [True, False], "small ones are unpacked by all threads at once"


def test_a_member_that_is_too_large_is_named_without_commands(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(f"cat/{'x' * 5000}.png", b"")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match="is encrypted") as refused:
        _ = ZipTree(tmp_path / "a.zip").members
    assert len(str(refused.value)) < 1000


Record = Callable[[bytearray, int], None]


def archive_with(path: Path, change: Record) -> Path:
    """An archive of two files of 4,000 bytes, whose directory's entries are changed, given where each begins."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a/1.png", "b/2.png"):
            archive.writestr(name, name.encode() * 572)
    content = bytearray(path.read_bytes())
    for i in range(content.index(b"PK\1\2"), len(content)):
        if content[i : i + 4] == b"PK\1\2":
            change(content, i)
    path.write_bytes(content)
    return path


def put(offset: int, value: bytes) -> Record:
    def change(content: bytearray, entry: int) -> None:
        content[entry + offset : entry + offset + len(value)] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(42, bytes(4)), r"is damaged: b/2\.png overlaps another file"),
        (put(20, (2**31).to_bytes(4, "little")), r"is damaged: a/1\.png is beyond its end"),
        (put(20, (60).to_bytes(4, "little")), r"is damaged: b/2\.png overlaps another file"),
    ],
)
def test_files_in_an_archive_that_lie_in_each_other(change: Record, message: str, tmp_path: Path) -> None:
    """65,000 files of a gigabyte each can stand in the directory of a small archive, if they are the same bytes."""
    with pytest.raises(UserError, match=message):
        _ = ZipTree(archive_with(tmp_path / "a.zip", change)).members


def test_the_size_of_a_file_in_an_archive_that_no_file_has(tmp_path: Path) -> None:
    def change(content: bytearray, entry: int) -> None:
        if content[entry + 46 : entry + 53] == b"b/2.png":
            return
        sizes = struct.pack("<HHQQ", 1, 16, 4004, 2**64 - 1)  # in the extra field of zip64
        content[entry + 20 : entry + 28] = b"\xff" * 8
        content[entry + 30 : entry + 32] = len(sizes).to_bytes(2, "little")
        content[entry + 53 : entry + 53] = sizes
        end = content.rindex(b"PK\5\6")
        size = int.from_bytes(content[end + 12 : end + 16], "little") + len(sizes)
        content[end + 12 : end + 16] = size.to_bytes(4, "little")

    with pytest.raises(UserError, match=r"is damaged: a/1\.png is beyond its end"):
        _ = ZipTree(archive_with(tmp_path / "a.zip", change)).members


def test_a_file_in_an_archive_without_a_name(tmp_path: Path) -> None:
    path = archive_with(tmp_path / "a.zip", put(46, b"\0/1.png"))  # what follows a null character is no name
    assert [member.name for member in ZipTree(path).members] == ["", ""]


def test_an_archive_unpacks_to_a_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(4):
            archive.writestr(f"a/{i}.png", bytes(10_000))
    assert len(ZipTree(tmp_path / "a.zip").members) == 4
    monkeypatch.setattr(tree, "MAX_ARCHIVE_BYTES", 30_000)
    with pytest.raises(UserError, match=r"unpacks to more than [0-9,]+ bytes: if you trust it, extract it"):
        _ = ZipTree(tmp_path / "a.zip").members
