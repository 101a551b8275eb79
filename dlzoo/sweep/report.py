"""What a sweep says: a line for each trial, and at its end a table, two pictures and a comparison for TensorBoard."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dlzoo.errors import visible
from dlzoo.sweep.channel import Epoch
from dlzoo.sweep.record import Record, Trial
from dlzoo.sweep.settings import Settings
from dlzoo.utils.formatting import format_metric

MOST_ROWS = 40
"""Of the table on the terminal; sweep.csv has all."""


def announce(trials: Sequence[Trial], settings: Settings, folder: Path) -> None:
    """Where the study is, and what is done already."""
    ended = sum(trial.state != "running" for trial in trials)
    limit = "" if settings.epochs is None else f", {settings.epochs} epochs"
    known = f", {ended} are done" if ended else ""
    method = settings.sampler if settings.pruner == "none" else f"{settings.pruner}, {settings.sampler}"
    print(f"search ({method}): {settings.trials} trials{limit}{known}   {folder}", flush=True)


def show_epoch(trial: Trial, epoch: Epoch) -> None:
    """On a terminal, a line that the next one replaces."""
    if sys.stdout.isatty():
        value = f"{epoch.metric} {format_metric(epoch.metric, epoch.value)}"
        print(f"\r\033[Ktrial {trial.number}   epoch {epoch.epoch}/{epoch.max_epochs}   {value}", end="", flush=True)


def show_trial(trial: Trial, metric: str | None) -> None:
    """The line of a trial that has ended."""
    if sys.stdout.isatty():
        print("\r\033[K", end="")
    words = visible(" ".join(word.lstrip("+") for word in trial.words), keep="")
    if trial.state == "failed":
        print(f"error: trial {trial.number} ({words}): {visible(trial.reason)}", file=sys.stderr, flush=True)
        return
    reached = "" if trial.value is None else f"   {metric} {format_metric(str(metric), trial.value)}"
    epochs = f"{trial.epochs} epochs" + (f", {visible(trial.reason)}" if trial.reason else "")
    print(f"trial {trial.number}   {words}{reached}   {epochs}   {trial.seconds:.1f} s", flush=True)


def table(record: Record) -> Table:
    """The best first: what was chosen, what was reached, what it cost."""
    tests = [name for name in record.metric_names if name.startswith("test/")]
    shown = Table(title="all runs", box=None, header_style="dim", title_justify="left")
    shown.add_column("")
    shown.add_column("run", overflow="fold")
    for heading in (f"best {record.metric}", *tests, "epochs", "seconds", ""):
        shown.add_column(heading, justify="right" if heading else "left", no_wrap=bool(heading))
    for trial in record.ranked()[:MOST_ROWS]:
        label = Text(
            visible(" ".join(word.lstrip("+") for word in trial.words), keep="")
        )  # rich would take [flips,mixup] for markup
        value = format_metric(str(record.metric), trial.value)
        cells = [format_metric(name, trial.metrics.get(name)) for name in tests]
        state = "" if trial.state == "complete" else trial.state
        shown.add_row(str(trial.number), label, value, *cells, str(trial.epochs), f"{trial.seconds:.1f}", state)
    return shown


def finish(record: Record, folder: Path) -> None:
    """Table, pictures, and where all is."""
    from dlzoo.sweep import plots as pictures
    from dlzoo.sweep import tensorboard

    width = None if sys.stdout.isatty() else 200  # a file has no edge
    console = Console(highlight=False, width=width)
    console.print()
    console.print(table(record))
    if (more := len(record.trials) - MOST_ROWS) > 0:
        console.print(f"[dim]and {more} more in sweep.csv[/dim]")
    states = {
        state: sum(t.state == state for t in record.trials) for state in ("complete", "pruned", "failed", "running")
    }
    told = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    seconds = sum(trial.seconds for trial in record.trials)
    console.print(
        f"\n[dim]{len(record.trials)} trials ({told}), {record.num_epochs} epochs, {seconds:.0f} s of training[/dim]"
    )
    pictures.draw(record, folder)
    tensorboard.write(record, folder)
    best = f"best      python scripts/best.py {folder}\n" if record.best() else ""
    print(f"\nresults   {folder}\n{best}look      tensorboard --logdir {folder}", flush=True)
