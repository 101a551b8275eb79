"""Output of a sweep: a line per trial, and at the end a table, two plots and a comparison for TensorBoard."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dlzoo.errors import visible
from dlzoo.sweep.channel import EpochReport
from dlzoo.sweep.record import Record, Trial
from dlzoo.sweep.settings import Settings
from dlzoo.utils.formatting import format_metric

MAX_ROWS = 40
"""Rows of the table on the terminal; sweep.csv has all."""


def announce(trials: Sequence[Trial], settings: Settings, folder: Path) -> None:
    """Print where the study is and how many trials are done."""
    ended = sum(trial.state != "running" for trial in trials)
    limit = "" if settings.epochs is None else f", {settings.epochs} epochs"
    done = f", {ended} are done" if ended else ""
    method = settings.sampler if settings.pruner == "none" else f"{settings.pruner}, {settings.sampler}"
    print(f"search ({method}): {settings.trials} trials{limit}{done}   {folder}", flush=True)


def show_epoch(trial: Trial, epoch: EpochReport) -> None:
    """On a terminal, print a progress line that the next one overwrites."""
    if sys.stdout.isatty():
        value = f"{epoch.metric} {format_metric(epoch.metric, epoch.value)}"
        print(f"\r\033[Ktrial {trial.number}   epoch {epoch.epoch}/{epoch.max_epochs}   {value}", end="", flush=True)


def show_trial(trial: Trial, metric: str | None) -> None:
    """Print one line for a trial that has ended."""
    if sys.stdout.isatty():
        print("\r\033[K", end="")
    overrides = visible(" ".join(override.lstrip("+") for override in trial.words), keep="")
    if trial.state == "failed":
        print(f"error: trial {trial.number} ({overrides}): {visible(trial.reason)}", file=sys.stderr, flush=True)
        return
    reached = "" if trial.value is None else f"   {metric} {format_metric(str(metric), trial.value)}"
    epochs = f"{trial.epochs} epochs" + (f", {visible(trial.reason)}" if trial.reason else "")
    print(f"trial {trial.number}   {overrides}{reached}   {epochs}   {trial.seconds:.1f} s", flush=True)


def table(record: Record) -> Table:
    """All trials, best first: hyperparameters, metrics, epochs and seconds."""
    tests = [name for name in record.metric_names if name.startswith("test/")]
    shown = Table(title="all runs", box=None, header_style="dim", title_justify="left")
    shown.add_column("")
    shown.add_column("run", overflow="fold")
    for heading in (f"best {record.metric}", *tests, "epochs", "seconds", ""):
        shown.add_column(heading, justify="right" if heading else "left", no_wrap=bool(heading))
    for trial in record.ranked()[:MAX_ROWS]:
        label = Text(
            visible(" ".join(override.lstrip("+") for override in trial.words), keep="")
        )  # rich would parse [flips,mixup] as markup
        value = format_metric(str(record.metric), trial.value)
        cells = [format_metric(name, trial.metrics.get(name)) for name in tests]
        state = "" if trial.state == "complete" else trial.state
        shown.add_row(str(trial.number), label, value, *cells, str(trial.epochs), f"{trial.seconds:.1f}", state)
    return shown


def finish(record: Record, folder: Path) -> None:
    """Print the table, write the plots, and print where the results are."""
    from dlzoo.sweep import plots, tensorboard

    width = None if sys.stdout.isatty() else 200  # no terminal to wrap for
    console = Console(highlight=False, width=width)
    console.print()
    console.print(table(record))
    if (more := len(record.trials) - MAX_ROWS) > 0:
        console.print(f"[dim]and {more} more in sweep.csv[/dim]")
    states = {
        state: sum(t.state == state for t in record.trials) for state in ("complete", "pruned", "failed", "running")
    }
    summary = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    seconds = sum(trial.seconds for trial in record.trials)
    console.print(
        f"\n[dim]{len(record.trials)} trials ({summary}), {record.num_epochs} epochs, {seconds:.0f} s of training[/dim]"
    )
    plots.draw(record, folder)
    tensorboard.write(record, folder)
    best = f"best      python scripts/best.py {folder}\n" if record.best() else ""
    print(f"\nresults   {folder}\n{best}view      tensorboard --logdir {folder}", flush=True)
