"""Equal steps of time: which step a column of times has, where one is missing, and which times come next.

A frequency is text: ``month``, ``15 minutes``, ``3 months`` (the same as ``quarter``), or ``step`` for rows that are
counted and not dated. Months differ in length, so steps of months are counted by the calendar, all others in seconds.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dlzoo.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

SECONDS = {"week": 604_800, "day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
MONTHS = {"year": 12, "quarter": 3, "month": 1}
SEASONS = {"quarter": 4, "month": 12, "week": 52, "day": 7, "hour": 24, "minute": 60, "second": 60}
"""Units in the season that such data usually have: a year, a week, a day, an hour, a minute."""


class Step(NamedTuple):
    """A length of time: so many of a unit."""

    count: int
    unit: str

    def __str__(self) -> str:
        return self.unit if self.count == 1 else f"{self.count} {self.unit}s"

    @property
    def is_calendar(self) -> bool:
        return self.unit in MONTHS

    @property
    def length(self) -> int:
        """In months or in seconds; 1 for counted rows."""
        return self.count * {**MONTHS, **SECONDS, "step": 1}[self.unit]

    @property
    def period(self) -> int:
        """Steps in a season, 1 where none is usual."""
        season = 1_440 if self.unit == "minute" and self.count >= 5 else SEASONS.get(self.unit, 1)
        return season // self.count if season % self.count == 0 else 1


def parse(frequency: str) -> Step:
    """A frequency as the user writes it.

    >>> parse("month"), str(parse("15 minutes"))
    (Step(count=1, unit='month'), '15 minutes')

    Raises:
        UserError: it is none.
    """
    match = re.fullmatch(r"(?:(\d+) )?([a-z]+?)s?", frequency.strip().lower())
    units = [*MONTHS, *SECONDS, "step"]
    if match and match[2] in units and match[1] != "0":
        return Step(int(match[1] or 1), match[2])
    raise UserError(f"data.frequency={frequency} is unknown; {nearest(frequency, [*units, 'auto'])} (or '15 minutes')")


def read_times(cells: pd.Series) -> pd.Series:
    """Times from text: whole numbers stay numbers, all else becomes dates.

    Raises:
        UserError: names the first cell that is no time, and its row.
    """
    import pandas as pd

    if cells.isna().any():
        raise UserError(f"row {_first(cells.isna()) + 1} has no {cells.name}: give each row its time")
    if cells.str.fullmatch(r"[+-]?\d{1,15}").all():
        return cells.astype("int64")
    iso = pd.to_datetime(cells, format="ISO8601", errors="coerce")
    times = iso if iso.notna().all() else pd.to_datetime(cells, errors="coerce")
    if times.isna().any():
        row = _first(times.isna())
        raise UserError(
            f"column {cells.name}: {cells.iloc[row]!r} in row {row + 1} is no time like those before it; write times "
            "as 2024-01-31 or 2024-01-31 18:00, or name another column with data.time="
        )
    return times


def find_step(times: pd.Series) -> Step:
    """The step that most neighbours in time have; `UserError` if it cannot be told."""
    if times.dtype.kind == "i" or len(times) < 2:
        return Step(1, "step")
    seconds = round(times.diff().iloc[1:].median().total_seconds())
    if seconds >= 28 * SECONDS["day"]:
        months = max(1, round(seconds / (SECONDS["day"] * 365.25 / 12)))
        unit = next(name for name, length in MONTHS.items() if months % length == 0)
        return Step(months // MONTHS[unit], unit)
    if seconds < 1:
        raise UserError(
            f"column {times.name}: most times are not later than the one before; sort the rows by time, or set "
            "data.frequency=step to take them as they come"
        )
    unit = next(name for name, length in SECONDS.items() if seconds % length == 0)
    return Step(seconds // SECONDS[unit], unit)


def check_regular(times: pd.Series, step: Step, source: str) -> None:
    """Refuse times that are not in order, or not one step apart.

    Raises:
        UserError: names the first row that is wrong, what is wrong with it and what to do.
    """
    if step.unit == "step" and times.dtype.kind != "i":
        return  # taken as they come
    places = _places(times, step)
    jumps = np.diff(places)
    if (jumps == 1).all():
        return
    row = int(np.flatnonzero(jumps != 1)[0])
    before, here = (f"{label(times.iloc[i])} (row {i + 1})" for i in (row, row + 1))
    if jumps[row] < 0:
        raise UserError(f"{source}: {before} is followed by the earlier {here}; sort the rows by {times.name}")
    remedy = "fill in the rows between, or set data.frequency=step to take the rows as equal steps"
    if jumps[row] == 0:
        raise UserError(f"{source}: {before} and {here} are the same {step}; one row for each {step} is allowed")
    if step.unit == "step" or jumps[row] % 1 == 0:
        missing = int(jumps[row]) - 1
        raise UserError(f"{source}: {missing} {step}(s) missing between {before} and {here}; {remedy}")
    raise UserError(f"{source}: {before} and {here} are not one {step} apart; {remedy}, or name data.frequency=")


def following(times: pd.Series, step: Step, num: int) -> list[str]:
    """Labels of the next ``num`` times, and by ``num`` alone where rows are only counted."""
    import pandas as pd

    last, n = times.iloc[-1], len(times)
    if times.dtype.kind == "i":
        stride = int(last - times.iloc[-2]) if n > 1 else 1
        return [str(last + stride * i) for i in range(1, num + 1)]
    if step.unit == "step":
        return [f"+{i}" for i in range(1, num + 1)]
    if not step.is_calendar:
        return [label(last + pd.Timedelta(seconds=step.length * i)) for i in range(1, num + 1)]
    if all(t.is_month_end for t in times):
        return [label(last + pd.offsets.MonthEnd(step.length * i)) for i in range(1, num + 1)]
    day = times.dt.day.max()  # the 31st becomes the 30th where a month has no more days
    months = [last + pd.DateOffset(months=step.length * i) for i in range(1, num + 1)]
    return [label(t.replace(day=min(day, t.days_in_month))) for t in months]


def label(time: object) -> str:
    """A time as people write it: without the midnight of a date."""
    return str(time).removesuffix(" 00:00:00")


def _places(times: pd.Series, step: Step) -> np.ndarray:
    """How many steps after the first each time is, (N,) float64."""
    if times.dtype.kind == "i":
        numbers = times.to_numpy(dtype=np.float64)
        strides = np.diff(numbers)
        return (numbers - numbers[0]) / (np.median(strides) if len(strides) and np.median(strides) > 0 else 1.0)
    if step.is_calendar:
        months = (times.dt.year * 12 + times.dt.month).to_numpy(dtype=np.float64)
        return (months - months[0]) / step.length
    return ((times - times.iloc[0]).dt.total_seconds() / step.length).to_numpy(dtype=np.float64)


def _first(wrong: pd.Series) -> int:
    return int(np.flatnonzero(wrong.to_numpy())[0])
