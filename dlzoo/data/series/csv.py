"""The user's own series: any CSV file with a header, a column of times and one or more columns of numbers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
import torch

from dlzoo.data import typed_tables
from dlzoo.data.categories import plain_spelling
from dlzoo.data.csv_reader import MISSING_MARKS, CsvFormat, check_unique, read_table
from dlzoo.data.numbers import as_numbers, is_date, parse_number, parse_numbers
from dlzoo.data.options import SeriesOptions
from dlzoo.data.series.base import Series, SeriesData
from dlzoo.data.series.long_tables import chosen, side_by_side
from dlzoo.data.series.times import read_times
from dlzoo.errors import UserError, nearest, short
from dlzoo.specs.frequency import check_regular, find_step, label, parse

if TYPE_CHECKING:
    import pandas as pd

PLAIN = r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?"
"""A number that can be read in one way only; longer or shorter spellings go through `parse_numbers`."""


class CsvSeries(SeriesData):
    """Columns of a CSV file, with one row per step.

    Args:
        path: the file, which may be compressed as .gz, .bz2 or .xz.
        time: the column of times (dates or integers); None is the first.
        id: the column that says which of several series a row belongs to; each becomes a column of the times that all
            have.
        values: the column to forecast, or several, which are then inputs of the net together; None is all others.
        known_ahead: columns that are known in advance, such as holidays or prices, and are inputs, not forecast; rows
            after the last value may hold them alone. It needs ``task.steps`` null.
        marks: the column of known anomalies, with 1 or true where there is one, and 0, false or nothing elsewhere.
        frequency: the step between rows, such as month, day or ``15 minutes``; auto infers it, and row treats rows as
            equal steps, regardless of their times.
        date_format: of the times, such as %d/%m/%Y, as for ``strptime``; None infers it from the whole column.
        separator, decimal, encoding, missing_marks, header, quotes: as for data=csv.
        independent: forecast each column from its own past, by the same weights for all; None: if ``id`` is given.
    """

    def __init__(
        self,
        *,
        path: str,
        time: str | None = None,
        id: str | None = None,
        values: str | Sequence[str] | None = None,
        marks: str | None = None,
        known_ahead: str | Sequence[str] | None = None,
        frequency: str = "auto",
        date_format: str | None = None,
        separator: str = ",",
        decimal: Literal[".", ","] = ".",
        encoding: str = "utf-8-sig",
        missing_marks: Sequence[str] = MISSING_MARKS,
        header: bool = True,
        quotes: bool | None = None,
        independent: bool | None = None,
        **common: Unpack[SeriesOptions],
    ) -> None:
        super().__init__(**common)
        self.independent = id is not None if independent is None else independent
        self.path = path
        self.time = time
        self.id = id
        self.values = [values] if isinstance(values, str) else values
        self.marks = marks
        self.known_ahead = [known_ahead] if isinstance(known_ahead, str) else known_ahead
        self.frequency = frequency
        self.date_format = date_format
        self.format: CsvFormat = {
            "separator": separator,
            "decimal": decimal,
            "encoding": encoding,
            "missing_marks": tuple(missing_marks),
            "header": header,
            "quotes": quotes,
        }

    def series(self) -> Series:
        path = typed_tables.existing(self.path, "data.path")
        return read_series(
            path,
            time=self.time,
            id=self.id,
            values=self.values,
            marks=self.marks,
            known=self.known_ahead,
            frequency=self.frequency,
            date_format=self.date_format,
            **self.format,
        )


def read_series(
    path: Path | str | io.BytesIO,
    *,
    time: str | None = None,
    id: str | None = None,
    values: Sequence[str] | None = None,
    marks: str | None = None,
    known: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    frequency: str = "auto",
    date_format: str | None = None,
    **csv_format: Unpack[CsvFormat],
) -> Series:
    """Columns of a CSV file over time; ``csv_format`` as for `read_table`.

    Raises:
        UserError: a column is missing, a cell is not a number or not a time, or times are unsorted, duplicate or
            missing.
    """
    source = path if not isinstance(path, Path) else path.name
    if frequency != "auto":
        parse(frequency)  # a mistake in it is answered before the file is read
    frame = read_table(path, **csv_format)
    columns = [str(name) for name in frame.columns]
    if csv_format.get("header", True) and all(parse_number(name) or is_date(name) for name in columns):
        raise UserError(f"{source}: its first line ({short(', '.join(columns))}) does not name the columns; if the "
                        "file has no header, set data.header=false")  # fmt: skip
    options: dict[str, Any] = {"frequency": frequency, "date_format": date_format, "only": only}
    return series_of(frame, source, time=time, id=id, values=values, marks=marks, known=known, **options)


def series_of(
    frame: pd.DataFrame,
    source: object,
    *,
    time: str | None = None,
    id: str | None = None,
    values: Sequence[str] | None = None,
    marks: str | None = None,
    known: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    frequency: str = "auto",
    date_format: str | None = None,
) -> Series:
    """Columns of a table over time.

    Args:
        frame: cells of text, or typed values.
        source: what it comes from, for messages.
        id: the column that says which series a row belongs to, if there are several.
        only: the series of a trained model, of which others in the table are no part.

    Raises:
        UserError: as `read_series`.
    """
    step = None if frequency == "auto" else parse(frequency)
    columns = [str(name) for name in frame.columns]
    time = next((name for name in columns if name != id), columns[0]) if time is None else time
    ahead_of = tuple(known or ())
    taken = (time, id, marks, *ahead_of)
    selected = [name for name in columns if name not in taken] if values is None else list(values)
    others = [(key, name) for key, name in (("id", id), ("marks", marks)) if name]
    others += [("known_ahead", name) for name in ahead_of]
    for key, name in [("time", time), *(("values", name) for name in selected), *others]:
        if name not in columns:
            raise UserError(f"data.{key}={name}: {source} has no such column; {nearest(name, columns)}")
    if not selected or {time, id} & {*selected} or len(set(selected)) < len(selected):
        raise UserError(
            f"{source}: data.values={selected} must name at least one column other than the times in {time}, and none "
            f"twice; the columns are: {', '.join(columns)}"
        )
    check_unique(columns, [time, *selected, *(name for _, name in others)], source)
    if {*ahead_of} & {time, id, marks, *selected} or len({*ahead_of}) < len(ahead_of):
        raise UserError(
            f"data.known_ahead={[*ahead_of]} must name columns other than those of times, values and marks, and none "
            "twice"
        )
    if marks in (time, *selected):
        raise UserError(f"data.marks={marks} must be a column other than those of times and values")
    if id is not None:
        if id in (time, marks):
            raise UserError(f"data.id={id} must be a column other than those of times and marks")
        frame, selected = side_by_side(frame, source, id=id, time=time, values=selected, marks=marks, known=ahead_of)
        if only is not None:
            selected = chosen(selected, only, source, id)
    elif step is None or step.unit != "row":
        _check_one_series(frame, time, source)
    times = read_times(frame[time], date_format=date_format, step=step)
    step = step or find_step(times)
    check_regular(times, step, str(source))
    ahead = None
    if ahead_of:
        ahead = torch.from_numpy(np.stack([_numbers(frame[name], times) for name in ahead_of], axis=1))
        is_future = frame[selected].isna().all(axis=1).to_numpy()
        num = len(frame) - int(np.argmin(is_future[::-1])) if not is_future.all() else 0
        frame, times = frame.iloc[:num], times.iloc[:num]
        if not num:
            raise UserError(f"{source}: all rows of {', '.join(selected)} are empty: there is nothing to forecast from")
    numbers = np.stack([_numbers(frame[name], times) for name in selected], axis=1)
    marked = None if marks is None else _marks(frame[marks], times)
    return Series(tuple(selected), torch.from_numpy(numbers), times, step, marked, ahead_of, ahead)


def _check_one_series(frame: pd.DataFrame, time: str, source: object) -> None:
    """`UserError` if times repeat, and a column of names tells the rows of one time apart."""
    if not frame[time].duplicated().any():
        return
    for name in frame.columns:
        cells = frame[name]
        is_name = name != time and cells.notna().all() and not parse_numbers(cells).values.notna().any()
        if is_name and not frame.duplicated([time, name]).any():
            raise UserError(
                f"{source} has several rows of the same {time}, one for each {name}: if these are series of their own, "
                f"set data.id={name}"
            )


def _marks(cells: pd.Series, times: pd.Series) -> torch.Tensor:
    """(N,) bool; `UserError` for the first cell that is neither yes nor no."""
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
    text = cells.fillna("").map(lambda cell: plain_spelling(str(cell)).lower())
    for row in np.flatnonzero(~text.isin(list(known)))[:1]:
        raise UserError(
            f"column {cells.name}, row {row + 1} ({label(times.iloc[row])}): {short(cells.iloc[row])!r} is no mark; "
            "write 1 or true for an anomaly, and 0, false or nothing elsewhere, or set data.marks"
        )
    return torch.tensor([known[cell] for cell in text])


def _numbers(cells: pd.Series, times: pd.Series) -> np.ndarray:
    """(N,) float64; `UserError` for the first cell that is missing or not a finite number."""
    if cells.dtype == "str" and not cells.isna().any() and cells.str.fullmatch(PLAIN).all():
        return cells.to_numpy().astype(np.float64)  # fifteen times as fast, for files of hundreds of columns
    numbers = as_numbers(cells, parse_numbers(cells).unit).to_numpy(dtype=np.float64)
    invalid = ~np.isfinite(numbers)
    if not invalid.any():
        return numbers
    row = int(np.flatnonzero(invalid)[0])
    where = f"column {cells.name}, row {row + 1} ({label(times.iloc[row])})"
    more = f", and {invalid.sum() - 1} more" if invalid.sum() > 1 else ""
    if cells.isna().iloc[row]:
        raise UserError(f"{where}: the value is missing{more}; fill it in, or start the file after it")
    raise UserError(
        f"{where}: {cells.iloc[row]!r} is not a finite number{more}; fix it, or select other columns with data.values="
    )
