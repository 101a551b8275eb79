"""Which grid a command line continues: with resume=auto, the newest of the same words that has not finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dlzoo import folders
from dlzoo.resume import compared
from dlzoo.sweep import record
from dlzoo.sweep.line import Line
from dlzoo.sweep.record import Record


def of_grid(line: Line, points: Sequence[Sequence[str]]) -> tuple[Path, Record]:
    """The folder of a grid, and what is kept of those of its trials that need not be run again.

    Trials that failed are run again, and one that was stopped goes on from its last checkpoint.
    """
    folder, metric = Path(line.base.hydra.sweep.dir), line.metric
    given = folders.is_given("hydra.sweep.dir", line.words)
    new = Record(line.shared, metric, "min" if metric is None else line.settings.direction(metric), [])
    if line.base.resume != "auto":
        return folder if given else folders.claim(folder), new
    for path in [folder] if given else sorted(Path(line.base.output_dir).glob("multirun/*/*/"), reverse=True):
        if not (path / record.FILE).is_file():
            continue
        known = record.read(path)
        done = [trial for trial in known.trials if trial.state == "complete"]
        if is_same(known, line, points) and (given or len(done) < len(points)):
            print(f"continues {path}: {len(done)} of {len(points)} trials are done", flush=True)
            return path, replace(known, trials=done)
    return folder if given else folders.claim(folder), new


def is_same(known: Record, line: Line, points: Sequence[Sequence[str]]) -> bool:
    """Whether a grid's trials are those of this command line, as far as it got."""
    return compared(known.words) == compared(line.shared) and all(
        trial.number < len(points) and trial.words == [*points[trial.number]] for trial in known.trials
    )
