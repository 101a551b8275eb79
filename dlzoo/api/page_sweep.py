"""The page about a sweep, for `dlzoo.commands.report`: settings, trials, figures, and how to get the winner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dlzoo.api import page_parts as page
from dlzoo.sweep import record as records
from dlzoo.sweep.record import Record, Trial, label_of
from dlzoo.sweep.report import over_seeds, tested_metrics
from dlzoo.utils.formatting import counted, format_metric

MAX_TRIALS = 1_000
"""Rows of the table of trials; sweep.csv has all."""


def of_folder(folder: Path) -> str:
    """The whole page as HTML.

    Raises:
        UserError: the record of the sweep is damaged.
    """
    record = records.read(folder)
    title = f"Sweep {folder.resolve().name}"
    parts = [
        f"<h1>{page.escape(title)}</h1>",
        f'<p class="about">{page.escape(about(record))}</p>',
        winner(record),
        settings(record),
        page.gallery(folder),
        trials(record),
    ]
    return page.document(title, parts)


def about(record: Record) -> str:
    """One line below the title."""
    failed = f", {record.num_failed} failed" if record.num_failed else ""
    shared = page.without_folders(" ".join(record.words))
    seconds = sum(trial.seconds for trial in record.trials)
    summary = f"{counted(len(record.trials), 'trial')}{failed}, {counted(record.num_epochs, 'epoch')}, {seconds:.0f} s"
    return f"{summary} of training{f'; all with {shared}' if shared else ''}"


def winner(record: Record) -> str:
    """The best trial: its metrics in large type, its overrides."""
    best = record.best()
    if best is None:
        return "<p>No trial has a validation metric, so there is no best one.</p>"
    shown = {f"best {record.metric}": (str(record.metric), best.value)}
    shown |= {name: (name, best.metrics.get(name)) for name in tested_metrics(record)}
    tiles = [page.tile(format_metric(name, value), heading) for heading, (name, value) in shown.items()]
    overrides = page.escape(label(best.words))
    command = "<code>dlzoo best</code> with this folder prints the command that reproduces it."
    return f"<h2>Best: trial {best.number}</h2>{page.tiled(tiles)}<p><code>{overrides}</code></p><p>{command}</p>"


def settings(record: Record) -> str:
    """Mean and standard deviation over the seeds of each setting; nothing if no setting is repeated."""
    if not record.has_repeats:
        return ""
    metric, tests = str(record.metric), tested_metrics(record)
    rows = [
        [
            label(setting.words),
            str(len(setting.trials)),
            over_seeds(setting, None, metric),
            *(over_seeds(setting, name, name) for name in tests),
        ]
        for setting in record.settings()
    ]
    heading = ("setting", "seeds", f"best {metric}", *tests)
    return f"<h2>Mean ± standard deviation over seeds</h2>{page.table(heading, rows)}"


def trials(record: Record) -> str:
    """All trials, best first."""
    ranked, metric, tests = record.ranked(), str(record.metric), tested_metrics(record)
    rows = [trial_row(trial, metric, tests) for trial in ranked[:MAX_TRIALS]]
    heading = ("trial", "number", f"best {metric}", "epoch", *tests, "epochs", "seconds", "state", "reason")
    more = f"<p>and {len(ranked) - MAX_TRIALS} more in sweep.csv</p>" if len(ranked) > MAX_TRIALS else ""
    return f"<h2>Trials</h2>{page.table(heading, rows)}{more}"


def trial_row(trial: Trial, metric: str, tests: Sequence[str]) -> list[str]:
    return [
        label(trial.words),
        str(trial.number),
        format_metric(metric, trial.value),
        "" if trial.best_epoch is None else str(trial.best_epoch),
        *(format_metric(name, trial.metrics.get(name)) for name in tests),
        str(trial.epochs),
        f"{trial.seconds:.1f}",
        trial.state,
        page.without_folders(trial.reason),
    ]


def label(words: Sequence[str]) -> str:
    """The overrides of a trial."""
    return page.without_folders(label_of(words))
