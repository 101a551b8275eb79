"""Records of trials and sweeps: ``sweep.json`` for programs, ``sweep.csv`` for people and spreadsheets."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dlzoo.checkpoint.run_paths import to_relative
from dlzoo.config import run_files
from dlzoo.errors import UserError
from dlzoo.sweep.channel import EpochReport
from dlzoo.training import results
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils import files as paths
from dlzoo.utils import untrusted

FILE = "sweep.json"

State = Literal["running", "complete", "pruned", "failed"]


RECORD: dict[str, run_files.Kind] = {
    "words": run_files.is_texts,
    "metric": run_files.is_text_or_none,
    "mode": lambda value: value in ("min", "max"),
    "trials": lambda value: isinstance(value, list),
}
"""The entries of ``sweep.json`` and the check for each."""
TRIAL: dict[str, run_files.Kind] = {
    "number": run_files.is_count,
    "words": run_files.is_texts,
    "params": lambda value: isinstance(value, dict) and all(map(run_files.is_plain, value.values())),
    "state": lambda value: isinstance(value, str),
    "value": lambda value: value is None or run_files.is_number(value),
    "best_epoch": lambda value: value is None or run_files.is_count(value),
    "epochs": run_files.is_count,
    "seconds": run_files.is_number,
    "reason": lambda value: isinstance(value, str),
    "metrics": lambda value: isinstance(value, dict) and all(map(run_files.is_number, value.values())),
    "folder": lambda value: isinstance(value, str),
    "found": run_files.is_texts,
}


@dataclass
class Trial:
    """One run of a sweep."""

    number: int
    words: list[str]
    """The overrides of this trial alone."""
    params: dict[str, Any]
    """The same as values, by hyperparameter."""
    state: State = "running"
    value: float | None = None
    """Best value of the metric over the epochs."""
    best_epoch: int | None = None
    epochs: int = 0
    """Number of epochs trained."""
    seconds: float = 0.0
    reason: str = ""
    """Why it failed or was pruned."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Validation metrics of the last epoch, and test metrics if it was tested."""
    folder: str = ""
    found: list[str] = field(default_factory=list)
    """Options that the run determined itself, such as a learning rate, as overrides that reproduce it."""

    def add(self, report: EpochReport, mode: str) -> None:
        """Record a finished epoch; a metric that is not finite makes the trial fail."""
        self.epochs = report.epoch
        if not math.isfinite(report.value):
            self.state, self.reason = "failed", f"{report.metric} is {report.value} in epoch {report.epoch}"
            return
        better = self.value is None or (report.value < self.value if mode == "min" else report.value > self.value)
        if better:
            self.value, self.best_epoch = report.value, report.epoch

    def end(self, reason: str) -> None:
        """Record the end of the run, which failed if a reason is given."""
        if reason:  # a results.json in this folder would be from an earlier run
            self.state, self.reason = "failed", reason
            return
        if self.state == "running":
            self.state = "complete"
        outcome = results.read(Path(self.folder))
        self.seconds = outcome["seconds"]["fit"]
        self.found = outcome.get("found", [])
        self.epochs = max(self.epochs, outcome["epochs"])
        self.metrics = {name: value for name, value in outcome["metrics"].items() if value is not None}


@dataclass
class Record:
    """All trials of a sweep."""

    words: list[str]
    """Flags and overrides that all trials share."""
    metric: str | None
    mode: str
    trials: list[Trial]

    def ranked(self) -> list[Trial]:
        """Trials sorted from best to worst; failed ones last."""
        sign = 1 if self.mode == "min" else -1
        return sorted(
            self.trials,
            key=lambda t: (t.state == "failed", t.value is None, sign * (t.value or 0.0), t.number),
        )

    def best(self) -> Trial | None:
        """The best trial, if any succeeded and was measured."""
        first = next(iter(self.ranked()), None)
        return first if first is not None and first.state != "failed" and first.value is not None else None

    @property
    def param_names(self) -> list[str]:
        return list(dict.fromkeys(name for trial in self.trials for name in trial.params))

    @property
    def metric_names(self) -> list[str]:
        return list(dict.fromkeys(n for t in self.trials for n in t.metrics if n.startswith(("val/", "test/"))))

    @property
    def num_failed(self) -> int:
        return sum(trial.state == "failed" for trial in self.trials)

    @property
    def num_epochs(self) -> int:
        return sum(trial.epochs for trial in self.trials)

    def write(self, folder: Path) -> None:
        """Write ``sweep.json`` and ``sweep.csv`` atomically; run folders are stored relative to the sweep's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        plain = dataclasses.asdict(self)
        for trial in plain["trials"]:
            trial["folder"] = relative_folder(trial["folder"], folder)
        paths.write(folder / FILE, (json.dumps(plain, indent=1) + "\n").encode())
        text = io.StringIO()
        writer = csv_files.Writer(text, lineterminator="\n")
        best = f"best {self.metric}"
        names = self.metric_names
        heads = ["rank", "trial", *self.param_names, best, "best epoch", "epochs", "seconds", "state", *names, "reason"]
        writer.writerow([*heads, "folder"])
        for rank, t in enumerate(self.ranked(), 1):
            params = [t.params.get(name, "") for name in self.param_names]
            measured = [t.value, t.best_epoch, t.epochs, round(t.seconds, 2), t.state, *map(t.metrics.get, names)]
            writer.writerow([rank, t.number, *params, *measured, t.reason, relative_folder(t.folder, folder)])
        paths.write(folder / "sweep.csv", text.getvalue().encode())


def read(folder: Path) -> Record:
    """Read the record of the sweep in a folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{folder} contains no {FILE}: give the folder that a sweep (python train.py -m …) printed")
    plain = run_files.mapping(untrusted.read_json(path, 4 * untrusted.MAX_BYTES), path)
    run_files.check(plain, RECORD, path)
    trials = [_trial(trial, f"trials[{i}]", path) for i, trial in enumerate(plain["trials"])]
    return Record(plain["words"], plain["metric"], plain["mode"], trials)


def _trial(plain: Any, key: str, path: Path) -> Trial:
    """One trial of a record. Its folder is resolved inside the sweep's folder, which may have been moved."""
    plain = run_files.mapping(plain, path, key)
    plain = {"found": [], **plain}  # older versions did not write it
    run_files.check(plain, TRIAL, path, f"{key}.")
    if plain["state"] not in (states := typing.get_args(State)):
        run_files.refuse(path, f"{key}.state", plain["state"], f"one of {', '.join(states)}")
    folder = absolute_folder(plain["folder"], path.parent)
    known = {field.name: plain[field.name] for field in dataclasses.fields(Trial)}
    return Trial(**known | {"folder": folder})


def check_stored(stored: dict[str, Any], path: Path, key: str) -> None:
    """Check the attributes that a study stores for a trial by the rules of `sweep.json`; absent ones are allowed."""
    run_files.check(stored, {name: TRIAL[name] for name in stored if name in TRIAL}, path, f"{key}.")


def is_decision(value: Any) -> bool:
    """Whether this is what a study holds of a trial that was or was not pruned."""
    return (
        isinstance(value, dict)
        and run_files.is_count(value.get("epoch"))
        and run_files.is_text_or_none(value.get("reason"))
        and isinstance(notes := value.get("notes"), dict)
        and all(run_files.is_number(note) for note in notes.values())
    )


def relative_folder(run: str, sweep: Path) -> str:
    """A run folder relative to the sweep's folder, which may be moved."""
    return to_relative(Path(run).resolve(), sweep.resolve()) if run else run


def absolute_folder(run: str, sweep: Path) -> str:
    """Where a run folder of the sweep is now: always inside the sweep's folder, whatever is stored."""
    folder = sweep / run
    return str(folder if run_files.is_inside(sweep, folder) else sweep / folder.name) if run else run
