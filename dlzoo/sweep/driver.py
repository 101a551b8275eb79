"""Runs ``python train.py -m …``, from the command line to the exit code."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from dlzoo.config import allowlist as trust
from dlzoo.config import compose as config
from dlzoo.config import run_dir as folders
from dlzoo.config import run_files
from dlzoo.config.allowlist import Trust
from dlzoo.errors import UserError
from dlzoo.sweep import command_line, report, resume
from dlzoo.sweep import space as spaces
from dlzoo.sweep.channel import EpochReport, TrialEnd
from dlzoo.sweep.command_line import CommandLine
from dlzoo.sweep.record import Record, Trial
from dlzoo.sweep.runner import Runner
from dlzoo.sweep.search import LOCK_OF_STUDY, Search, study_name
from dlzoo.sweep.space import Space
from dlzoo.training import results
from dlzoo.utils import locks

MAX_IDENTICAL_ERRORS = 3
"""A search stops if this many first trials fail with the same error: the mistake is in what they share."""


def run(argv: Sequence[str]) -> int:
    """Run the sweep that the command line describes; exit code 0, or 2 if a trial failed.

    Raises:
        UserError: the shared overrides are invalid; no trial has been started.
    """
    line = command_line.read(argv)
    if line.is_search:
        return search(line)
    return grid(line)


def grid(line: CommandLine) -> int:
    """Run every combination, in order; with resume=auto, only those that have not completed."""
    if not all(override.is_discrete_sweep() for override in line.swept):
        raise UserError("a grid cannot enumerate an interval: search it with sweep=random, tpe, hyperband or bayes")
    choices = {o.get_key_element(): o.sweep_string_iterator() for o in line.swept}
    points = [*itertools.product(*([f"{key}={value}" for value in values] for key, values in choices.items()))]
    folder = resume.grid_folder(line, points)
    with locks.locked(folder):
        own_files(folder)
        return grid_in(folder, line, points)


def grid_in(folder: Path, line: CommandLine, points: Sequence[Sequence[str]]) -> int:
    """Run the grid in a folder whose lock this process holds."""
    record = resume.record_in(folder, line, points)
    done = {trial.number for trial in record.trials}
    with Runner() as runner:
        for number, point in enumerate(points):
            if number not in done:
                run_point(line, number, point, record, runner, folder)
    report.finish(record, folder)
    return 2 if record.num_failed else 0


def run_point(
    line: CommandLine, number: int, point: Sequence[str], record: Record, runner: Runner, folder: Path
) -> None:
    """Run one combination of a grid."""
    trial = Trial(number, list(point), {key.lstrip("+"): value for key, _, value in (w.partition("=") for w in point)})
    record.trials.append(trial)

    def on_epoch(epoch: EpochReport) -> bool:
        if epoch.mode is not None:
            record.metric, record.mode = epoch.metric, epoch.mode
        trial.add(epoch, record.mode)
        report.show_epoch(trial, epoch)
        return trial.state == "failed"

    try:
        run_folder = line.folder_of(number, point, folder)
    except UserError as error:
        trial.end(str(error))
    else:
        trial.folder = str(run_folder)
        record.write(folder)
        trial.end(runner.run(line.run_overrides(point, run_folder), run_folder, on_epoch).reason)
    report.show_trial(trial, record.metric)
    record.write(folder)


def own_files(folder: Path) -> None:
    """Make sure that what is written into the folder of a sweep, which may have come from elsewhere, stays there.

    Raises:
        UserError: there is a link in it, such as the folder of a trial, that leads out.
    """
    run_files.check_links(folder, except_for=(LOCK_OF_STUDY,))
    run_files.unshare(folder)


def search(line: CommandLine) -> int:
    """Run the requested number of trials, then train and test the winner."""
    settings = line.settings
    space = space_of(line)
    metric = line.metric
    assert metric is not None
    name = study_name(settings, space, line.overrides, line.base.hydra.runtime.choices)
    folder = Path(line.base.output_dir) / "sweeps" / name
    if folders.is_given("hydra.sweep.dir", line.overrides):
        folder = Path(line.base.hydra.sweep.dir)
    line.folder_of(0, spaces.to_overrides(space, spaces.sample(space)), folder)  # catches a misspelt key in the space
    own_files(folder)
    study = Search(settings, space, metric, name, folder, line.base.trainer.get("max_epochs") or 0)
    report.announce(study.trials(), settings, folder)

    def record() -> Record:
        return Record(line.shared, metric, study.mode, study.trials())

    errors: list[str] = []
    with Runner() as runner:
        while (trial := study.claim()) is not None:
            errors.append(run_trial(line, study, trial, runner, folder))
            report.show_trial(trial, metric)
            record().write(folder)
            if len(errors) == MAX_IDENTICAL_ERRORS and len({*errors}) == 1 and errors[0]:
                raise UserError(
                    f"the first {MAX_IDENTICAL_ERRORS} trials failed with the same error, so the search stops"
                )
        record().write(folder)
        report.finish(record(), folder)
        if settings.winner != "none":
            retrain_winner(line, study, record(), runner, folder)
    return 2 if record().num_failed else 0


def space_of(line: CommandLine) -> Space:
    """The search space: that of the files plus the command line's sweeps, minus the keys that it fixes."""
    space = spaces.from_yaml(line.settings.space) | {o.key_or_group: spaces.from_override(o) for o in line.swept}
    fixed = {override.split("=")[0].lstrip("+") for override in line.overrides}
    space = {name: entry for name, entry in space.items() if spaces.key_of(name, space) not in fixed}
    if not space:
        raise UserError("nothing to search: give a space, as in sweep=[tpe,mlp_mnist] or optimizer.lr=interval(…)")
    return space


def run_trial(line: CommandLine, study: Search, trial: Trial, runner: Runner, folder: Path) -> str:
    """Run a claimed trial and record its outcome; returns the error if its overrides are invalid."""

    def on_epoch(epoch: EpochReport) -> bool:
        should_continue = study.should_continue(trial, epoch)
        report.show_epoch(trial, epoch)
        return not should_continue

    try:
        run_folder = line.folder_of(trial.number, trial.words, folder)
    except UserError as error:
        outcome = TrialEnd(str(error))
    else:
        trial.folder = str(run_folder)
        overrides = [*line.run_overrides(trial.words, run_folder), "test=false"]
        outcome = runner.run(overrides, run_folder, on_epoch, study.heartbeat)
    trial.end(outcome.reason)
    study.tell(trial)
    return "" if outcome.ends_worker else outcome.reason


def retrain_winner(line: CommandLine, study: Search, record: Record, runner: Runner, folder: Path) -> None:
    """Retrain and test the best trial in ``winner-<number>``; only one of the processes does this."""
    best = record.best()
    if best is None:
        return
    if any(trial.state == "running" for trial in record.trials):
        print("other processes are still running trials; the last one to finish trains and tests the winner")
        return
    run_folder = folder / f"winner-{best.number}"
    if not study.claim_winner(best.number):
        print(f"the winner, trial {best.number}, has been trained and tested already, or another process is doing it")
        if (run_folder / "results.json").is_file():
            results.show(results.read(run_folder), run_folder)
        return
    known = config.known_keys(line.flags)
    if trust.check_stored(best.found, f"the study in {folder}", Trust.of(line.overrides), known) != best.found:
        raise UserError(f"the study in {folder} sets where the winner writes its output; no sweep does that")
    print(f"\ntrial {best.number} won; retraining and testing it")
    overrides = line.run_overrides([*best.words, *best.found], run_folder)
    if line.settings.winner == "train_val":
        overrides += ["data.train_on_val=true", f"trainer.max_epochs={best.best_epoch}"]
        if "checkpoint" in (line.base.callbacks or {}):
            overrides.append("callbacks.checkpoint.monitor=null")  # keep the last one: training rows must not select

    def on_epoch(epoch: EpochReport) -> bool:
        report.show_epoch(best, epoch)
        return False

    if reason := runner.run(overrides, run_folder, on_epoch).reason:
        raise UserError(f"training the winner failed: {reason}")
    study.mark_winner_done(best.number)
    results.show(results.read(run_folder), run_folder)
