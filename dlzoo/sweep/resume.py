"""Which grid a command line continues: with resume=auto, the newest of the same words that has not finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dlzoo.config import run_dir as folders
from dlzoo.sweep import record
from dlzoo.sweep.command_line import Line
from dlzoo.sweep.record import Record
from dlzoo.training.resume import compared


def of_grid(line: Line, points: Sequence[Sequence[str]]) -> Path:
    """The folder of a grid: a new one, or with resume=auto that of the newest one that is not finished."""
    folder = Path(line.base.hydra.sweep.dir)
    if folders.is_given("hydra.sweep.dir", line.words):
        return folder
    if line.base.resume == "auto":
        for path in sorted(Path(line.base.output_dir).glob("multirun/*/*/"), reverse=True):
            known = known_in(path, line, points)
            if known is not None and len(known.trials) < len(points):
                return path
    return folders.claim(folder)


def record_in(folder: Path, line: Line, points: Sequence[Sequence[str]]) -> Record:
    """What is kept of a grid in this folder; with resume=auto, its trials that need not be run again."""
    known = known_in(folder, line, points) if line.base.resume == "auto" else None
    if known is not None:
        print(f"continues {folder}: {len(known.trials)} of {len(points)} trials are done", flush=True)
        return known
    metric = line.metric
    return Record(line.shared, metric, "min" if metric is None else line.settings.direction(metric), [])


def known_in(folder: Path, line: Line, points: Sequence[Sequence[str]]) -> Record | None:
    """The record of the same grid with the trials that are complete; None where there is none.

    Trials that failed are run again, and one that was stopped goes on from its last checkpoint.
    """
    if not (folder / record.FILE).is_file():
        return None
    known = record.read(folder)
    if not is_same(known, line, points):
        return None
    return replace(known, trials=[trial for trial in known.trials if trial.state == "complete"])


def is_same(known: Record, line: Line, points: Sequence[Sequence[str]]) -> bool:
    """Whether a grid's trials are those of this command line, as far as it got."""
    return compared(known.words) == compared(line.shared) and all(
        trial.number < len(points) and trial.words == [*points[trial.number]] for trial in known.trials
    )
