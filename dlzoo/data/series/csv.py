"""A series of the user's own: any CSV file with a header, a column of times and one or more of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from dlzoo.data.csv_reader import MISSING_MARKS, read_table
from dlzoo.data.series.base import Series, SeriesData
from dlzoo.data.tables.base import as_numbers
from dlzoo.errors import UserError, nearest
from dlzoo.specs.frequency import check_regular, find_step, label, parse, read_times
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    import pandas as pd


class CsvSeries(SeriesData):
    """The columns of a CSV file, from row to row.

    Args:
        path: the file; .gz, .bz2 and .xz are read as they are.
        time: the column of times (dates, or whole numbers); None is the first.
        values: the column to forecast, or several, which a net then sees together; None is all others.
        frequency: the step from row to row, such as month, day or ``15 minutes``; auto finds it, and row takes the
            rows as equal steps, whatever their times.
        separator, decimal, encoding, missing_marks: as for data=csv.
    """

    def __init__(
        self,
        *,
        path: str,
        time: str | None = None,
        values: str | Sequence[str] | None = None,
        frequency: str = "auto",
        separator: str = ",",
        decimal: Literal[".", ","] = ".",
        encoding: str = "utf-8-sig",
        missing_marks: Sequence[str] = MISSING_MARKS,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.path = path
        self.time = time
        self.values = [values] if isinstance(values, str) else values
        self.frequency = frequency
        self.format: dict[str, Any] = {
            "separator": separator,
            "decimal": decimal,
            "encoding": encoding,
            "missing_marks": tuple(missing_marks),
        }

    def series(self) -> Series:
        path = paths.existing_file(self.path, "data.path")
        return read_series(path, time=self.time, values=self.values, frequency=self.frequency, **self.format)


def read_series(
    path: Any, *, time: str | None = None, values: Sequence[str] | None = None, frequency: str = "auto", **style: Any
) -> Series:
    """The columns of a CSV file over time; ``style`` as for `read_table`.

    Raises:
        UserError: a column is not there, a cell is no number or no time, times are unsorted, double or missing.
    """
    source = path if not isinstance(path, Path) else path.name
    step = None if frequency == "auto" else parse(frequency)
    frame = read_table(path, **style)
    columns = [str(name) for name in frame.columns]
    time = columns[0] if time is None else time
    chosen = [name for name in columns if name != time] if values is None else list(values)
    for key, name in [("time", time), *(("values", name) for name in chosen)]:
        if name not in columns:
            raise UserError(f"data.{key}={name}: {source} has no such column; {nearest(name, columns)}")
    if not chosen or time in chosen or len(set(chosen)) < len(chosen):
        raise UserError(
            f"{source}: beside the times in {time}, data.values={chosen} must name at least one column, none twice; "
            f"the columns are: {', '.join(columns)}"
        )
    times = read_times(frame[time])
    numbers = np.stack([_numbers(frame[name], times) for name in chosen], axis=1)
    step = step or find_step(times)
    check_regular(times, step, str(source))
    return Series(tuple(chosen), torch.from_numpy(numbers), times, step)


def _numbers(cells: pd.Series, times: pd.Series) -> np.ndarray:
    """(N,) float64; `UserError` at the first cell that is missing or no finite number."""
    numbers = as_numbers(cells).to_numpy(dtype=np.float64)
    wrong = ~np.isfinite(numbers)
    if not wrong.any():
        return numbers
    row = int(np.flatnonzero(wrong)[0])
    where = f"column {cells.name}, row {row + 1} ({label(times.iloc[row])})"
    more = f", and {wrong.sum() - 1} more" if wrong.sum() > 1 else ""
    if cells.isna().iloc[row]:
        raise UserError(f"{where}: the value is missing{more}; fill it in, or start the file behind it")
    raise UserError(f"{where}: {cells.iloc[row]!r} is no finite number{more}; mend it, or choose with data.values=")
