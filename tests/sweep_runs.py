"""Starts sweeps, as real processes or with their trials in this one, and locates their output."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import lightning.pytorch as pl
import pytest

from dlzoo.sweep import channel, driver, settings, space, worker
from dlzoo.sweep.channel import EpochReport, TrialEnd
from dlzoo.sweep.runner import Job
from dlzoo.sweep.search import Search

ROOT = Path(__file__).parent.parent
QUICK = (
    "trainer=cpu",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=8",
    "net.hidden=[8]",
    "callbacks=[history,checkpoint]",
    "logger=none",
)
SEARCH = (*QUICK, "optimizer.lr=tag(log,interval(1e-3,1e-1))", "sweep=random")


def sweep_folder(outputs: Path) -> Path:
    (path,) = outputs.glob("**/sweep.json")
    return path.parent


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    """``python train.py -m <overrides>`` with outputs in a folder."""
    command = [sys.executable, str(ROOT / "train.py"), "-m", *overrides, f"output_dir={folder}"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


class LocalRunner:
    """Stands in for `Runner`: trials run in this process, which saves the seconds that a worker takes to start."""

    def run(self, overrides: Sequence[str], folder: Path, on_epoch: Callable[[EpochReport], bool]) -> TrialEnd:
        argv = [*sys.argv]
        channel.connect(on_epoch)
        try:
            return worker.run(overrides, folder)
        finally:
            sys.argv[:] = argv


class LocalPool:
    """Stands in for `Pool`: the trials of one source, one after the other."""

    def __init__(self, num: int) -> None:
        self.runners = [LocalRunner()] * num

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, sources: Sequence[Iterator[Job]]) -> None:
        for job in sources[0]:
            job.on_end(self.runners[0].run(job.overrides, job.folder, job.on_epoch))


def run_trials_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps that this process starts run their trials in it too."""

    @contextlib.contextmanager
    def redirected(path: Path) -> Iterator[None]:
        with path.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            yield

    monkeypatch.setattr(channel, "_send", None)  # it is connected with each trial, and with none behind the test
    monkeypatch.setattr(driver, "Pool", LocalPool)
    monkeypatch.setattr(worker, "_redirect_output", redirected)


def open_study(folder: Path, method: str, *words: str) -> Search:
    """A search for one number, in this process: its trials are claimed and ended by the test."""
    parsed = settings.read([f"sweep={method}", "sweep.trials=20", *words])
    return Search(parsed, space.from_yaml({"x": {"low": 0.0, "high": 1.0}}), "val/loss", "study", folder, 10)


def alive(group: int) -> list[int]:
    """The processes of a group that have not ended, on Linux; `start` gives each command a group of its own."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended since
            state, _, process_group = file.read_text().rpartition(")")[2].split()[:3]
            if int(process_group) == group and state not in "ZX":
                found.append(int(file.parent.name))
    return found


class Crash(pl.Callback):
    """Kills its process as the kernel would, or raises, when training starts."""

    def __init__(self, *, how: str) -> None:
        self.how = how

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "raise":
            raise RuntimeError("out of memory, so to speak")
