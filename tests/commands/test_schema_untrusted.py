"""``dlzoo schema`` and ``dlzoo options`` for a folder of configs that somebody else has made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_runs import Terminal

from dlzoo.commands import options, schema

MINE = "# @package _global_\nseed: 1\n"


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment" / "mine.yaml").write_text(MINE)
    (folder / "schema").mkdir()
    return folder


def test_files_of_other_names_are_not_overwritten(theirs: Path, tmp_path: Path, terminal: Terminal) -> None:
    victim = tmp_path / "victim.yaml"
    victim.write_text(MINE)
    os.link(victim, theirs / "schema" / "config.json")
    os.link(victim, theirs / "experiment" / "linked.yaml")
    assert terminal(schema.main, "--config-dir", str(theirs), "mark=true").code == 0
    assert victim.read_text() == MINE
    assert "$schema" in (theirs / "experiment" / "linked.yaml").read_text()


def test_pipes_and_devices_are_not_waited_for(theirs: Path, terminal: Terminal) -> None:
    os.mkfifo(theirs / "schema" / "config.json")
    (theirs / "data").mkdir()
    (theirs / "data" / "endless.yaml").symlink_to("/dev/zero")
    os.mkfifo(theirs / "data" / "pipe.yaml")
    assert terminal(schema.main, "--config-dir", str(theirs)).code == 0
    assert (theirs / "schema" / "config.json").is_file()
    assert terminal(options.main, "--config-dir", str(theirs), "data").code == 0


def test_files_of_unknown_parts_and_folders_are_no_traceback(theirs: Path, terminal: Terminal) -> None:
    (theirs / "odd\x1b[2J").mkdir()
    (theirs / "odd\x1b[2J" / "a.yaml").write_text("a: 1\n")
    (theirs / "experiment" / "damaged.yaml").write_text("[")
    assert terminal(schema.main, "--config-dir", str(theirs)).code == 0
    (theirs / "schema" / "config.json").unlink()
    (theirs / "schema" / "config.json").mkdir()
    assert "cannot be written" in terminal.mistake(schema.main, "--config-dir", str(theirs))


@pytest.mark.parametrize("out", ["/proc/x", "/dev/null/x", "x" * 300])
def test_a_folder_that_cannot_be_created(
    out: str, tmp_path: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "cannot be created" in terminal.mistake(schema.main, f"out={out}", "group=optimizer")
