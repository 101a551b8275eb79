"""Messages from a trial to the sweep that runs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

_send: Callable[[EpochReport], bool] | None = None
"""Sends a report to the sweep whose trial this process runs, and returns the reply."""


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

    @property
    def problem(self) -> str:
        """Why the trial fails: a metric that is not finite. Empty if there is none."""
        measured = ((self.metric, self.value), (self.tie_break_metric, self.tie_break))
        return next((f"{m} is {value} in epoch {self.epoch}" for m, value in measured if not math.isfinite(value)), "")


class TrialEnd(NamedTuple):
    """The end of a trial. A failure that leaves the worker usable is a mistake in the trial's overrides."""

    reason: str
    """Why it failed; empty on success."""
    ends_worker: bool = False
    """Whether the worker process must exit too, because an error or other ranks may have left state behind."""
    exit_code: int = 0
    """Of the run."""


def connect(send: Callable[[EpochReport], bool]) -> None:
    """Send all further reports by this function, which returns whether the trial must stop."""
    global _send
    _send = send


def report(epoch: EpochReport) -> bool:
    """Report an epoch to the sweep; True means that the trial must stop."""
    return _send is not None and _send(epoch)
