"""Has trials run in another process, and starts a new one when that dies: a crash ends a trial, not the sweep."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from dlzoo.sweep import worker
from dlzoo.sweep.channel import Ended, Epoch

SIGN_OF_LIFE = 30.0
"""Seconds between two calls of ``on_wait``."""

PATIENCE = 20.0
"""Seconds that a process may take to end by itself."""


class Runner:
    """``with Runner() as runner: runner.run(words, folder, …)``; the process starts with the first trial.

    Ctrl-C ends it even if it comes while a destructor runs, from which Python lets no `KeyboardInterrupt` out.
    """

    def __init__(self) -> None:
        self._process: multiprocessing.process.BaseProcess | None = None
        self._is_interrupted = False
        self._before: Any = None

    def __enter__(self) -> Runner:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        self._stop()
        if kind is None:
            self._obey()

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        self._is_interrupted = True
        raise KeyboardInterrupt

    def _obey(self) -> None:
        if self._is_interrupted:
            raise KeyboardInterrupt

    def run(
        self,
        words: Sequence[str],
        folder: Path,
        on_epoch: Callable[[Epoch], bool],
        on_wait: Callable[[], None] = lambda: None,
    ) -> Ended:
        """Run a trial; says how it ended.

        Args:
            words: of the command line ``python train.py <words>``.
            folder: where its output goes.
            on_epoch: says whether the trial must stop.
            on_wait: called now and then while the trial is silent.
        """
        self._obey()
        self._start()
        try:
            self._connection.send((list(words), folder))
            while True:
                self._obey()
                if not self._connection.poll(SIGN_OF_LIFE):
                    on_wait()
                    continue
                message = self._connection.recv()
                if isinstance(message, Ended):
                    if message.is_spent:
                        self._process.join(PATIENCE)  # type: ignore[union-attr]  # further ranks end with it
                        self._stop()
                    return message
                self._connection.send(on_epoch(message))
        except (EOFError, ConnectionError):
            return self._died()

    def _start(self) -> None:
        if self._process is not None and self._process.is_alive():
            return
        context = multiprocessing.get_context("spawn")  # a fork would take half of torch's threads along
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=worker.serve, args=(theirs,))
        self._process.start()
        theirs.close()  # so that its death is the end of the connection

    def _died(self) -> Ended:
        assert self._process is not None
        self._process.join()
        code, self._process = self._process.exitcode, None
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = "; perhaps memory ran out" if name == "SIGKILL" else ""
            return Ended(f"the process was ended by {name}{hint}", True)
        return Ended(f"the process ended with exit code {code}", True)

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
