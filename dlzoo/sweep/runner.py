"""Runs trials in worker processes and restarts those that die: a crash ends one trial, not the sweep."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NamedTuple

from dlzoo.sweep import worker
from dlzoo.sweep.channel import EpochReport, TrialEnd

HEARTBEAT_INTERVAL = 30.0
"""Seconds between calls of ``on_wait``."""

EXIT_TIMEOUT = 20.0
"""Seconds that the worker may take to exit by itself."""


class Runner:
    """``with Runner() as runner: runner.run(overrides, folder, …)``; the worker starts with the first trial.

    Ctrl-C stops it even during a destructor, where Python swallows `KeyboardInterrupt`.

    Args:
        num_threads: threads of the worker; None leaves them to PyTorch.
    """

    def __init__(self, num_threads: int | None = None) -> None:
        self._num_threads = num_threads
        self._process: multiprocessing.process.BaseProcess | None = None
        self._is_interrupted = False
        self._previous_handler: Any = None

    def __enter__(self) -> Runner:
        if threading.current_thread() is threading.main_thread():
            self._previous_handler = signal.signal(signal.SIGINT, self._on_sigint)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)
        self._stop()
        if kind is None:
            self.raise_if_interrupted()

    def _on_sigint(self, signum: int, frame: FrameType | None) -> None:
        self._is_interrupted = True
        raise KeyboardInterrupt

    def raise_if_interrupted(self) -> None:
        if self._is_interrupted:
            raise KeyboardInterrupt

    def run(
        self,
        overrides: Sequence[str],
        folder: Path,
        on_epoch: Callable[[EpochReport], bool],
        on_wait: Callable[[], None] = lambda: None,
    ) -> TrialEnd:
        """Run a trial and return how it ended.

        Args:
            overrides: arguments of ``dlzoo train``.
            folder: where its output goes.
            on_epoch: returns whether the trial must stop.
            on_wait: called every `HEARTBEAT_INTERVAL` seconds while the trial sends nothing.
        """
        self.begin(overrides, folder)
        while True:
            self.raise_if_interrupted()
            if not self.connection.poll(HEARTBEAT_INTERVAL):
                on_wait()
            elif (end := self.receive(on_epoch)) is not None:
                return end

    def begin(self, overrides: Sequence[str], folder: Path) -> None:
        """Start a trial, whose messages `receive` then reads from `connection`."""
        self.raise_if_interrupted()
        self._start()
        with contextlib.suppress(ConnectionError):  # the worker has died: `receive` reports it
            self.connection.send((list(overrides), folder))

    def receive(self, on_epoch: Callable[[EpochReport], bool]) -> TrialEnd | None:
        """Read the next message and answer it; how the trial ended, if it did."""
        try:
            message = self.connection.recv()
            if not isinstance(message, TrialEnd):
                self.connection.send(on_epoch(message))
                return None
        except (EOFError, ConnectionError):
            return self._worker_died()
        if message.ends_worker:
            assert self._process is not None
            self._process.join(EXIT_TIMEOUT)  # other ranks exit with it
            self._stop()
        return message

    def _start(self) -> None:
        if self._process is not None and self._process.is_alive():
            return
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self.connection: Connection
        self.connection, child_end = context.Pipe()
        self._process = context.Process(target=worker.serve, args=(child_end, self._num_threads))
        self._process.start()
        child_end.close()  # so that the connection closes when the worker dies

    def _worker_died(self) -> TrialEnd:
        assert self._process is not None
        self._process.join()
        code, self._process = self._process.exitcode, None
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = "; it may have run out of memory" if name == "SIGKILL" else ""
            return TrialEnd(f"the worker process was killed by {name}{hint}", True)
        return TrialEnd(f"the worker process exited with code {code}", True)

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


class Job(NamedTuple):
    """A trial to run, and what to do with its messages; see `Runner.run`."""

    overrides: Sequence[str]
    folder: Path
    on_epoch: Callable[[EpochReport], bool]
    on_end: Callable[[TrialEnd], None]
    on_wait: Callable[[], None] = lambda: None


class Pool:
    """Several workers, which run trials at the same time; this process alone reads their messages.

    Args:
        num: the number of workers, which share the processors.
    """

    def __init__(self, num: int) -> None:
        num_threads = None if num == 1 else max(1, (os.cpu_count() or 1) // num)
        self.runners = [Runner(num_threads) for _ in range(num)]
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> Pool:
        for runner in self.runners:
            self._exits.enter_context(runner)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._exits.__exit__(kind, error, at)

    def run(self, sources: Sequence[Iterator[Job]]) -> None:
        """Run the jobs of one source per worker, which may be the same for all; a source is asked when its worker is
        free."""
        slots = [_Slot(runner, source) for runner, source in zip(self.runners, sources, strict=True)]
        slots = [slot for slot in slots if slot.begin_next()]
        waited = time.monotonic()
        while slots:
            for runner in self.runners:
                runner.raise_if_interrupted()
            ready = multiprocessing.connection.wait([slot.runner.connection for slot in slots], HEARTBEAT_INTERVAL)
            if time.monotonic() - waited >= HEARTBEAT_INTERVAL:
                waited = time.monotonic()
                for slot in slots:
                    slot.job.on_wait()
            slots = [slot for slot in slots if slot.runner.connection not in ready or slot.receive()]


class _Slot:
    """A worker with the trial that it runs, and the source of further ones."""

    def __init__(self, runner: Runner, source: Iterator[Job]) -> None:
        self.runner = runner
        self.source = source
        self.job: Job

    def begin_next(self) -> bool:
        """Start the next trial; False if there is none."""
        job = next(self.source, None)
        if job is None:
            return False
        self.job = job
        self.runner.begin(job.overrides, job.folder)
        return True

    def receive(self) -> bool:
        """Read a message; False if no trial follows the one that it ended."""
        end = self.runner.receive(self.job.on_epoch)
        if end is None:
            return True
        self.job.on_end(end)
        return self.begin_next()
