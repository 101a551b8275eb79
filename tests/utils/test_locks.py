"""Two processes never train in one run folder; a lock is released with its process."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from killing import FORKS, finish, left_by, main_in, start, when, words_of

from dlzoo.errors import UserError
from dlzoo.utils import locks

OVERRIDES = [*words_of("stateful"), "trainer.max_epochs=1000000"]  # never done before it is killed


def train_with_short_timeout(folder: Path, overrides: list[str]) -> None:
    locks.TIMEOUT = 0.2
    main_in(folder, overrides)


def second(folder: Path, overrides: list[str]) -> int:
    process = FORKS.Process(target=train_with_short_timeout, args=(folder, overrides))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / ".hydra").iterdir()}


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    first = start(tmp_path, OVERRIDES)
    when(tmp_path / "run" / "checkpoints" / "last.ckpt", first)
    before = contents(tmp_path / "run")
    (tmp_path / "log.txt").write_text("")
    for overrides in ([*OVERRIDES, "resume=auto"], [*OVERRIDES, "seed=7"]):
        assert second(tmp_path, overrides) == 2
    assert first.is_alive()
    output = (tmp_path / "log.txt").read_text()
    assert output.count("another process is training in this folder") == 2, output
    assert "Traceback" not in output
    assert contents(tmp_path / "run") == before, "nothing was written"
    first.kill()
    first.join()
    assert first.exitcode == -signal.SIGKILL
    assert finish(tmp_path, [*words_of("stateful"), "resume=auto"]) == 0, (tmp_path / "log.txt").read_text()
    assert left_by(tmp_path)["progress"][2] == "finished"
    assert not (tmp_path / "run" / locks.NAME).exists()


def test_a_folder_is_locked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "TIMEOUT", 0)
    with locks.locked(tmp_path / "grid"), pytest.raises(UserError, match="another process is training in this folder"):
        locks.lock(tmp_path / "grid")
    locks.unlock(locks.lock(tmp_path / "grid"))


def test_a_grid_locks_its_folder(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "TIMEOUT", 0)
    folder = tmp_path / "grid"
    with locks.locked(folder):
        done = train("-m", "data=iris", "seed=0,1", f"hydra.sweep.dir={folder}")
    assert done.code == 2
    assert "another process is training in this folder" in done.err
    assert [*folder.iterdir()] == []


def test_a_file_system_without_locks_causes_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def acquire(*_: Any, **__: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    assert locks.lock(tmp_path) is None
    assert "without locks" in capsys.readouterr().err


def test_something_else_in_place_of_the_lock(tmp_path: Path) -> None:
    (tmp_path / locks.NAME).mkdir()
    with pytest.raises(UserError, match="cannot be used as a lock"), locks.locked(tmp_path):
        raise AssertionError("not locked")


def test_a_lock_that_is_another_file_leaves_it_as_it_is(tmp_path: Path) -> None:
    """Versions of filelock before 3.32 empty the file that they lock."""
    (tmp_path / "victim").write_text("precious")
    os.link(tmp_path / "victim", tmp_path / locks.NAME)
    locks.unlock(locks.lock(tmp_path))
    assert (tmp_path / "victim").read_text() == "precious"
