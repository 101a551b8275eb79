"""The process in which trials run, one after the other: imports and start-up, seconds each, are paid once.

Each trial is the command ``python train.py <words>`` as if typed, with a folder of its own; what it prints goes into
``log.txt`` there. Lightning starts the further ranks of a distributed run by ``sys.argv``, which holds the words of the
trial, so no rank ever starts the sweep again.
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
from dlzoo.sweep.channel import Ended


def serve(sweep: Connection) -> None:
    """Run what the sweep sends, until it closes the connection."""
    channel.connect(sweep)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sweep's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError):
        while True:
            words, folder = sweep.recv()
            ended = run(words, folder)
            sweep.send(ended)
            if ended.is_spent:
                return
            gc.collect()


def run(words: Sequence[str], folder: Path) -> Ended:
    """One trial, with its output in ``<folder>/log.txt``."""
    from dlzoo.training import launch

    folder.mkdir(parents=True, exist_ok=True)
    sys.argv[1:] = words
    port = os.environ.get("MASTER_PORT")
    with _printing_to(folder / "log.txt"):
        try:
            launch.main()
        except SystemExit as left:
            code = left.code
        except BaseException as error:
            traceback.print_exc()
            return Ended(" ".join(f"{type(error).__name__}: {error}".split())[:300], True)
    had_ranks = os.environ.get("MASTER_PORT") != port  # Lightning starts ranks only once in a process
    reason = " ".join(launch.FAILED[-1].split()) if launch.FAILED else f"exit code {code}"
    return Ended("" if code == 0 else reason, had_ranks)


def _end_with_parent() -> None:
    """A sweep that was killed must not leave a trial that trains on."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


@contextlib.contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Both output streams, also those of libraries and of further ranks, go into a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    try:
        with path.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, old in zip((1, 2), kept, strict=True):
            os.dup2(old, stream)
            os.close(old)
