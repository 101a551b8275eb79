"""Time limits for what a server can prolong forever.

The timeout of a socket starts anew with each byte, and whoever waits for the end of a line gets one now and then.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


class TookTooLong(Exception):
    """A call took longer than it may. Not a `TimeoutError`, which the system raises too, for the disk as well."""


def within(seconds: float, call: Callable[[], T]) -> T:
    """The result of a call, which is left to itself in a thread if it takes longer.

    Raises:
        TookTooLong: it takes longer.
    """
    results: queue.SimpleQueue[tuple[T, None] | tuple[None, Exception]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((call(), None))
        except Exception as error:  # for the thread that waits
            results.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = results.get(timeout=seconds)
    except queue.Empty:
        raise TookTooLong(f"no result within {seconds} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # None only if the call returned it


class Watch(threading.Thread):
    """Calls ``end`` once, if nothing is heard for ``seconds``.

    Args:
        end: makes the thread that is waiting stop; its errors are ignored, since there may be nothing left to end.
    """

    def __init__(self, seconds: float, end: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.seconds, self.end = seconds, end
        self.last = time.monotonic()
        self.is_over = threading.Event()
        self.has_expired = False

    def heard(self) -> None:
        self.last = time.monotonic()

    def run(self) -> None:
        while (left := self.last + self.seconds - time.monotonic()) > 0:
            if self.is_over.wait(left):
                return
        self.has_expired = True
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            self.end()


@contextlib.contextmanager
def watched(seconds: float, end: Callable[[], object]) -> Iterator[Watch]:
    """A `Watch` while the block runs."""
    watch = Watch(seconds, end)
    watch.start()
    try:
        yield watch
    finally:
        watch.is_over.set()
