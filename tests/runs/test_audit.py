"""The watch that the suites of attacks rely on sees what it is for."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from audit import audited


def connect() -> None:
    with socket.socket() as client, contextlib.suppress(OSError):
        client.connect(("127.0.0.1", 9))


def in_a_thread(folder: Path) -> None:
    thread = threading.Thread(target=(folder / "new").write_text, args=("",))
    thread.start()
    thread.join()


ACTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a process": (lambda _: subprocess.run([sys.executable, "-c", ""], check=True), "subprocess.Popen"),
    "a shell": (lambda _: os.system("true"), "os.system"),
    "a connection": (lambda _: connect(), "socket.connect"),
    "a new file": (lambda folder: (folder / "new").write_text(""), "open"),
    "an old file": (lambda folder: (folder / "old").write_text(""), "open"),
    "a descriptor": (lambda folder: os.close(os.open(folder / "new", os.O_CREAT | os.O_WRONLY)), "open"),
    "one more line": (lambda folder: (folder / "old").open("a").close(), "open"),
    "another thread": (in_a_thread, "open"),
    "a removal": (lambda folder: (folder / "old").unlink(), "os.remove"),
    "a rename": (lambda folder: (folder / "old").rename(folder / "new"), "os.rename"),
    "a tree": (lambda folder: shutil.rmtree(folder / "tree"), "os.remove"),
    "a folder": (lambda folder: (folder / "new").mkdir(), "os.mkdir"),
    "a link": (lambda folder: (folder / "new").symlink_to(folder / "old"), "os.symlink"),
    "a copy": (lambda folder: shutil.copyfile(folder / "old", folder / "new"), "shutil.copyfile"),
}


@pytest.mark.parametrize("name", ACTS)
def test_it_is_seen(name: str, tmp_path: Path) -> None:
    act, event = ACTS[name]
    (tmp_path / "old").write_text("old")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "leaf").touch()
    with audited() as violations:
        act(tmp_path)
    assert any(violation.startswith(event) for violation in violations), violations
    before = [*violations]
    (tmp_path / "outside").write_text("")
    assert violations == before


def test_what_is_allowed_is_not_held_against_anyone(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    with audited(tmp_path, programs=["true"]) as violations:
        (tmp_path / "new").write_text("")
        (tmp_path / "new").read_text()
        (Path(__file__)).read_text()
        shutil.copyfile(__file__, tmp_path / "copy")
        subprocess.run(["true"], check=True)
        (tmp_path / "folder" / "inner").mkdir(parents=True)
        (tmp_path / "folder" / "inner" / "file").touch()
        shutil.rmtree(tmp_path / "folder")
    assert violations == []


def test_a_link_out_of_the_allowed_folder_is_followed(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "victim")
    with audited(inside) as violations:
        (inside / "link").write_text("")
    assert violations == [f"open {tmp_path / 'victim'}"]


def test_a_canary_is_seen_when_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "canary_module.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with audited(tmp_path, canaries=["canary_module"]) as violations:
        __import__("canary_module")
    assert violations == ["import canary_module"]
