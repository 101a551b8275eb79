"""Runs ``dlzoo train -m …``, from the command line to the exit code."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from omegaconf import OmegaConf

from dlzoo.config import groups, run_files, stored_overrides
from dlzoo.config.allowlist import Trust
from dlzoo.config.overrides import is_given, key_of
from dlzoo.errors import UserError
from dlzoo.sweep import cluster, command_line, report, resume
from dlzoo.sweep import space as spaces
from dlzoo.sweep.channel import EpochReport, TrialEnd
from dlzoo.sweep.command_line import CommandLine
from dlzoo.sweep.record import Record, Trial
from dlzoo.sweep.runner import Job, Pool, Runner
from dlzoo.sweep.search import LOCK_OF_STUDY, Search, study_name
from dlzoo.sweep.space import Space
from dlzoo.training import metrics_table, results
from dlzoo.utils import extras, locks
from dlzoo.utils.output import quietly

MAX_IDENTICAL_ERRORS = 3
"""A search stops if this many first trials fail with the same error: the mistake is in what they share."""


class Ended(NamedTuple):
    """How a sweep ended."""

    code: int
    """0, or 2 if a trial failed."""
    folder: Path


def run(argv: Sequence[str]) -> Ended:
    """Run the sweep that the command line describes.

    Raises:
        UserError: the shared overrides are invalid; no trial has been started.
    """
    line = command_line.read(argv)
    if line.is_search:
        return search(line)
    return grid(line)


def grid(line: CommandLine) -> Ended:
    """Run every combination, in order; with resume=auto, only those that have not completed."""
    if not all(override.is_discrete_sweep() for override in line.swept):
        raise UserError("a grid cannot enumerate an interval: search it with sweep=random, tpe, hyperband or bayes")
    choices = {o.get_key_element(): o.sweep_string_iterator() for o in line.swept}
    points = [*itertools.product(*([f"{key}={value}" for value in values] for key, values in choices.items()))]
    folder = resume.grid_folder(line, points)
    with locks.locked(folder):
        own_files(folder)
        return grid_in(folder, line, points)


def grid_in(folder: Path, line: CommandLine, points: Sequence[Sequence[str]]) -> Ended:
    """Run the grid in a folder whose lock this process holds."""
    with quietly(enabled=line.is_quiet):
        record = resume.record_in(folder, line, points)
    done = {trial.number for trial in record.trials}
    waiting = [(number, point) for number, point in enumerate(points) if number not in done]
    jobs = grid_jobs(line, waiting, record, folder)
    with quietly(enabled=line.is_quiet):
        if line.launcher is not None:
            cluster.run(jobs, executor_of(line, folder), resumes=line.base.resume == "auto")
        else:
            num_workers = max(1, min(line.settings.jobs, len(waiting)))
            with Pool(num_workers) as pool:
                pool.run([jobs] * num_workers)
    record.trials.sort(key=lambda trial: trial.number)
    report.finish(record, folder)
    return Ended(2 if record.num_failed else 0, folder)


def executor_of(line: CommandLine, folder: Path) -> cluster.Executor:
    """What submits the trials of a grid as jobs of a cluster."""
    assert line.launcher is not None
    options = OmegaConf.to_container(line.base.hydra.launcher, resolve=True)
    has_own_folder = is_given("hydra.launcher.submitit_folder", line.base.hydra.overrides.hydra)
    return cluster.executor_of(line.launcher, cast("dict[str, object]", options), folder, has_own_folder=has_own_folder)


def grid_jobs(
    line: CommandLine, points: Sequence[tuple[int, Sequence[str]]], record: Record, folder: Path
) -> Iterator[Job]:
    """The combinations of a grid as jobs that add their trials to the record.

    Args:
        points: their numbers and overrides.
    """
    for number, point in points:
        params = {key.lstrip("+"): value for key, _, value in (override.partition("=") for override in point)}
        trial = Trial(number, list(point), params)
        record.trials.append(trial)
        try:
            run_folder = line.folder_of(number, point, folder)
        except UserError as error:
            end_point(trial, str(error), record, folder)
            continue
        trial.folder = str(run_folder)
        record.write(folder)

        def on_epoch(epoch: EpochReport, trial: Trial = trial) -> bool:
            if epoch.mode is not None:
                record.metric, record.mode = epoch.metric, epoch.mode
            trial.add(epoch, record.mode)
            report.show_epoch(trial, epoch)
            return trial.state == "failed"

        def on_end(end: TrialEnd, trial: Trial = trial) -> None:
            end_point(trial, end.reason, record, folder)

        yield Job(line.run_overrides(point, run_folder), run_folder, on_epoch, on_end)


def end_point(trial: Trial, reason: str, record: Record, folder: Path) -> None:
    """Record and print how a combination of a grid ended."""
    trial.end(reason)
    report.show_trial(trial, record.metric)
    record.write(folder)


def own_files(folder: Path) -> None:
    """Make sure that what is written into the folder of a sweep, which may have come from elsewhere, stays there.

    Raises:
        UserError: there is a link in it, such as the folder of a trial, that leads out.
    """
    run_files.check_links(folder, except_for=(LOCK_OF_STUDY,))
    run_files.check_pipes(folder)
    run_files.unshare(folder)


def search(line: CommandLine) -> Ended:
    """Run the requested number of trials, then train and test the winner."""
    extras.require("a search", "optuna")
    settings = line.settings
    space = space_of(line)
    metric = line.metric
    assert metric is not None
    name = study_name(settings, space, line.overrides, line.base.hydra.runtime.choices)
    folder = Path(line.base.output_dir) / "sweeps" / name
    if is_given("hydra.sweep.dir", line.overrides):
        folder = Path(line.base.hydra.sweep.dir)
    line.folder_of(0, spaces.to_overrides(space, spaces.sample(space)), folder)  # catches a misspelt key in the space
    own_files(folder)
    max_epochs, peers = line.base.trainer.get("max_epochs") or 0, set[str]()
    studies = [Search(settings, space, metric, name, folder, max_epochs, peers) for _ in range(settings.jobs)]
    study = studies[0]
    with quietly(enabled=line.is_quiet):
        report.announce(study.trials(), settings, folder)

    def record() -> Record:
        return Record(line.shared, metric, study.mode, study.trials())

    errors: list[str] = []

    def on_end(trial: Trial, error: str) -> None:
        report.show_trial(trial, metric)
        record().write(folder)
        errors.append(error)
        if len(errors) == MAX_IDENTICAL_ERRORS and len({*errors}) == 1 and errors[0]:
            raise UserError(f"the first {MAX_IDENTICAL_ERRORS} trials failed with the same error, so the search stops")

    with Pool(settings.jobs) as pool:
        with quietly(enabled=line.is_quiet):
            pool.run([search_jobs(line, worker, folder, on_end) for worker in studies])
        record().write(folder)
        study.draw(metric)
        report.finish(record(), folder)
        if settings.winner != "none":
            retrain_winner(line, study, record(), pool.runners[0], folder)
    return Ended(2 if record().num_failed else 0, folder)


def space_of(line: CommandLine) -> Space:
    """The search space: that of the files plus the command line's sweeps, minus the keys that it fixes."""
    space = spaces.from_yaml(line.settings.space) | {o.key_or_group: spaces.from_override(o) for o in line.swept}
    fixed = {key_of(override) for override in line.overrides}
    space = {name: entry for name, entry in space.items() if spaces.key_of(name, space) not in fixed}
    if not space:
        raise UserError("nothing to search: give a space, as in sweep=[tpe,mlp_mnist] or optimizer.lr=interval(…)")
    return space


def search_jobs(line: CommandLine, study: Search, folder: Path, on_end: Callable[[Trial, str], None]) -> Iterator[Job]:
    """The trials that a worker of a search claims, one after the other.

    Args:
        on_end: called with each ended trial, and the error if its overrides are invalid.
    """

    def end(trial: Trial, outcome: TrialEnd) -> None:
        trial.end(outcome.reason)
        study.tell(trial)
        on_end(trial, "" if outcome.ends_worker else outcome.reason)

    while (trial := study.claim()) is not None:
        try:
            run_folder = line.folder_of(trial.number, trial.words, folder)
        except UserError as error:
            end(trial, TrialEnd(str(error)))
            continue
        trial.folder = str(run_folder)

        def on_epoch(epoch: EpochReport, trial: Trial = trial) -> bool:
            should_continue = study.should_continue(trial, epoch)
            report.show_epoch(trial, epoch)
            return not should_continue

        overrides = [*line.run_overrides(trial.words, run_folder), "test=false"]
        yield Job(overrides, run_folder, on_epoch, functools.partial(end, trial), study.heartbeat)


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
            metrics_table.show(results.read(run_folder), run_folder)
        return
    known = groups.known_keys(line.flags)
    if stored_overrides.check(best.found, f"the study in {folder}", Trust.of(line.overrides), known) != best.found:
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

    with quietly(enabled=line.is_quiet):
        reason = runner.run(overrides, run_folder, on_epoch).reason
    if reason:
        raise UserError(f"training the winner failed: {reason}")
    study.mark_winner_done(best.number)
    metrics_table.show(results.read(run_folder), run_folder)
