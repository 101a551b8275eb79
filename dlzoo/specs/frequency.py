"""Regular time steps: the step of a time column, missing times, and the times that follow.

A frequency is text: ``month``, ``15 minutes``, ``3 months`` (the same as ``quarter``), ``step`` if times are integers,
or ``row`` if rows count as equal steps regardless of their times. Months differ in length, so steps of months follow
the calendar; all others are measured in microseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dlzoo.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

MICROSECONDS = {
    "week": 604_800_000_000,
    "day": 86_400_000_000,
    "hour": 3_600_000_000,
    "minute": 60_000_000,
    "second": 1_000_000,
    "millisecond": 1_000,
    "microsecond": 1,
}
MONTHS = {"year": 12, "quarter": 3, "month": 1}
SEASONS = {
    "quarter": 4,
    "month": 12,
    "week": 52,
    "day": 7,
    "hour": 24,
    "minute": 60,
    "second": 60,
    "millisecond": 1_000,
}
"""Units per season that such data usually have: a year, a week, a day, an hour, a minute, a second."""
FORMAT = "2024-01-31 or 2024-01-31 18:00"
"""The recommended format of times."""


@dataclass(frozen=True)
class Step:
    """A time step: a number of units."""

    count: int
    unit: str

    def __str__(self) -> str:
        return self.unit if self.count == 1 else f"{self.count} {self.unit}s"

    @property
    def is_calendar(self) -> bool:
        return self.unit in MONTHS

    @property
    def length(self) -> int:
        """In months, microseconds, or integer steps."""
        return self.count * {**MONTHS, **MICROSECONDS, "step": 1, "row": 1}[self.unit]

    @property
    def period(self) -> int:
        """Steps per season; 1 if there is no usual season."""
        season = 1_440 if self.unit == "minute" and self.count >= 5 else SEASONS.get(self.unit, 1)
        return season // self.count if season % self.count == 0 else 1


def parse(frequency: str) -> Step:
    """Parse a frequency as the user writes it.

    >>> parse("month"), str(parse("15 minutes"))
    (Step(count=1, unit='month'), '15 minutes')

    Raises:
        UserError: it is not a frequency.
    """
    match = re.fullmatch(r"(?:(\d+) )?([a-z]+?)s?", frequency.strip().lower())
    units = [*MONTHS, *MICROSECONDS, "step", "row"]
    if match and match[2] in units and match[1] != "0":
        return Step(int(match[1] or 1), match[2])
    raise UserError(f"data.frequency={frequency} is unknown; {nearest(frequency, [*units, 'auto'])} (or '15 minutes')")


def find_step(times: pd.Series) -> Step:
    """The median step between consecutive times; `UserError` if it cannot be determined."""
    if len(times) < 2:
        return Step(1, "row")
    middle: Any = times.diff().iloc[1:].median()
    size = round(middle) if times.dtype.kind == "i" else round(middle.total_seconds() * MICROSECONDS["second"])
    if size < 1:
        raise UserError(
            f"column {times.name}: most times are not later than the previous one; sort the rows by it, with one row "
            "per time, or set data.frequency=row to use the rows in their order"
        )
    if times.dtype.kind == "i":
        return Step(size, "step")
    if size >= 28 * MICROSECONDS["day"]:
        size, units = round(size / (MICROSECONDS["day"] * 365.25 / 12)), MONTHS
    else:
        units = MICROSECONDS
    unit = next(name for name, length in units.items() if size % length == 0)
    return Step(size // units[unit], unit)


def check_regular(times: pd.Series, step: Step, source: str) -> None:
    """Check that times are in order and one step apart.

    Raises:
        UserError: they are not; names the first wrong row, what is wrong with it, and the remedy.
    """
    if step.unit == "row":
        return
    if (step.unit == "step") != (times.dtype.kind == "i"):
        kind = "integers" if times.dtype.kind == "i" else "dates"
        raise UserError(f"{source}: column {times.name} holds {kind}, which have no step of one {step}; choose another "
                        "column with data.time=, or another data.frequency=")  # fmt: skip
    jumps = np.diff(step_indices(times, step))
    if (jumps == 1).all():
        return
    kinds = (jumps < 0, jumps == 0, jumps != 1)  # a misplaced row also leaves a gap: report the first of these
    row = int(np.flatnonzero(next(kind for kind in kinds if kind.any()))[0])
    jump = jumps[row]
    before, here = (f"{label(times.iloc[i])} (row {i + 1})" for i in (row, row + 1))
    if jump < 0:
        raise UserError(f"{source}: {before} is followed by the earlier {here}; sort the rows by {times.name}")
    if jump == 0:
        raise UserError(f"{source}: {before} and {here} are the same {step}; keep one row per {step}")
    remedy = "fill in the missing rows, or set data.frequency=row to treat the rows as equal steps"
    if jump % 1 == 0:
        raise UserError(f"{source}: {int(jump) - 1} x {step} missing between {before} and {here}; {remedy}")
    raise UserError(f"{source}: {before} and {here} are not one {step} apart; {remedy}")


def following(times: pd.Series, step: Step, num: int) -> list[str]:
    """The labels of the next ``num`` times."""
    import pandas as pd

    last, ahead = times.iloc[-1], range(1, num + 1)
    if step.unit == "row":
        return [f"+{i}" for i in ahead]
    if step.unit == "step":
        return [str(last + step.length * i) for i in ahead]
    if not step.is_calendar:
        return [label(last + pd.Timedelta(microseconds=step.length * i)) for i in ahead]
    if times.dt.is_month_end.all():
        return [label(last + pd.offsets.MonthEnd(step.length * i)) for i in ahead]
    day = times.dt.day.max()  # the 31st becomes the 30th in a shorter month
    months = [last + pd.DateOffset(months=step.length * i) for i in ahead]
    return [label(t.replace(day=min(day, t.days_in_month))) for t in months]


def times(start: str, frequency: str, num: int) -> pd.DatetimeIndex | np.ndarray:
    """The times of the first ``num`` rows: dates or integers."""
    import pandas as pd

    step = parse(frequency)
    if step.unit in ("row", "step"):
        return np.arange(num) * step.length + (int(start) if step.unit == "step" else 1)
    offset: Any = pd.Timedelta(microseconds=step.length)
    if step.is_calendar:
        ends = pd.Timestamp(start).is_month_end
        offset = pd.offsets.MonthEnd(step.length) if ends else pd.DateOffset(months=step.length)
    return pd.date_range(start, periods=num, freq=offset)


def label(time: object) -> str:
    """A time as text, without the midnight of a date."""
    return str(time).removesuffix(" 00:00:00")


def step_indices(times: pd.Series, step: Step) -> np.ndarray:
    """Times as a number of steps since the first, (N,) float64."""
    if step.is_calendar:
        times = times.dt.year * 12 + times.dt.month
    elif step.unit != "step":
        times = ((times - times.iloc[0]).dt.total_seconds() * MICROSECONDS["second"]).round().astype("int64")
    since = (times - times.iloc[0]).to_numpy(dtype=np.int64)
    whole, rest = np.divmod(since, step.length)  # in integers: exact also for long series of short steps
    return whole + rest / step.length
