"""What a trial reports to the sweep that runs it."""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import NamedTuple

_sweep: Connection | None = None
"""To the sweep whose trial this process runs."""


class Epoch(NamedTuple):
    """What a trial reports; the answer says whether it must stop."""

    epoch: int
    max_epochs: int | None
    metric: str
    mode: str | None
    """min or max; None where the sweep itself named the metric."""
    value: float


class Ended(NamedTuple):
    """The end of a trial; with a reason and a process that is not spent, it had a mistake in its words."""

    reason: str
    """Why it failed; empty if it did not."""
    is_spent: bool = False
    """Whether this process ends with it, for it may hold what an error or other ranks left."""


def connect(sweep: Connection) -> None:
    """Report to this sweep from now on."""
    global _sweep
    _sweep = sweep


def report(epoch: Epoch) -> bool:
    """Tell the sweep of an epoch; True: stop here."""
    if _sweep is None:
        return False
    _sweep.send(epoch)
    return _sweep.recv()
