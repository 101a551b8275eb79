"""Output of a sweep: a line per trial, and at the end a table, two plots and a comparison for TensorBoard."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dlzoo.errors import visible
from dlzoo.sweep.channel import EpochReport
from dlzoo.sweep.record import Record, Setting, Trial, label_of
from dlzoo.sweep.settings import Settings
from dlzoo.utils.averages import mean
from dlzoo.utils.formatting import counted, format_metric
from dlzoo.utils.output import terminal_width

MAX_ROWS = 40
"""Rows of the table on the terminal; sweep.csv has all."""
MIN_LABEL = 30
"""Characters that are left to the overrides of a trial, as far as they need them."""


def announce(trials: Sequence[Trial], settings: Settings, folder: Path) -> None:
    """Print where the study is and how many trials are done."""
    ended = sum(trial.state != "running" for trial in trials)
    limit = "" if settings.epochs is None else f", {settings.epochs} epochs"
    done = f", {ended} are done" if ended else ""
    method = settings.sampler if settings.pruner == "none" else f"{settings.pruner}, {settings.sampler}"
    print(f"search ({method}): {settings.trials} trials{limit}{done}   {visible(folder)}", flush=True)


def show_epoch(trial: Trial, epoch: EpochReport) -> None:
    """On a terminal, print a progress line that the next one overwrites."""
    if sys.stdout.isatty():
        value = f"{visible(epoch.metric, keep='')} {format_metric(epoch.metric, epoch.value)}"
        print(f"\r\033[Ktrial {trial.number}   epoch {epoch.epoch}/{epoch.max_epochs}   {value}", end="", flush=True)


def show_trial(trial: Trial, metric: str | None) -> None:
    """Print one line for a trial that has ended."""
    if sys.stdout.isatty():
        print("\r\033[K", end="")
    overrides = visible(" ".join(override.lstrip("+") for override in trial.words), keep="")
    if trial.state == "failed":
        print(f"error: trial {trial.number} ({overrides}): {visible(trial.reason)}", file=sys.stderr, flush=True)
        return
    reached = "" if trial.value is None else f"   {visible(metric)} {format_metric(str(metric), trial.value)}"
    epochs = counted(trial.epochs, "epoch") + (f", {visible(trial.reason)}" if trial.reason else "")
    print(f"trial {trial.number}   {overrides}{reached}   {epochs}   {trial.seconds:.1f} s", flush=True)


def table(record: Record, width: int) -> Table:
    """All trials, best first: hyperparameters, metrics, epochs and seconds.

    Args:
        width: characters of a line; the last test metrics are left out where there is no space.
    """
    trials = record.ranked()[:MAX_ROWS]
    metric = str(record.metric)
    labels = {"": [Text(str(t.number)) for t in trials], "run": [_label(t.words) for t in trials]}
    tests = {name: [format_metric(name, t.metrics.get(name)) for t in trials] for name in tested_metrics(record)}
    best = {f"best {metric}": [format_metric(metric, trial.value) for trial in trials]}
    others = {
        "epochs": [str(trial.epochs) for trial in trials],
        "seconds": [f"{trial.seconds:.1f}" for trial in trials],
        "": ["" if trial.state == "complete" else trial.state for trial in trials],
    }
    return _table("all runs", labels, best, tests, others, width)


def settings_table(record: Record, width: int) -> Table:
    """Settings, best first: mean and standard deviation of the metrics over their seeds.

    Args:
        width: see `table`.
    """
    settings = record.settings()[:MAX_ROWS]
    metric = str(record.metric)
    failed = [len(setting.trials) - len(setting.measured) for setting in settings]
    first = {
        "seeds": [str(len(setting.trials)) for setting in settings],
        f"best {metric}": [over_seeds(setting, None, metric) for setting in settings],
    }
    tests = {name: [over_seeds(setting, name, name) for setting in settings] for name in tested_metrics(record)}
    others = {
        "seconds": [f"{mean([trial.seconds for trial in setting.trials]):.1f}" for setting in settings],
        "": [f"{num} failed" if num else "" for num in failed],
    }
    labels = {"setting": [_label(setting.words) for setting in settings]}
    return _table("mean ± standard deviation over seeds", labels, first, tests, others, width)


def tested_metrics(record: Record) -> list[str]:
    """The test metrics, that by which trials are compared first."""
    names = [name for name in record.metric_names if name.startswith("test/")]
    compared = f"test/{str(record.metric).partition('/')[2]}"
    return sorted(names, key=lambda name: name != compared)


Cells = Mapping[str, Sequence[str]]
"""Columns of a table, by heading."""


def _table(
    title: str, labels: Mapping[str, Sequence[Text]], first: Cells, optional: Cells, last: Cells, width: int
) -> Table:
    """Columns of texts, which are folded, then of numbers; their headings may come from a stranger's record.

    Args:
        optional: columns that are left out from the first for which there is no space.
        width: characters of a line.
    """
    last = {heading: cells for heading, cells in last.items() if any(cells)}
    names = max((cells.cell_len for column in labels.values() for cells in column), default=0)
    room = width - _characters(first) - _characters(last) - min(names, MIN_LABEL) - 4 - 2 * len(labels)
    shown: dict[str, Sequence[str]] = {}
    for heading, cells in optional.items():
        if _characters(shown | {heading: cells}) > room:
            break
        shown[heading] = cells
    numbers = {**first, **shown, **last}
    lines = Table(title=title, box=None, header_style="dim", title_justify="left", caption_justify="left")
    if len(shown) < len(optional):
        lines.caption = "sweep.csv has all metrics"
    for heading in labels:
        lines.add_column(heading, overflow="fold")
    for heading in numbers:
        text = escape(visible(heading, keep=""))
        lines.add_column(text, justify="right" if heading else "left", no_wrap=bool(heading))
    for row in zip(*labels.values(), *numbers.values(), strict=True):
        lines.add_row(*row)
    return lines


def _characters(columns: Cells) -> int:
    """The width of columns, with a blank on both sides of each."""
    return sum(max(map(len, (visible(heading, keep=""), *cells))) + 2 for heading, cells in columns.items())


def _label(words: Sequence[str]) -> Text:
    """Overrides as text: rich would parse [flips,mixup] as markup."""
    return Text(visible(label_of(words), keep=""))


def over_seeds(setting: Setting, name: str | None, shown_as: str) -> str:
    """Mean and standard deviation of a metric over the seeds of a setting, as text.

    Args:
        name: of the metric; None for the best value of the metric that the trials are compared by.
        shown_as: the name by which the value is formatted.
    """
    spread = setting.over_seeds(name)
    if spread is None:
        return "-"
    mean, deviation = (format_metric(shown_as, value) for value in spread)
    return f"{mean.removesuffix('%')} ± {deviation}"


def finish(record: Record, folder: Path) -> None:
    """Print the table, write the plots, and print where the results are."""
    from dlzoo.sweep import plots, tensorboard

    width = terminal_width(otherwise=200)  # without a terminal there is nothing to wrap for
    console = Console(highlight=False, width=width)
    console.print()
    has_repeats = record.has_repeats
    console.print(settings_table(record, width) if has_repeats else table(record, width))
    if (more := len(record.settings() if has_repeats else record.trials) - MAX_ROWS) > 0:
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
    shown = visible(folder)
    best = f"best      dlzoo best {shown}\n" if record.best() else ""
    print(f"\nresults   {shown}\n{best}view      tensorboard --logdir {shown}", flush=True)
