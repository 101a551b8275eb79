"""Messages from a trial to the sweep that runs it."""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import NamedTuple

_sweep: Connection | None = None
"""Connection to the sweep whose trial this process runs."""


class EpochReport(NamedTuple):
    """What a trial reports after each epoch; the reply says whether it must stop."""

    epoch: int
    max_epochs: int | None
    metric: str
    mode: str | None
    """min or max; None if the sweep chose the metric itself."""
    value: float
    tie_break: float = 0.0
    """Of epochs and trials with the same value, the one with the lowest is best."""
    tie_break_metric: str = ""


class TrialEnd(NamedTuple):
    """The end of a trial. A failure that leaves the worker usable is a mistake in the trial's overrides."""

    reason: str
    """Why it failed; empty on success."""
    ends_worker: bool = False
    """Whether the worker process must exit too, because an error or other ranks may have left state behind."""


def connect(sweep: Connection) -> None:
    """Send all further reports to this sweep."""
    global _sweep
    _sweep = sweep


def report(epoch: EpochReport) -> bool:
    """Report an epoch to the sweep; True means that the trial must stop."""
    if _sweep is None:
        return False
    _sweep.send(epoch)
    return _sweep.recv()
