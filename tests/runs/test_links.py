"""What lies in a run folder may be a link to a file elsewhere: no run and no checkpoint is written through one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_runs import Outcome, run

from dlzoo.checkpoint.io import CheckpointIO
from dlzoo.errors import UserError
from dlzoo.utils import archives, files


def test_a_temporary_name_cannot_be_foreseen_and_a_link_is_replaced(tmp_path: Path) -> None:
    mine, folder = tmp_path / "mine", tmp_path / "shared"
    folder.mkdir()
    mine.write_text("precious")
    path = folder / "last.ckpt"
    path.symlink_to(mine)
    (folder / f".last.ckpt.{os.getpid()}.tmp").symlink_to(mine)
    archives.write(path, lambda file: torch.save([1], file))
    assert (path.is_symlink(), mine.read_text()) == (False, "precious")
    names = {archives.temporary_path(path).name for _ in range(10)}
    assert len(names) == 10
    files.write(folder / "a.txt", b"a")
    assert (folder / "a.txt").read_bytes() == b"a"
    assert [name for name in os.listdir(folder) if name.endswith(".tmp")] == [f".last.ckpt.{os.getpid()}.tmp"]


def test_a_checkpoint_is_not_written_through_a_link(tmp_path: Path) -> None:
    mine, path = tmp_path / "mine", tmp_path / "run" / "last.ckpt"
    path.parent.mkdir()
    mine.write_text("precious")
    path.symlink_to(mine)
    CheckpointIO({}).save_checkpoint({"state_dict": {}}, path)
    assert (path.is_symlink(), mine.read_text()) == (False, "precious")


def test_a_run_does_not_write_through_a_link(tmp_path: Path) -> None:
    mine, folder = tmp_path / "mine", tmp_path / "run"
    folder.mkdir()
    mine.write_text("precious")
    for name in ("metrics.csv", "report.txt"):
        (folder / name).symlink_to(mine)
        with pytest.raises(UserError, match=f"{name} links outside"):
            run(folder, "model=mlp", "data=digits")
        (folder / name).unlink()
    assert mine.read_text() == "precious"


def test_a_run_that_is_continued_does_not_write_into_files_of_other_names(
    tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    """A hard link is another name of a file, which may lie anywhere; Hydra, too, would write through one."""
    mine, folder, hidden = tmp_path / "mine", tmp_path / "run", tmp_path / "hidden"
    words = ["model=mlp", "data=digits", "net.hidden=[8]", "trainer=smoke", "trainer.accelerator=cpu", "logger=none"]
    words += [f"hydra.run.dir={folder}", "callbacks=[checkpoint,history]"]
    assert train(*words).code == 0
    left = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".ckpt"]
    assert len(left) > 4
    for path in left:
        path.unlink()
    mine.write_text("precious")
    for path in left:
        path.hardlink_to(mine)
    assert train(*words).code == 0
    assert mine.read_text() == "precious"
    hidden.mkdir()
    for path in (folder / ".hydra").iterdir():
        path.unlink()
    (folder / ".hydra").rmdir()
    (folder / ".hydra").symlink_to(hidden)
    done = train(*words)
    assert (done.code, [*hidden.iterdir()]) == (2, [])
    assert "links outside the run folder" in done.err
