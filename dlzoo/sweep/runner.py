"""Runs trials in a worker process and restarts it when it dies: a crash ends one trial, not the sweep."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from dlzoo.sweep import worker
from dlzoo.sweep.channel import EpochReport, TrialEnd

HEARTBEAT_INTERVAL = 30.0
"""Seconds between calls of ``on_wait``."""

EXIT_TIMEOUT = 20.0
"""Seconds that the worker may take to exit by itself."""


class Runner:
    """``with Runner() as runner: runner.run(overrides, folder, …)``; the worker starts with the first trial.

    Ctrl-C stops it even during a destructor, where Python swallows `KeyboardInterrupt`.
    """

    def __init__(self) -> None:
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
            self._raise_if_interrupted()

    def _on_sigint(self, signum: int, frame: FrameType | None) -> None:
        self._is_interrupted = True
        raise KeyboardInterrupt

    def _raise_if_interrupted(self) -> None:
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
            overrides: arguments of ``python train.py``.
            folder: where its output goes.
            on_epoch: returns whether the trial must stop.
            on_wait: called every `HEARTBEAT_INTERVAL` seconds while the trial sends nothing.
        """
        self._raise_if_interrupted()
        self._start()
        try:
            self._connection.send((list(overrides), folder))
            while True:
                self._raise_if_interrupted()
                if not self._connection.poll(HEARTBEAT_INTERVAL):
                    on_wait()
                    continue
                message = self._connection.recv()
                if isinstance(message, TrialEnd):
                    if message.ends_worker:
                        self._process.join(EXIT_TIMEOUT)  # type: ignore[union-attr]  # other ranks exit with it
                        self._stop()
                    return message
                self._connection.send(on_epoch(message))
        except (EOFError, ConnectionError):
            return self._worker_died()

    def _start(self) -> None:
        if self._process is not None and self._process.is_alive():
            return
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self._connection, child_end = context.Pipe()
        self._process = context.Process(target=worker.serve, args=(child_end,))
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
