"""The reports of a trial that runs as a job of a cluster: lines of JSON in its folder, for it has no connection to the
sweep, and may outlive it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from dlzoo.config import run_files
from dlzoo.sweep.channel import EpochReport, TrialEnd
from dlzoo.training import results
from dlzoo.utils import untrusted
from dlzoo.utils.files import open_text

FILE = "trial.jsonl"

EPOCH: dict[str, run_files.Check] = {
    "epoch": run_files.is_count,
    "max_epochs": lambda value: value is None or type(value) is int,
    "metric": lambda value: isinstance(value, str),
    "mode": lambda value: value in ("min", "max", None),
    "value": lambda value: isinstance(value, float),
    "tie_break": lambda value: isinstance(value, float),
    "tie_break_metric": lambda value: isinstance(value, str),
}
"""The entries of a report and the check for each."""
END: dict[str, run_files.Check] = {"reason": lambda value: isinstance(value, str)}
"""Likewise of the last line of a trial that has ended."""


def append(folder: Path, message: EpochReport | TrialEnd) -> None:
    content = message._asdict() if isinstance(message, EpochReport) else {"reason": message.reason}
    with open_text(folder / FILE, "a") as file:
        file.write(json.dumps(content) + "\n")


def clear(folder: Path) -> None:
    (folder / FILE).unlink(missing_ok=True)


def state(folder: Path) -> Literal["unfinished", "complete", "failed"]:
    """How far the trial in a folder has come.

    Raises:
        UserError: a file is not what a trial writes.
    """
    ends = [message for message in Reader(folder).new() if isinstance(message, TrialEnd)]
    if not ends:
        return "unfinished"
    return "complete" if not ends[-1].reason and results.are_complete(results.read(folder)) else "failed"


class Reader:
    """Reads the reports in a folder, to which a trial may still add."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.num_read = 0
        """Characters of the lines that have been read."""

    def new(self) -> Iterator[EpochReport | TrialEnd]:
        """The reports since the last call.

        Raises:
            UserError: a line is not what a trial writes.
        """
        path = run_files.find(self.folder, FILE)
        if path is None:
            return
        *lines, _ = untrusted.read_text(path)[self.num_read :].split("\n")  # the last one may be being written
        for line in lines:
            self.num_read += len(line) + 1
            content = run_files.mapping(untrusted.parse_json(line, path), path)
            is_end = "reason" in content
            run_files.check(content, END if is_end else EPOCH, path)
            kind = TrialEnd if is_end else EpochReport
            yield kind(**{name: content[name] for name in (END if is_end else EPOCH)})  # type: ignore[arg-type]
