"""Run folders from a stranger: what stands there in place of a run's files, and overrides without end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hydra.errors import HydraException

from dlzoo.api.page import texts
from dlzoo.api.page_parts import gallery
from dlzoo.config import overrides, run_files
from dlzoo.errors import UserError
from dlzoo.training import resume
from dlzoo.utils import files


@pytest.mark.parametrize("name", [".hydra/config.yaml", "learning_curves.png", "checkpoints/best.ckpt"])
def test_a_pipe_in_a_run_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    run_files.check_kinds(tmp_path)
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="is a pipe"):
        run_files.check_kinds(tmp_path)


@pytest.mark.parametrize("name", ["results.json", "samples.txt", "checkpoints"])
def test_a_link_that_leads_to_itself(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to(tmp_path / name)
    assert not run_files.is_inside(tmp_path, tmp_path / name)
    assert run_files.find(tmp_path, name) is None
    with pytest.raises(UserError, match="replace the link"):
        run_files.check_links(tmp_path)
    assert texts(tmp_path) == ""


@pytest.mark.parametrize("name", [".hydra/overrides.yaml", "results.json", "learning_curves.png"])
def test_a_folder_in_place_of_a_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(UserError, match="is a folder, where a run writes a file"):
        run_files.check_kinds(tmp_path)


@pytest.mark.parametrize("name", [".hydra", "checkpoints"])
def test_a_file_in_place_of_a_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(UserError, match="is a file, where a run has a folder"):
        run_files.check_kinds(tmp_path)


@pytest.mark.parametrize("word", ["a=" + "[" * 3_000 + "]" * 3_000, "a=[" + "1," * 100_000 + "1]"])
def test_overrides_too_deep_or_too_long(word: str) -> None:
    with pytest.raises(HydraException):
        overrides.parsed(word)


def test_overrides_without_end(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / run_files.OVERRIDES).write_text("- net.hidden=[8]\n" * 10_000)
    with pytest.raises(UserError, match=r"10,000 overrides .* more than any command line"):
        run_files.overrides(tmp_path)
    with pytest.raises(UserError, match="more than any command line"):
        overrides.check_stored_size(["a" * 200_000], "a.ckpt")


def test_the_name_of_a_folder_does_not_command_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run = tmp_path / "outputs" / "2020" / "\x1b[2J"
    for name in (".hydra", "checkpoints"):
        (run / name).mkdir(parents=True)
    (run / "checkpoints" / "last.ckpt").write_text("x")
    (run / run_files.OVERRIDES).write_text("[model=mlp]")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="not a checkpoint"):
        resume.resolve_resume(["model=mlp", "resume=auto"])
    (run / "results.json").write_text("{")
    with pytest.raises(UserError, match="not a checkpoint"):
        resume.resolve_resume(["model=mlp", "resume=auto"])
    told = "".join(capsys.readouterr())
    assert "resuming outputs/2020/\\x1b[2J/checkpoints/last.ckpt" in told
    assert "results.json is damaged" in told
    assert "\x1b" not in told


@pytest.mark.parametrize("name", ["samples.txt", "learning_curves.png"])
def test_a_link_that_takes_the_name_of_a_file_after_the_check(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as long as it takes to open it."""
    folder, path, aside = tmp_path / "run", tmp_path / "run" / name, tmp_path / "run" / "aside"
    folder.mkdir()
    path.write_text("mine")
    (tmp_path / "secret").write_text("secret")
    assert "mine" in texts(folder) or gallery(folder)

    def opened(path: Path) -> BinaryIO:
        path.rename(aside)
        path.symlink_to(tmp_path / "secret")
        file = files.open_regular(path)
        aside.replace(path)
        return file

    monkeypatch.setattr(run_files, "open_regular", opened)
    with pytest.raises(UserError, match=r"links outside .*run and is not read"):
        texts(folder) or gallery(folder)


def test_a_file_of_a_run_is_read_up_to_a_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1234")
    (tmp_path / "b").symlink_to("a")
    assert [run_files.read_bytes(tmp_path, tmp_path / "b", most) for most in (3, 4)] == [None, b"1234"]
    with pytest.raises(UserError, match="cannot be read"):
        run_files.read_bytes(tmp_path, tmp_path / "c", 4)
