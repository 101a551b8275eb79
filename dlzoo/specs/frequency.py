"""Regular time steps: the step of a time column, missing times, and the times that follow.

A frequency is text: ``month``, ``15 minutes``, ``3 months`` (the same as ``quarter``), ``step`` if times are integers,
or ``row`` if rows count as equal steps regardless of their times. Months differ in length, so steps of months follow
the calendar; all others are measured in seconds.
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
"""Units per season that such data usually have: a year, a week, a day, an hour, a minute."""
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
        """In months, seconds, or integer steps."""
        return self.count * {**MONTHS, **SECONDS, "step": 1, "row": 1}[self.unit]

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
    units = [*MONTHS, *SECONDS, "step", "row"]
    if match and match[2] in units and match[1] != "0":
        return Step(int(match[1] or 1), match[2])
    raise UserError(f"data.frequency={frequency} is unknown; {nearest(frequency, [*units, 'auto'])} (or '15 minutes')")


def read_times(cells: pd.Series) -> pd.Series:
    """Parse times: integers remain integers, everything else becomes dates.

    Raises:
        UserError: a cell is not a time; names the first one and its row.
    """
    import pandas as pd

    if cells.isna().any():
        raise UserError(f"row {_first(cells.isna()) + 1} has no {cells.name}: give every row a time")
    if cells.str.fullmatch(r"[+-]?\d{1,15}").all():
        return cells.astype("int64")
    zones = cells.str.extract(r":\d\d(?:\.\d+)?\s*(Z|[+-]\d\d:?\d\d)$")[0].fillna("none")
    if (zones != zones.iloc[0]).any():
        row = _first(zones != zones.iloc[0])
        raise UserError(
            f"column {cells.name}: {cells.iloc[row]!r} in row {row + 1} has the time zone {zones.iloc[row]}, the "
            f"rows before it {zones.iloc[0]}: write all times in the same time zone"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas warns that it guesses the format
        try:
            iso = pd.to_datetime(cells, format="ISO8601", errors="coerce")
            times = iso if iso.notna().all() else pd.to_datetime(cells, errors="coerce")
        except ValueError:  # not caught by coerce: inconsistent time zones
            raise UserError(
                f"column {cells.name}: its times are not all in one time zone; write all of them as {FORMAT}"
            ) from None
    if times.isna().any():
        row = _first(times.isna())
        raise UserError(
            f"column {cells.name}: {cells.iloc[row]!r} in row {row + 1} is not a time like those before it; write "
            f"times as {FORMAT}, or choose another column with data.time="
        )
    return times


def find_step(times: pd.Series) -> Step:
    """The median step between consecutive times; `UserError` if it cannot be determined."""
    if len(times) < 2:
        return Step(1, "row")
    middle: Any = times.diff().iloc[1:].median()
    size = round(middle) if times.dtype.kind == "i" else round(middle.total_seconds())
    if size < 1:
        raise UserError(
            f"column {times.name}: most times are not later than the previous one; sort the rows by it, with one row "
            "per time, or set data.frequency=row to use the rows in their order"
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
    jumps = np.diff(_step_indices(times, step))
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
        return [label(last + pd.Timedelta(seconds=step.length * i)) for i in ahead]
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
    offset: Any = pd.Timedelta(seconds=step.length)
    if step.is_calendar:
        ends = pd.Timestamp(start).is_month_end
        offset = pd.offsets.MonthEnd(step.length) if ends else pd.DateOffset(months=step.length)
    return pd.date_range(start, periods=num, freq=offset)


def label(time: object) -> str:
    """A time as text, without the midnight of a date."""
    return str(time).removesuffix(" 00:00:00")


def _step_indices(times: pd.Series, step: Step) -> np.ndarray:
    """Times as a number of steps since the first, (N,) float64."""
    if step.is_calendar:
        times = times.dt.year * 12 + times.dt.month
    elif step.unit != "step":
        times = (times - times.iloc[0]).dt.total_seconds()
    return (times - times.iloc[0]).to_numpy(dtype=np.float64) / step.length


def _first(wrong: pd.Series) -> int:
    return int(np.flatnonzero(wrong.to_numpy())[0])
