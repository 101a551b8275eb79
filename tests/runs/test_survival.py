"""Runs go on after what happens to their checkpoints: damage, a full disk, a signal at an awkward moment."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from killing import FORKS, differences, finish, left_by, main_in, words_of

from dlzoo.callbacks.metrics_csv import read_rows, write_rows
from dlzoo.checkpoint.sidecar import NAME
from dlzoo.training import results
from dlzoo.utils import checkpoint_files
from scripts.bench_saving import cost

STATEFUL = words_of("stateful")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the undisturbed run leaves."""
    folder = tmp_path_factory.mktemp("whole")
    assert finish(folder, STATEFUL) == 0, (folder / "log.txt").read_text()
    return left_by(folder)


def disturbed(folder: Path, words: list[str], fault: Callable[[], None]) -> int:
    """A run in a process in which something was prepared before; the exit code."""
    process = FORKS.Process(target=body, args=(folder, words, fault))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def body(folder: Path, words: list[str], fault: Callable[[], None]) -> None:
    fault()
    main_in(folder, words)


def said_by(folder: Path) -> str:
    return (folder / "log.txt").read_text()


def full_after_a_while() -> None:
    """The disk takes five checkpoints, and no more."""
    real, calls = os.fsync, iter(range(1000))

    def fsync(handle: int) -> None:
        if next(calls) >= 10:  # two for each checkpoint: the file and its folder
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    os.fsync = fsync


def test_a_full_disk_ends_a_run_that_goes_on_later(expected: dict[str, Any], tmp_path: Path) -> None:
    assert disturbed(tmp_path, STATEFUL, full_after_a_while) == 2
    said = said_by(tmp_path)
    assert "Traceback" not in said
    assert "last.ckpt could not be written: No space left on device" in said
    assert "output_dir" in said
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["status"] == "failed"
    assert results["steps"] > 0
    assert (
        0 < checkpoint_files.read(tmp_path / "run" / results["checkpoints"]["last"])["global_step"] <= results["steps"]
    )
    assert finish(tmp_path, [*STATEFUL, "resume=auto"]) == 0, said_by(tmp_path)
    assert differences(expected, left_by(tmp_path)) == []


def killed_in_the_third_epoch() -> None:
    from dlzoo.training.interruption import Interruption

    def leave(self: Any, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    Interruption.on_validation_start = leave  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("family", "part"),
    [
        ("stateful", "checkpoint"),
        pytest.param("dqn", "checkpoint", marks=pytest.mark.reliability),
        pytest.param("dqn", "arrays", marks=pytest.mark.reliability),
    ],
)
def test_a_run_goes_on_from_the_one_before(family: str, part: str, expected: dict[str, Any], tmp_path: Path) -> None:
    words, cut = words_of(family), tmp_path / "cut"
    cut.mkdir()
    assert disturbed(cut, words, killed_in_the_third_epoch) == -signal.SIGKILL, said_by(cut)
    last = cut / "run" / "checkpoints" / "last.ckpt"
    damaged = last if part == "checkpoint" else last.with_name(checkpoint_files.read(last)[NAME])
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    assert finish(cut, [*words, "resume=auto"]) == 0, said_by(cut)
    said = said_by(cut)
    assert f"warning: {last.relative_to(cut)} is " in said
    assert "using the previous one, " in said
    if family == "dqn":
        assert finish(tmp_path / "whole", words) == 0
        expected = left_by(tmp_path / "whole")
    assert differences(expected, left_by(cut)) == []


def signal_between_fit_and_test() -> None:
    real = checkpoint_files.read

    def read(path: Any, *given: Any) -> dict[str, Any]:
        if "best" in str(path):
            os.kill(os.getpid(), signal.SIGTERM)
        return real(path, *given)

    checkpoint_files.read = read


def signal_while_saving() -> None:
    real, calls = os.fsync, iter(range(1000))

    def fsync(handle: int) -> None:
        if next(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        real(handle)

    os.fsync = fsync


@pytest.mark.parametrize("fault", [signal_between_fit_and_test, signal_while_saving])
def test_a_signal_at_any_moment_ends_a_run_well(
    fault: Callable[[], None], expected: dict[str, Any], tmp_path: Path
) -> None:
    assert disturbed(tmp_path, STATEFUL, fault) == 128 + signal.SIGTERM, said_by(tmp_path)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["status"] == "interrupted"
    assert finish(tmp_path, [*STATEFUL, "resume=auto"]) == 0, said_by(tmp_path)
    assert differences(expected, left_by(tmp_path)) == []


def test_a_row_that_is_cut_off_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_rows(path, [{"epoch": 1, "step": 4, "val/loss": 0.25}], ["epoch", "step", "val/loss"])
    rows = read_rows(path)
    with path.open("a", newline="") as file:
        file.write("2,8,0.1")  # of 0.125
    assert read_rows(path) == rows == [{"epoch": 1, "step": 4, "val/loss": 0.25}]
    assert [*tmp_path.iterdir()] == [path]


def test_results_that_find_no_room_leave_the_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results.write(tmp_path, {"status": "interrupted"})
    with monkeypatch.context() as faults:
        faults.setattr(os, "replace", no_room)
        with pytest.raises(OSError, match="No space left"):
            results.write(tmp_path, {"status": "finished"})
    assert results.read(tmp_path) == {"status": "interrupted"}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def no_room(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_run_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert disturbed(tmp_path, STATEFUL, no_folders) == 2
    said = said_by(tmp_path)
    assert said.startswith("error: run: Read-only file system; output_dir sets where runs are written")
    assert said.count("\n") == 1


def no_folders() -> None:
    real = os.mkdir

    def mkdir(path: Any, *mode: Any) -> None:
        if str(path).endswith(".hydra"):
            raise OSError(errno.EROFS, "Read-only file system", "run")
        real(path, *mode)

    os.mkdir = mkdir


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """Too small for a third checkpoint; what others write, TensorBoard's thread too, may find no room either."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this container may not mount")
    try:
        words = [word for word in STATEFUL if not word.startswith("logger=")]
        assert finish(disk, [*words, "net.num_units=80"]) == 2
        said = said_by(disk)
        assert "could not be written: No space left on device" in said
        assert "Traceback" not in said
        for path in (disk / "run" / "checkpoints").glob("*.ckpt"):
            assert checkpoint_files.read(path)["global_step"] > 0
        assert not [*(disk / "run").rglob("*.tmp")]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_what_a_checkpoint_costs_is_measured() -> None:
    words = "model=mlp net.hidden=[100] callbacks.last_checkpoint.every_n_steps=5 trainer.max_epochs=1"
    num_parameters, megabytes, wall, share, _, _ = cost(words.split())
    assert num_parameters == 64 * 100 + 100 + 100 * 10 + 10
    assert 3 * 4 * num_parameters < 1e6 * megabytes < 3 * 4 * num_parameters + 100_000
    assert 0 < wall < 5
    assert share == f"{wall / 30:.2%}"
