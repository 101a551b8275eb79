"""Stops a run on SIGTERM, Ctrl-C, a closed terminal or SLURM's requeue signal without losing work.

After the first signal the current step finishes; then ``last.ckpt`` is written and the run ends with its results so
far. A second Ctrl-C exits immediately.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT

from dlzoo.callbacks.base import Observer, task_of
from dlzoo.callbacks.last_checkpoint import can_resume_after
from dlzoo.distributed import collectives as gathering
from dlzoo.distributed import launch as ranks

HANGUP: int | None = getattr(signal, "SIGHUP", None)
"""Sent when the terminal is closed. Windows has neither this signal nor the next."""
REQUEUE: int | None = getattr(signal, "SIGUSR1", None)

PATIENCE = 10.0
"""Seconds that the evaluation of an agent, whose episodes may be long, may take after a signal."""

POLL_EVERY = 10
"""Steps after which several processes compare their signals, for which they have to wait for one another."""

Handler = Callable[[int, FrameType | None], object] | int | None
"""What `signal.signal` returns."""


class Interrupted(Exception):
    """The run was asked to stop.

    Args:
        signum: the signal; the exit code is 128 plus its number.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {'Ctrl-C' if signum == signal.SIGINT else signal.Signals(signum).name}")
        self.signum = signum


class Interruption(Observer):
    """Handles signals during training and testing, and raises `Interrupted` where the run can be resumed.

    Several processes must stop after the same step, but they receive a signal at different steps, or only the first
    receives it: every few steps they compare.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.signum: int | None = None
        self.signaled_at = 0.0
        self._previous_handlers: dict[int, Handler] = {}
        self._kill_ranks: Callable[[int], None] | None = None
        """Sends a signal to the ranks that Lightning started, if it did."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if (agent := task_of(pl_module).as_agent()) is not None:
            agent.check_signals = self.stop_if_overdue

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.install_handlers(trainer)  # only now: Lightning has set its own handler, which would end the run unsaved
        if trainer.world_size > 1:
            self.on_train_batch_end = self.poll_and_stop  # type: ignore[method-assign]

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.install_handlers(trainer)

    def install_handlers(self, trainer: pl.Trainer) -> None:
        """Handle signals from now on. Called at each start, since Lightning installs its own handler then."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._kill_ranks = getattr(trainer.strategy.launcher, "kill", None)
        for signum in handled_signals():
            previous = signal.signal(signum, self.handle)
            self._previous_handlers.setdefault(signum, previous)

    def restore_handlers(self) -> None:
        for signum, previous in self._previous_handlers.items():
            if signal.getsignal(signum) == self.handle:  # otherwise Lightning has restored the handler already
                signal.signal(signum, previous)
        self._previous_handlers.clear()

    def handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None and signum == signal.SIGINT:
            os._exit(128 + signum)
        self.signum, self.signaled_at = signum, time.monotonic()
        if signum != signal.SIGINT and self._kill_ranks is not None:  # the terminal sends Ctrl-C to all processes
            self._kill_ranks(signum)
        if self.on_train_batch_end is None:  # a single process: steps cost nothing extra until now
            self.on_train_batch_end = self.stop_training

    def poll_and_stop(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % POLL_EVERY == 0 and self.any_rank_signaled(trainer):
            self.on_train_batch_end = self.stop_training  # type: ignore[method-assign]
            self.stop_training(trainer, pl_module, outputs, batch, batch_idx)

    def any_rank_signaled(self, trainer: pl.Trainer) -> bool:
        """Whether any rank has received a signal; must be called on all of them."""
        signum = torch.tensor(self.signum or 0, device=trainer.strategy.root_device)
        self.signum = int(gathering.all_reduce_max(signum)) or None
        return self.signum is not None

    def stop_training(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        if can_resume_after(trainer, batch_idx):
            trainer.save_checkpoint(self.path)
            self.stop()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        signaled = self.any_rank_signaled(trainer) if trainer.world_size > 1 else self.signum is not None
        if signaled:  # last.ckpt was written at the end of the previous epoch
            self.stop()

    def on_test_batch_start(self, *_: object) -> None:
        if self.signum is not None:
            self.stop()

    def stop_if_overdue(self) -> None:
        """Stop without waiting for the end of an evaluation: what follows the last checkpoint is lost."""
        if self.signum is not None and time.monotonic() - self.signaled_at > PATIENCE:
            self.stop()

    def stop(self) -> None:
        assert self.signum is not None
        if self.signum == REQUEUE and ranks.rank() == 0:
            requeue()
        raise Interrupted(self.signum)


def handled_signals() -> list[int]:
    """The signals that end a run. SIGHUP stays ignored if the process ignores it, as under nohup."""
    signals: list[int] = [signal.SIGINT, signal.SIGTERM]
    if HANGUP is not None and signal.getsignal(HANGUP) is not signal.SIG_IGN:
        signals.append(HANGUP)
    if REQUEUE is not None and "SLURM_JOB_ID" in os.environ:
        signals.append(REQUEUE)
    return signals


@contextlib.contextmanager
def handling_signals(trainer: pl.Trainer) -> Iterator[None]:
    """Handle signals from before the fit until after the test, including the time between the two."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    interruption = next(callback for callback in callbacks if isinstance(callback, Interruption))
    interruption.install_handlers(trainer)
    try:
        yield
    finally:
        interruption.restore_handlers()


def requeue() -> None:
    """Ask SLURM to start this job again; with resume=auto it then resumes the run."""
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    subprocess.run(["scontrol", "requeue", job], check=False)
