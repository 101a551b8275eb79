"""Locks that let only one process at a time use a run folder or the folder of a grid.

The operating system holds the lock and releases it when the process ends for any reason, so it is never stale. On a
network file system it works across machines if the server supports locks, as NFS does since version 4; without support,
a warning is printed.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock

from dlzoo.errors import UserError, visible

NAME = ".lock"
"""Name of the lock file in the folder; it is deleted on release."""
TIMEOUT = 8.0
"""Seconds to wait, since data-loading workers briefly outlive a killed run and still hold its lock."""

Lock = filelock.BaseFileLock


def lock(folder: Path, name: str = NAME, timeout: float = TIMEOUT) -> Lock | None:
    """Acquire the lock of a folder; None if the file system does not support locks.

    Args:
        name: of the lock file.
        timeout: in seconds.

    Raises:
        UserError: another process holds it, or there is something else of its name.
    """
    acquired = filelock.FileLock(folder / name)
    try:
        acquired.acquire(timeout=timeout, poll_interval=0.1)
    except filelock.Timeout:
        raise UserError(
            f"{folder}: another process is training in this folder, and two would mix their output; wait until it "
            "finishes, or choose another folder with hydra.run.dir=… or output_dir=…"
        ) from None
    except OSError as error:
        if not os.path.lexists(folder / name):  # the folder may not be written to
            raise
        raise UserError(f"{folder / name} cannot be used as a lock ({error.strerror}): remove it") from None
    except NotImplementedError:
        print(
            f"warning: {visible(folder)} is on a file system without locks: do not start another run in it",
            file=sys.stderr,
        )
        return None
    return acquired


def unlock(acquired: Lock | None) -> None:
    if acquired is not None:
        with contextlib.suppress(OSError):
            Path(acquired.lock_file).unlink(missing_ok=True)  # a waiting process notices that the file is gone
        acquired.release()


def is_held(folder: Path, name: str = NAME) -> bool:
    """Whether another process holds the lock of a folder; a lock file that a killed process left is removed."""
    path = folder / name
    if path.is_symlink() or not path.is_file():
        return False
    probe = filelock.FileLock(path)
    try:
        probe.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except (OSError, NotImplementedError):  # a folder that may not be written to, or without locks
        return False
    unlock(probe)
    return False


@contextlib.contextmanager
def locked(folder: Path, name: str = NAME, timeout: float = TIMEOUT) -> Iterator[None]:
    """Hold the lock of a folder, which is created if missing; see `lock`."""
    folder.mkdir(parents=True, exist_ok=True)
    acquired = lock(folder, name, timeout)
    try:
        yield
    finally:
        unlock(acquired)
