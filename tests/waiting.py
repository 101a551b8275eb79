"""How tests wait for what another process does: until it is so, and with a failure where it does not come."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

LOOK_EVERY = 0.002
"""Seconds: what is waited for is often the right moment to kill something."""


def wait_for(
    condition: Callable[[], Any],
    *,
    goes_on: Callable[[], bool] = lambda: True,
    told: Callable[[], object] = lambda: "",
    seconds: float = 300,
) -> None:
    """Wait until a condition holds.

    Args:
        goes_on: whether it can still come about, as while a process runs.
        told: what to say if it does not.

    Raises:
        AssertionError: it did not come about, or took too long.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert goes_on() or condition(), f"it ended too soon: {told()}"
        assert time.monotonic() < deadline, f"waited in vain: {told()}"
        time.sleep(LOOK_EVERY)  # only between two looks: no assertion rests on its length
