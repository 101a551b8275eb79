"""Finds the grid that a command line resumes: with resume=auto, the newest unfinished one with the same overrides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dlzoo.config import run_dir as folders
from dlzoo.config.overrides import is_given
from dlzoo.errors import visible
from dlzoo.sweep import record
from dlzoo.sweep.command_line import CommandLine
from dlzoo.sweep.record import Record
from dlzoo.training.resume import comparable


def grid_folder(line: CommandLine, points: Sequence[Sequence[str]]) -> Path:
    """The folder of a grid: a new one, or with resume=auto that of the newest unfinished one."""
    folder = Path(line.base.hydra.sweep.dir)
    if is_given("hydra.sweep.dir", line.overrides):
        return folder
    if line.base.resume == "auto":
        for path in sorted(Path(line.base.output_dir).glob("multirun/*/*/"), reverse=True):
            stored = stored_record(path, line, points)
            if stored is not None and len(stored.trials) < len(points):
                return path
    return folders.claim(folder)


def record_in(folder: Path, line: CommandLine, points: Sequence[Sequence[str]]) -> Record:
    """The record of a grid in this folder; with resume=auto, it starts with the completed trials."""
    stored = stored_record(folder, line, points) if line.base.resume == "auto" else None
    if stored is not None:
        print(f"resuming {visible(folder)}: {len(stored.trials)} of {len(points)} trials are done", flush=True)
        return stored
    metric = line.metric
    return Record(line.shared, metric, "min" if metric is None else line.settings.direction(metric), [])


def stored_record(folder: Path, line: CommandLine, points: Sequence[Sequence[str]]) -> Record | None:
    """The record of the same grid with its completed trials; None if there is none.

    Failed trials are run again, and an interrupted one resumes from its last checkpoint.
    """
    if not (folder / record.FILE).is_file():
        return None
    stored = record.read(folder)
    if not is_same(stored, line, points):
        return None
    return replace(stored, trials=[trial for trial in stored.trials if trial.state == "complete"])


def is_same(stored: Record, line: CommandLine, points: Sequence[Sequence[str]]) -> bool:
    """Whether the trials that a grid has recorded so far are those of this command line."""
    return comparable(stored.words) == comparable(line.shared) and all(
        trial.number < len(points) and trial.words == [*points[trial.number]] for trial in stored.trials
    )
