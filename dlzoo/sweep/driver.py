"""``python train.py -m …`` from the command line to the exit code."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from dlzoo.config import allowlist as trust
from dlzoo.config import compose as config
from dlzoo.config import run_dir as folders
from dlzoo.config.allowlist import Trust
from dlzoo.errors import UserError
from dlzoo.sweep import command_line as lines
from dlzoo.sweep import report, resume
from dlzoo.sweep import space as spaces
from dlzoo.sweep.channel import Ended, Epoch
from dlzoo.sweep.command_line import Line
from dlzoo.sweep.record import Record, Trial
from dlzoo.sweep.runner import Runner
from dlzoo.sweep.search import Search, study_name
from dlzoo.sweep.space import Space
from dlzoo.training import results
from dlzoo.utils import locks

HOPELESS = 3
"""So many first trials with the same mistake end a search: it is in what they share."""


def run(argv: Sequence[str]) -> int:
    """Do what the command line asks; exit code 0, or 2 if a trial failed.

    Raises:
        UserError: a mistake in what all trials share; nothing has been run then.
    """
    line = lines.read(argv)
    if line.is_search:
        return search(line)
    return grid(line)


def grid(line: Line) -> int:
    """Every combination, in order; with resume=auto, those that are still to do."""
    if not all(override.is_discrete_sweep() for override in line.swept):
        raise UserError("an interval has no end of values: search it with sweep=random, tpe, hyperband or bayes")
    choices = {o.get_key_element(): o.sweep_string_iterator() for o in line.swept}
    points = [*itertools.product(*([f"{key}={value}" for value in values] for key, values in choices.items()))]
    folder = resume.of_grid(line, points)
    with locks.locked(folder):
        return grid_in(folder, line, points)


def grid_in(folder: Path, line: Line, points: Sequence[Sequence[str]]) -> int:
    """The same, in a folder that no other process works in now."""
    record = resume.record_in(folder, line, points)
    done = {trial.number for trial in record.trials}
    with Runner() as runner:
        for number, point in enumerate(points):
            if number not in done:
                run_point(line, number, point, record, runner, folder)
    report.finish(record, folder)
    return 2 if record.num_failed else 0


def run_point(line: Line, number: int, point: Sequence[str], record: Record, runner: Runner, folder: Path) -> None:
    """One combination of a grid."""
    trial = Trial(number, list(point), {key.lstrip("+"): value for key, _, value in (w.partition("=") for w in point)})
    record.trials.append(trial)

    def on_epoch(epoch: Epoch) -> bool:
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
        trial.end(runner.run(line.run_words(point, run_folder), run_folder, on_epoch).reason)
    report.show_trial(trial, record.metric)
    record.write(folder)


def search(line: Line) -> int:
    """Trials until there are as many as were asked for; then the winner is trained and tested."""
    settings = line.settings
    space = space_of(line)
    metric = line.metric
    assert metric is not None
    name = study_name(settings, space, line.words, line.base.hydra.runtime.choices)
    folder = Path(line.base.output_dir) / "sweeps" / name
    if folders.is_given("hydra.sweep.dir", line.words):
        folder = Path(line.base.hydra.sweep.dir)
    line.folder_of(0, spaces.words(space, spaces.sample(space)), folder)  # a key of the space may be misspelt
    study = Search(settings, space, metric, name, folder, line.base.trainer.get("max_epochs") or 0)
    report.announce(study.trials(), settings, folder)

    def record() -> Record:
        return Record(line.shared, metric, study.mode, study.trials())

    mistakes: list[str] = []
    with Runner() as runner:
        while (trial := study.claim()) is not None:
            mistakes.append(run_trial(line, study, trial, runner, folder))
            report.show_trial(trial, metric)
            record().write(folder)
            if len(mistakes) == HOPELESS and len({*mistakes}) == 1 and mistakes[0]:
                raise UserError(f"the first {HOPELESS} trials have the same mistake, so the search ends here")
        record().write(folder)
        report.finish(record(), folder)
        if settings.winner != "none":
            retrain_winner(line, study, record(), runner, folder)
    return 2 if record().num_failed else 0


def space_of(line: Line) -> Space:
    """What is searched: the files' space, with the command line's sweeps, without what it gives a fixed value."""
    space = spaces.from_yaml(line.settings.space) | {o.key_or_group: spaces.from_override(o) for o in line.swept}
    fixed = {word.split("=")[0].lstrip("+") for word in line.words}
    space = {name: entry for name, entry in space.items() if spaces.key_of(name, space) not in fixed}
    if not space:
        raise UserError("there is nothing to search: give a space, sweep=[tpe,mlp_mnist], or optimizer.lr=interval(…)")
    return space


def run_trial(line: Line, study: Search, trial: Trial, runner: Runner, folder: Path) -> str:
    """Run what was claimed, and put it away; returns the mistake that its words hold, if there is one."""

    def on_epoch(epoch: Epoch) -> bool:
        goes_on = study.goes_on(trial, epoch)
        report.show_epoch(trial, epoch)
        return not goes_on

    try:
        run_folder = line.folder_of(trial.number, trial.words, folder)
    except UserError as error:
        ended = Ended(str(error))
    else:
        trial.folder = str(run_folder)
        words = [*line.run_words(trial.words, run_folder), "test=false"]
        ended = runner.run(words, run_folder, on_epoch, study.sign_of_life)
    trial.end(ended.reason)
    study.tell(trial)
    return "" if ended.is_spent else ended.reason


def retrain_winner(line: Line, study: Search, record: Record, runner: Runner, folder: Path) -> None:
    """Train the best trial once more, with the test at its end, in ``winner-<number>``; once for all processes."""
    best = record.best()
    if best is None:
        return
    if any(trial.state == "running" for trial in record.trials):
        print("other processes still run trials; the last to end trains and tests the winner")
        return
    run_folder = folder / f"winner-{best.number}"
    if not study.take_winner(best.number):
        print(f"the winner, trial {best.number}, was trained and tested before, or another process does it")
        if (run_folder / "results.json").is_file():
            results.show(results.read(run_folder), run_folder)
        return
    known = config.known_keys(line.flags)
    if trust.check_stored(best.found, f"the study in {folder}", Trust.of(line.words), known) != best.found:
        raise UserError(f"the study in {folder} says where the winner is to write: no sweep does")
    print(f"\ntrial {best.number} has won and is trained once more, then tested")
    words = line.run_words([*best.words, *best.found], run_folder)
    if line.settings.winner == "train_val":
        words += ["data.train_on_val=true", f"trainer.max_epochs={best.best_epoch}"]
        if "checkpoint" in (line.base.callbacks or {}):
            words.append("callbacks.checkpoint.monitor=null")  # the last one: rows that were trained on choose none

    def on_epoch(epoch: Epoch) -> bool:
        report.show_epoch(best, epoch)
        return False

    if reason := runner.run(words, run_folder, on_epoch).reason:
        raise UserError(f"the winner could not be trained: {reason}")
    study.winner_is_done(best.number)
    results.show(results.read(run_folder), run_folder)
