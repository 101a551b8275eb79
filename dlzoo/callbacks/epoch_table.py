"""The table that a run prints while it trains: a header once, then a line for each epoch."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from dlzoo.callbacks.metrics_csv import Row
from dlzoo.utils.formatting import fitted, format_metric, is_fraction

GAP = 2
"""Blanks between columns."""
MIN_WIDTH = 8
"""Characters of a column of metrics: any number fits, see `fitted`."""


class Column(NamedTuple):
    """A metric and the characters of its column."""

    metric: str
    width: int


class EpochTable:
    """Lines of at most ``width`` characters; metrics for which there is no space are named below the header.

    A metric that is measured for the first time in a later epoch, such as those of a validation every second epoch,
    gives a new header.

    Args:
        max_epochs: None or -1 if their number is unlimited.
        monitor: the metric that is shown first after the losses.
        width: characters of a line.
    """

    def __init__(self, max_epochs: int | None, monitor: str, width: int) -> None:
        self.max_epochs = max_epochs
        self.monitor = monitor
        self.width = width
        self.metrics: list[str] = []
        """Those of the columns, and those for which there was no space."""
        self.columns: list[Column] = []
        self.first = max(len("epoch"), len(epoch_text(1, max_epochs)))
        """Characters of the column of epochs."""

    def lines(self, row: Row) -> list[str]:
        """The line of an epoch, below a header if there are new metrics."""
        metrics = shown_metrics(row, self.monitor)
        has_validation = any(name.startswith("val/") for name in self.metrics)
        is_validated = any(name.startswith("val/") for name in metrics)
        header: list[str] = []
        if not self.metrics or (not {*metrics} <= {*self.metrics} and is_validated >= has_validation):
            header = self._begin(metrics)
        cells = [f"{_cell(name, row.get(name), width):>{width}}" for name, width in self.columns]
        epoch = f"{epoch_text(int(row['epoch']), self.max_epochs):>{self.first}}"
        return [*header, _joined([epoch, *cells, f"{row['seconds']:7.1f}"])]

    def _begin(self, metrics: list[str]) -> list[str]:
        """Choose the columns that fit; returns the header."""
        self.metrics = metrics
        room = self.width - self.first - GAP - len("seconds")
        choices = (columns_of(metrics[:num]) for num in range(len(metrics), -1, -1))
        self.columns = next(columns for columns in choices if sum(c.width + GAP for c in columns) <= room)
        num = len(self.columns)
        omitted = f"(no space for {', '.join(metrics[num:])})" if num < len(metrics) else ""
        note = textwrap.wrap(omitted, self.width, break_on_hyphens=False)
        return [self._group_line(), self._name_line(), *note]

    def _group_line(self) -> str:
        """The groups, each with a rule over its columns if they are several."""
        parts = [" " * self.first]
        for group, members in itertools.groupby(self.columns, key=lambda column: _group(column.metric)):
            columns = [*members]
            span = _span(columns)
            is_ruled = len(columns) > 1 and len(group) + 1 < span
            parts.append(f"{group} {'-' * (span - len(group) - 1)}" if is_ruled else f"{group:>{span}}")
        return _joined(parts)

    def _name_line(self) -> str:
        names = [f"{_name(metric):>{width}}" for metric, width in self.columns]
        return _joined([f"{'epoch':>{self.first}}", *names, "seconds"])


def columns_of(metrics: Sequence[str]) -> list[Column]:
    """Columns for metrics that are sorted by group, wide enough for their names and for those of their groups.

    >>> columns_of(["train/loss", "val/loss", "val/accuracy"])
    [Column(metric='train/loss', width=8), Column(metric='val/loss', width=8), Column(metric='val/accuracy', width=8)]
    """
    columns: list[Column] = []
    for group, members in itertools.groupby(metrics, key=_group):
        new = [Column(metric, max(MIN_WIDTH, len(_name(metric)))) for metric in members]
        new[0] = Column(new[0].metric, new[0].width + max(0, len(group) - _span(new)))
        columns += new
    return columns


def shown_metrics(row: Row, monitor: str) -> list[str]:
    """The training loss and all validation metrics, or all training metrics if there was no validation.

    They are sorted by group, ``val`` before ``val/main``, and in each the loss and the monitored metric come first.
    """
    measured = [name for name in row if name.startswith("val/")] or [name for name in row if name.startswith("train/")]
    names = [name for name in measured if name != "train/loss" and not name.endswith(("return_min", "return_max"))]
    order = [*dict.fromkeys(map(_group, names))]
    order.sort(key=lambda group: ("/" in group, not monitor.startswith(f"{group}/")))
    names.sort(key=lambda name: (order.index(_group(name)), _name(name) != "loss", name != monitor))
    return [*(["train/loss"] if "train/loss" in row else []), *names]


def epoch_text(epoch: int, max_epochs: int | None) -> str:
    """' 3/20', or '3' if the number of epochs is unlimited."""
    return f"{epoch:{len(str(max_epochs))}d}/{max_epochs}" if max_epochs is not None and max_epochs > 0 else str(epoch)


def _group(metric: str) -> str:
    return metric.rpartition("/")[0]


def _name(metric: str) -> str:
    return metric.rpartition("/")[2]


def _span(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + GAP * (len(columns) - 1)


def _joined(parts: Sequence[str]) -> str:
    return (" " * GAP).join(parts).rstrip()


def _cell(name: str, value: float | None, width: int) -> str:
    """A metric in at most ``width`` characters, with zeros at its end, so that digits align."""
    text = format_metric(name, value)
    if value is None or (len(text) <= width and ("%" in text or "," in text)):
        return text
    if is_fraction(name):
        return f"{fitted(100 * value, width - 1)}%"
    aligned = f"{value:#.4g}".rstrip(".")
    return aligned if len(aligned) <= width else fitted(value, width)
