"""One process at a time in a run folder, or in the folder of a grid.

The lock is the operating system's: it goes with its process, however that ends, so none is ever stale. On a network
file system it holds between machines where the server keeps locks, as NFS from version 4 on does; where there are none,
a warning says so.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock

from dlzoo.errors import UserError

NAME = ".lock"
"""The file in the folder; it is removed with the lock."""
PATIENCE = 8.0
"""Seconds to wait: processes that read data outlive a killed run for some, and hold its lock as well."""

Lock = filelock.BaseFileLock


def lock(folder: Path) -> Lock | None:
    """Take the lock of a folder; None where the file system has no locks.

    Raises:
        UserError: another process has it.
    """
    taken = filelock.FileLock(folder / NAME)
    try:
        taken.acquire(timeout=PATIENCE, poll_interval=0.1)
    except filelock.Timeout:
        raise UserError(
            f"{folder}: another process trains in this folder, and two would mix what they write; wait until it ends, "
            "or give this one another folder, hydra.run.dir=… or output_dir=…"
        ) from None
    except NotImplementedError:
        print(f"warning: {folder} is on a file system without locks: start no other run in it", file=sys.stderr)
        return None
    return taken


def unlock(taken: Lock | None) -> None:
    if taken is not None:
        with contextlib.suppress(OSError):
            Path(taken.lock_file).unlink(missing_ok=True)  # who waits for it sees that the name is gone
        taken.release()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    taken = lock(folder)
    try:
        yield
    finally:
        unlock(taken)
