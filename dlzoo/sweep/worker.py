"""The worker process, which runs trials one after another and so pays for imports and start-up only once.

Each trial runs as ``dlzoo train <overrides>`` would, with its own folder; its output goes to ``log.txt`` there.
Lightning launches the other ranks of a distributed run from ``sys.argv``, which holds the trial's overrides, so no rank
ever starts the sweep again.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from dlzoo.sweep import channel
from dlzoo.sweep.channel import EpochReport, TrialEnd
from dlzoo.utils.files import open_text


def serve(sweep: Connection, num_threads: int | None = None) -> None:
    """Run the trials that the sweep sends, until it closes the connection.

    Args:
        num_threads: of PyTorch, unless the environment sets them; None leaves them to it.
    """

    def ask(epoch: EpochReport) -> bool:
        sweep.send(epoch)
        return sweep.recv()

    channel.connect(ask)
    if num_threads is not None:
        os.environ.setdefault("OMP_NUM_THREADS", f"{num_threads}")  # torch is imported with the first trial
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep handles Ctrl-C
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError):
        while True:
            overrides, folder = sweep.recv()
            outcome = run(overrides, folder)
            sweep.send(outcome)
            if outcome.ends_worker:
                return
            gc.collect()


def run(overrides: Sequence[str], folder: Path) -> TrialEnd:
    """Run one trial, with its output in ``<folder>/log.txt``."""
    from dlzoo.training import launch

    folder.mkdir(parents=True, exist_ok=True)
    sys.argv[1:] = overrides
    port = os.environ.get("MASTER_PORT")
    with _redirect_output(folder / "log.txt"):
        try:
            code, reason = launch.attempt(launch.run_command)
        except BaseException as error:
            traceback.print_exc()
            return TrialEnd(" ".join(f"{type(error).__name__}: {error}".split())[:300], True, 1)
    had_ranks = os.environ.get("MASTER_PORT") != port  # Lightning launches ranks only once per process
    return TrialEnd("" if code == 0 else " ".join(reason.split()), had_ranks, code)


def _exit_with_parent() -> None:
    """A killed sweep must not leave a trial training."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


@contextlib.contextmanager
def _redirect_output(path: Path) -> Iterator[None]:
    """Redirect stdout and stderr, including those of libraries and other ranks, into a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    try:
        with open_text(path, "a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, old in zip((1, 2), saved, strict=True):
            os.dup2(old, stream)
            os.close(old)
