"""How many processes a run may start: options come from files and checkpoints too."""

from __future__ import annotations

import os

from dlzoo.errors import UserError, short

MOST_PROCESSES = 4
"""Of a kind, for each processor: one process for each device, of which Lightning takes any number on the CPU, and the
workers of each that read data."""


def check_processes(key: str, given: object) -> None:
    """`UserError` where an option would start far more processes than the machine could serve.

    Args:
        given: a number, also as text, or a list with an item for each process; anything else is for others to judge.
    """
    asked = len(given) if isinstance(given, list) else given
    if isinstance(asked, str) and asked.strip().isdecimal():
        asked = int(asked.strip()[:18])  # Python refuses to read thousands of digits
    most = MOST_PROCESSES * max(os.cpu_count() or 1, 4)
    if isinstance(asked, int) and asked > most:
        raise UserError(f"{key}={short(given)}: {asked:,} processes are more than this machine's {most}")


def num_processors() -> int:
    """Processors available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
