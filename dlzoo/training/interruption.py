"""Stopping well: SIGTERM, Ctrl-C, a closed terminal and the requeue signal of SLURM end a step, not the work.

The first signal lets the current step finish; then ``last.ckpt`` is written and the run ends with what is known. A
second Ctrl-C leaves at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch

from dlzoo.callbacks.base import Observer
from dlzoo.callbacks.last_checkpoint import can_resume_after
from dlzoo.distributed import collectives as gathering
from dlzoo.distributed import launch as ranks

HANGUP: int | None = getattr(signal, "SIGHUP", None)
"""The terminal was closed; Windows has no such signal, nor the next."""
REQUEUE: int | None = getattr(signal, "SIGUSR1", None)

ASK_EVERY = 10
"""Steps between two questions of several processes to each other, which must wait for all of them."""


class Interrupted(Exception):
    """The run was asked to stop.

    Args:
        signum: by which signal; the exit code is 128 more.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {'Ctrl-C' if signum == signal.SIGINT else signal.Signals(signum).name}")
        self.signum = signum


class Interruption(Observer):
    """Listens while a run trains and tests, and raises `Interrupted` where the run can be continued from.

    Several processes must stop after the same step, but hear a signal at different ones, or only the first hears it:
    every few steps they ask each other.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.signum: int | None = None
        self.before: dict[int, Any] = {}
        self.launcher: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.listen(trainer)  # not before: Lightning's own handler, set by now, would end the run unsaved
        if trainer.world_size > 1:
            self.on_train_batch_end = self.ask_and_stop  # type: ignore[method-assign]

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.listen(trainer)

    def listen(self, trainer: pl.Trainer) -> None:
        """Hear signals from now on; again at each start, for Lightning's own handler would end the run unsaved."""
        if threading.current_thread() is not threading.main_thread():
            return
        self.launcher = trainer.strategy.launcher
        for signum in heard():
            own = signal.signal(signum, self.hear)
            self.before.setdefault(signum, own)

    def leave(self) -> None:
        for signum, own in self.before.items():
            if signal.getsignal(signum) == self.hear:  # else Lightning has put back its own, which held the whole run
                signal.signal(signum, own)
        self.before.clear()

    def hear(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None and signum == signal.SIGINT:
            os._exit(128 + signum)
        self.signum = signum
        if signum != signal.SIGINT and hasattr(self.launcher, "kill"):  # Ctrl-C reaches all by itself
            self.launcher.kill(signum)  # the ranks that Lightning started
        if self.on_train_batch_end is None:  # one process: no cost a step until now
            self.on_train_batch_end = self.stop_training

    def ask_and_stop(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % ASK_EVERY == 0 and self.ask(trainer):
            self.on_train_batch_end = self.stop_training  # type: ignore[method-assign]
            self.stop_training(trainer, pl_module, outputs, batch, batch_idx)

    def ask(self, trainer: pl.Trainer) -> bool:
        """Whether any rank has heard a signal; all of them must ask."""
        signum = torch.tensor(self.signum or 0, device=trainer.strategy.root_device)
        self.signum = int(gathering.all_reduce_max(signum)) or None
        return self.signum is not None

    def stop_training(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if can_resume_after(trainer, batch_idx):
            trainer.save_checkpoint(self.path)
            self.stop()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        heard = self.ask(trainer) if trainer.world_size > 1 else self.signum is not None
        if heard:  # last.ckpt was written at the end of the epoch before
            self.stop()

    def on_test_batch_start(self, *_: Any) -> None:
        if self.signum is not None:
            self.stop()

    def stop(self) -> None:
        assert self.signum is not None
        if self.signum == REQUEUE and ranks.rank() == 0:
            requeue()
        raise Interrupted(self.signum)


def heard() -> list[int]:
    """The signals that end a run; one that nohup has this process ignore stays ignored."""
    signals: list[int] = [signal.SIGINT, signal.SIGTERM]
    if HANGUP is not None and signal.getsignal(HANGUP) is not signal.SIG_IGN:
        signals.append(HANGUP)
    if REQUEUE is not None and "SLURM_JOB_ID" in os.environ:
        signals.append(REQUEUE)
    return signals


@contextlib.contextmanager
def listening(trainer: pl.Trainer) -> Iterator[None]:
    """From before the fit to after the test, so that no signal finds nobody listening between the two."""
    listener = next(callback for callback in trainer.callbacks if isinstance(callback, Interruption))  # type: ignore[attr-defined]
    listener.listen(trainer)
    try:
        yield
    finally:
        listener.leave()


def requeue() -> None:
    """Ask SLURM to start this job again, which then continues with resume=auto."""
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    subprocess.run(["scontrol", "requeue", job], check=False)
