"""What may be read where a config or a command names a file."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Literal

import pytest

from dlzoo.data.folders.tree import FolderTree
from dlzoo.data.text_reader import content_of, decode
from dlzoo.errors import UserError
from dlzoo.layers.embedding import read_vectors
from dlzoo.utils import files, untrusted


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.csv")
    with pytest.raises(UserError, match=r"^data\.path=.*: this is a pipe"):
        files.existing_file(str(tmp_path / "rows.csv"), "data.path")


def test_a_pipe_of_the_shell_is_read() -> None:
    read, write = os.pipe()
    try:
        assert files.existing_file(f"/dev/fd/{read}", "input").is_fifo()
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="Linux shows processes as files")
def test_files_of_the_system_are_no_data(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").symlink_to("/proc/self/environ")
    for path in ("/proc/self/environ", "/proc/self", str(tmp_path / "rows.csv")):
        with pytest.raises(UserError, match="part of the system"):
            files.existing(path, "data.path")


def test_vectors_are_not_read_from_devices() -> None:
    with pytest.raises(UserError, match=r"net\.vectors=/dev/zero: this is a device"):
        read_vectors("/dev/zero", {"a": 2}, 4)


def test_links_in_a_ring_end(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.png").touch()
    for name in ("again", "and_again", "more/up"):
        (tmp_path / name).symlink_to(tmp_path)
    assert {os.path.realpath(str(path)) for path in FolderTree().files(tmp_path)} == {
        os.path.realpath(tmp_path / name) for name in ("a.png", "more/b.png")
    }
    assert len([*FolderTree().files(tmp_path)]) == 2


@pytest.mark.parametrize(("content", "encoding"), [(b"a+2AA-", "utf-7"), (rb"a\ud800", "unicode_escape")])
def test_half_of_a_character_is_no_text(content: bytes, encoding: str) -> None:
    with pytest.raises(UserError, match="half of a surrogate pair"):
        decode(content, encoding, "rows.csv")


def test_half_of_a_character_in_json() -> None:
    with pytest.raises(UserError, match="half of a character"):
        untrusted.parse_json(r'{"model": "\ud800"}', "results.json")
    assert untrusted.parse_json(r'{"model": "\ud83d\ude00 \u00e9"}', "results.json") == {"model": "\U0001f600 \u00e9"}


def test_a_folder_of_samples_is_not_written_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder may be a shared run's; a link that the user names is theirs."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "samples").symlink_to("elsewhere")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"samples is a link to another folder .* give output=…"):
        files.write_folder(None, "output", {"a.png": b""}, default="samples")
    assert not [*(tmp_path / "elsewhere").iterdir()]
    assert files.write_folder("samples", "output", {"a.png": b""}, default="x") == Path("samples")


@pytest.mark.parametrize("mode", ["w", "a"])
def test_a_text_file_is_not_written_through_a_link(mode: Literal["w", "a"], tmp_path: Path) -> None:
    """Another user of the folder may have put it there after the folder was checked."""
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "a.txt").symlink_to(tmp_path / "victim")
    with (
        pytest.raises(UserError, match=r"a\.txt is a link") if mode == "a" else contextlib.nullcontext(),
        files.open_text(tmp_path / "a.txt", mode) as file,
    ):
        file.write("mine")
    assert (tmp_path / "victim").read_text() == "precious"
    assert mode == "a" or (tmp_path / "a.txt").read_text() == "mine"


@pytest.mark.parametrize("mode", ["w", "a"])
def test_a_text_file_is_not_written_to_a_pipe(mode: Literal["w", "a"], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    reader = os.open(tmp_path / "a.txt", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(UserError, match="not a regular file"):
        files.open_text(tmp_path / "a.txt", mode)
    os.close(reader)
    with pytest.raises(UserError, match="is a link or a pipe"):
        files.open_text(tmp_path / "a.txt", mode)


def test_a_text_file_is_continued_or_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    steps: list[tuple[Literal["w", "a"], str, bytes]] = [("a", "1\r\n", b"1\r\n"), ("a", "2\n", b"1\r\n2\n")]
    for mode, text, content in [*steps, ("w", "\u00fc", b"\xc3\xbc")]:
        with files.open_text(path, mode) as file:
            file.write(text)
        assert path.read_bytes() == content


def test_files_of_a_run_are_opened_without_links() -> None:
    """Whatever else writes does so to a file that is new (mode x), or has a name that nobody can predict."""
    writes = re.compile(r"""\bopen\((?=[^)\n]*["'][wa]b?\+?["'])|\.write_(text|bytes)\(""")
    elsewhere = ("dlzoo/utils/", "dlzoo/export/formats.py")  # the latter writes where `dlzoo.commands.export` tells it
    package = Path(files.__file__).parents[1]
    found = [
        f"{path}: {line.strip()}"
        for path in sorted(package.rglob("*.py"))
        for line in path.read_text().splitlines()
        if writes.search(line)
        and not re.search(r"temporary|partial|os\.devnull|/proc/self|open_text\(", line)
        and not path.relative_to(package.parent).as_posix().startswith(elsewhere)
    ]
    assert found == []


def test_a_link_to_what_the_system_knows_is_not_read(tmp_path: Path) -> None:
    """In a folder of texts, for example, whose own path is harmless."""
    (tmp_path / "a.txt").symlink_to("/proc/self/environ")
    for read in (files.open_regular, untrusted.read_text, content_of):
        with pytest.raises(UserError, match="a part of the system"):
            read(tmp_path / "a.txt")
