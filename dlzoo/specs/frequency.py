"""Equal steps of time: which step a column of times has, where one is missing, and which times come next.

A frequency is text: ``month``, ``15 minutes``, ``3 months`` (the same as ``quarter``), ``step`` where times are whole
numbers, or ``row`` where rows count as equal steps whatever their times. Months differ in length, so steps of months
are counted by the calendar, all others in seconds.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dlzoo.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

SECONDS = {"week": 604_800, "day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
MONTHS = {"year": 12, "quarter": 3, "month": 1}
SEASONS = {"quarter": 4, "month": 12, "week": 52, "day": 7, "hour": 24, "minute": 60, "second": 60}
"""Units in the season that such data usually have: a year, a week, a day, an hour, a minute."""
AS = "2024-01-31 or 2024-01-31 18:00"
"""How times are best written."""


@dataclass(frozen=True)
class Step:
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
        """In months, in seconds, or in whole numbers."""
        return self.count * {**MONTHS, **SECONDS, "step": 1, "row": 1}[self.unit]

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
    units = [*MONTHS, *SECONDS, "step", "row"]
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
    zones = cells.str.extract(r":\d\d(?:\.\d+)?\s*(Z|[+-]\d\d:?\d\d)$")[0].fillna("none")
    if (zones != zones.iloc[0]).any():
        row = _first(zones != zones.iloc[0])
        raise UserError(
            f"column {cells.name}: {cells.iloc[row]!r} in row {row + 1} has the time zone {zones.iloc[row]}, those "
            f"before it {zones.iloc[0]}: write all times in one"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas would say that it guesses
        try:
            iso = pd.to_datetime(cells, format="ISO8601", errors="coerce")
            times = iso if iso.notna().all() else pd.to_datetime(cells, errors="coerce")
        except ValueError:  # the only one that coerce lets through: time zones in other writings, or taken for some
            raise UserError(
                f"column {cells.name}: its times are not all in one time zone; write all of them as {AS}"
            ) from None
    if times.isna().any():
        row = _first(times.isna())
        raise UserError(
            f"column {cells.name}: {cells.iloc[row]!r} in row {row + 1} is no time like those before it; write times "
            f"as {AS}, or name another column with data.time="
        )
    return times


def find_step(times: pd.Series) -> Step:
    """The step that most neighbours in time have; `UserError` if it cannot be told."""
    if len(times) < 2:
        return Step(1, "row")
    middle: Any = times.diff().iloc[1:].median()
    size = round(middle) if times.dtype.kind == "i" else round(middle.total_seconds())
    if size < 1:
        raise UserError(
            f"column {times.name}: most times are not later than the one before; sort the rows by it, one row for each "
            "time, or set data.frequency=row to take them as they come"
        )
    if times.dtype.kind == "i":
        return Step(size, "step")
    if size >= 28 * SECONDS["day"]:
        size, units = round(size / (SECONDS["day"] * 365.25 / 12)), MONTHS
    else:
        units = SECONDS
    unit = next(name for name, length in units.items() if size % length == 0)
    return Step(size // units[unit], unit)


def check_regular(times: pd.Series, step: Step, source: str) -> None:
    """Refuse times that are not in order, or not one step apart.

    Raises:
        UserError: names the first row that is wrong, what is wrong with it and what to do.
    """
    if step.unit == "row":
        return
    if (step.unit == "step") != (times.dtype.kind == "i"):
        kind = "whole numbers" if times.dtype.kind == "i" else "dates"
        raise UserError(f"{source}: column {times.name} holds {kind}, which have no step of one {step}; name another "
                        "column with data.time=, or another data.frequency=")  # fmt: skip
    jumps = np.diff(_places(times, step))
    if (jumps == 1).all():
        return
    kinds = (jumps < 0, jumps == 0, jumps != 1)  # a row in a wrong place also leaves a gap: say the first of these
    row = int(np.flatnonzero(next(kind for kind in kinds if kind.any()))[0])
    jump = jumps[row]
    before, here = (f"{label(times.iloc[i])} (row {i + 1})" for i in (row, row + 1))
    if jump < 0:
        raise UserError(f"{source}: {before} is followed by the earlier {here}; sort the rows by {times.name}")
    if jump == 0:
        raise UserError(f"{source}: {before} and {here} are the same {step}; keep one row for each {step}")
    remedy = "fill in the rows between, or set data.frequency=row to take the rows as equal steps"
    if jump % 1 == 0:
        raise UserError(f"{source}: {int(jump) - 1} x {step} missing between {before} and {here}; {remedy}")
    raise UserError(f"{source}: {before} and {here} are not one {step} apart; {remedy}")


def following(times: pd.Series, step: Step, num: int) -> list[str]:
    """What the next ``num`` times are called."""
    import pandas as pd

    last, ahead = times.iloc[-1], range(1, num + 1)
    if step.unit == "row":
        return [f"+{i}" for i in ahead]
    if step.unit == "step":
        return [str(last + step.length * i) for i in ahead]
    if not step.is_calendar:
        return [label(last + pd.Timedelta(seconds=step.length * i)) for i in ahead]
    if times.dt.is_month_end.all():
        return [label(last + pd.offsets.MonthEnd(step.length * i)) for i in ahead]
    day = times.dt.day.max()  # the 31st becomes the 30th where a month has no more days
    months = [last + pd.DateOffset(months=step.length * i) for i in ahead]
    return [label(t.replace(day=min(day, t.days_in_month))) for t in months]


def times(start: str, frequency: str, num: int) -> pd.DatetimeIndex | np.ndarray:
    """The times of the first ``num`` rows: dates, or whole numbers."""
    import pandas as pd

    step = parse(frequency)
    if step.unit in ("row", "step"):
        return np.arange(num) * step.length + (int(start) if step.unit == "step" else 1)
    offset: Any = pd.Timedelta(seconds=step.length)
    if step.is_calendar:
        ends = pd.Timestamp(start).is_month_end
        offset = pd.offsets.MonthEnd(step.length) if ends else pd.DateOffset(months=step.length)
    return pd.date_range(start, periods=num, freq=offset)


def label(time: object) -> str:
    """A time as people write it: without the midnight of a date."""
    return str(time).removesuffix(" 00:00:00")


def _places(times: pd.Series, step: Step) -> np.ndarray:
    """Times in steps, (N,) float64."""
    if step.is_calendar:
        times = times.dt.year * 12 + times.dt.month
    elif step.unit != "step":
        times = (times - times.iloc[0]).dt.total_seconds()
    return (times - times.iloc[0]).to_numpy(dtype=np.float64) / step.length


def _first(wrong: pd.Series) -> int:
    return int(np.flatnonzero(wrong.to_numpy())[0])
