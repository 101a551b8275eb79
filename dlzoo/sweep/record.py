"""Records of trials and sweeps: ``sweep.json`` for programs, ``sweep.csv`` for people and spreadsheets."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dlzoo.checkpoint.run_paths import to_relative
from dlzoo.config import run_files
from dlzoo.config.overrides import check_stored_size, key_of
from dlzoo.errors import UserError
from dlzoo.sweep.channel import EpochReport
from dlzoo.sweep.space import Value
from dlzoo.training import results
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils import files as paths
from dlzoo.utils import untrusted
from dlzoo.utils.averages import deviation, mean

FILE = "sweep.json"

State = Literal["running", "complete", "pruned", "failed"]


RECORD: dict[str, run_files.Check] = {
    "words": run_files.is_list_of_str,
    "metric": run_files.is_str_or_none,
    "mode": lambda value: value in ("min", "max"),
    "trials": lambda value: isinstance(value, list),
}
"""The entries of ``sweep.json`` and the check for each."""
TRIAL: dict[str, run_files.Check] = {
    "number": run_files.is_count,
    "words": run_files.is_list_of_str,
    "params": lambda value: isinstance(value, dict) and all(map(run_files.is_scalar, value.values())),
    "state": lambda value: isinstance(value, str),
    "value": lambda value: value is None or run_files.is_number(value),
    "tie_break": lambda value: value is None or run_files.is_number(value),
    "best_epoch": lambda value: value is None or run_files.is_count(value),
    "epochs": run_files.is_count,
    "seconds": run_files.is_number,
    "reason": lambda value: isinstance(value, str),
    "metrics": lambda value: isinstance(value, dict) and all(map(run_files.is_number, value.values())),
    "folder": paths.is_path,
    "found": run_files.is_list_of_str,
}


@dataclass
class Trial:
    """One run of a sweep."""

    number: int
    words: list[str]
    """The overrides of this trial alone."""
    params: Mapping[str, Value | None]
    """The same as values, by hyperparameter."""
    state: State = "running"
    value: float | None = None
    """Best value of the metric over the epochs."""
    tie_break: float | None = None
    """Of the best epoch: among equal values the lowest is best."""
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
        if report.problem:
            self.state, self.reason = "failed", report.problem
            return
        sign = 1 if mode == "min" else -1
        reached = (sign * report.value, report.tie_break)
        if self.value is None or reached < (sign * self.value, self.tie_break or 0.0):
            self.value, self.tie_break, self.best_epoch = report.value, report.tie_break, report.epoch

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
class Setting:
    """Hyperparameters, with one trial for each seed."""

    words: list[str]
    """The overrides of its trials, without the seed."""
    trials: list[Trial]

    @property
    def measured(self) -> list[Trial]:
        """The trials that reached a value."""
        return [trial for trial in self.trials if trial.state != "failed" and trial.value is not None]

    @property
    def mean(self) -> float | None:
        """Of the metric over the seeds; None if one of them failed or has no value yet."""
        values = [trial.value for trial in self.measured if trial.value is not None]
        return mean(values) if len(values) == len(self.trials) else None

    @property
    def mean_tie_break(self) -> float:
        return mean([trial.tie_break or 0.0 for trial in self.measured] or [0.0])

    def over_seeds(self, name: str | None = None) -> tuple[float, float] | None:
        """Mean and standard deviation (0 for one seed) of a metric, or of the sweep's; None if no trial has it."""
        values = [trial.value if name is None else trial.metrics.get(name) for trial in self.measured]
        known = [value for value in values if value is not None]
        return (mean(known), deviation(known)) if known else None


def label_of(words: Sequence[str]) -> str:
    """The overrides in which a trial or a setting differs, as one text.

    >>> label_of(["net.width=64", "+data.extra=1"]), label_of([])
    ('net.width=64 data.extra=1', '(all alike)')
    """
    return " ".join(word.lstrip("+") for word in words) or "(all alike)"


def is_seed(override: str) -> bool:
    """Whether an override sets the run's seed."""
    return key_of(override) == "seed"


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
            key=lambda t: (
                t.state == "failed", t.value is None, sign * (t.value or 0.0), t.tie_break or 0.0, t.number
            ),
        )  # fmt: skip

    def settings(self) -> list[Setting]:
        """The trials that differ in ``seed`` alone, together; sorted from best to worst, failed ones last."""
        groups: dict[tuple[str, ...], list[Trial]] = {}
        for trial in self.trials:
            groups.setdefault(tuple(word for word in trial.words if not is_seed(word)), []).append(trial)
        sign = 1 if self.mode == "min" else -1
        settings = [Setting(list(words), trials) for words, trials in groups.items()]
        return sorted(
            settings,
            key=lambda s: (s.mean is None, sign * (s.mean or 0.0), s.mean_tie_break, s.trials[0].number),
        )

    @property
    def has_repeats(self) -> bool:
        """Whether trials differ in their seed alone."""
        return any(len(setting.trials) > 1 for setting in self.settings())

    def best(self) -> Trial | None:
        """The best trial, if any succeeded and was measured; with repeated seeds the first of the best setting."""
        if self.has_repeats:
            first = self.settings()[0]
            return first.measured[0] if first.measured else None
        ranked = self.ranked()
        return ranked[0] if ranked and ranked[0].state != "failed" and ranked[0].value is not None else None

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
        param_names = self.param_names
        for rank, t in enumerate(self.ranked(), 1):
            params = [t.params.get(name, "") for name in param_names]
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
        raise UserError(f"{folder} contains no {FILE}: give the folder that a sweep (dlzoo train -m …) printed")
    plain: dict[str, Any] = run_files.mapping(untrusted.read_json(path, 4 * untrusted.MAX_BYTES), path)
    run_files.check(plain, RECORD, path)
    check_stored_size(plain["words"], path)
    trials = [_trial(trial, f"trials[{i}]", path) for i, trial in enumerate(plain["trials"])]
    return Record(plain["words"], plain["metric"], plain["mode"], trials)


def _trial(plain: Any, key: str, path: Path) -> Trial:
    """One trial of a record. Its folder is resolved inside the sweep's folder, which may have been moved."""
    plain = run_files.mapping(plain, path, key)
    plain = {"found": [], "tie_break": None, **plain}  # older versions did not write these
    run_files.check(plain, TRIAL, path, f"{key}.")
    check_stored_size([*plain["words"], *plain["found"]], f"{path}: {key}")
    if plain["state"] not in (states := typing.get_args(State)):
        run_files.refuse(path, f"{key}.state", plain["state"], f"one of {', '.join(states)}")
    folder = absolute_folder(plain["folder"], path.parent)
    known = {field.name: plain[field.name] for field in dataclasses.fields(Trial)}
    return Trial(**known | {"folder": folder})


def check_stored(stored: Mapping[str, object], path: Path, key: str) -> None:
    """Check the attributes that a study stores for a trial by the rules of `sweep.json`; absent ones are allowed."""
    run_files.check(dict(stored), {name: TRIAL[name] for name in stored if name in TRIAL}, path, f"{key}.")


def is_decision(value: object) -> bool:
    """Whether this is what a study holds of a trial that was or was not pruned."""
    return (
        isinstance(value, dict)
        and run_files.is_count(value.get("epoch"))
        and run_files.is_str_or_none(value.get("reason"))
        and isinstance(notes := value.get("notes"), dict)
        and all(run_files.is_number(note) for note in notes.values())
    )


def relative_folder(run: str, sweep: Path) -> str:
    """A run folder relative to the sweep's folder, which may be moved."""
    return to_relative(os.path.realpath(run), Path(os.path.realpath(sweep))) if run else run


def absolute_folder(run: str, sweep: Path) -> str:
    """Where a run folder of the sweep is now: always inside the sweep's folder, whatever is stored."""
    if not run:
        return run
    places = (sweep / run, sweep / Path(run).name)  # the second name may be .., or that of a link
    return str(next((place for place in places if run_files.is_inside(sweep, place)), sweep))
