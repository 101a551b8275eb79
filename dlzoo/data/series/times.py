"""The column of times of a series: its format is inferred from all cells together.

Of the formats that every cell has, such as 01/02/2010 with the day or the month first, the one with equal steps is
used. If several remain, the user is asked.
"""

from __future__ import annotations

import calendar
import datetime
import itertools
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from dlzoo.errors import UserError, short
from dlzoo.specs.frequency import FORMAT, Step, find_step, label, step_indices

if TYPE_CHECKING:
    import pandas as pd

MONTHS = {name.lower(): i for i, name in enumerate(calendar.month_abbr) if name}
"""Of the first three letters of an English month."""
YEARS = (1500, 2261)
"""Years of dates written in digits alone; other integers are steps."""
DATE_DIGITS = {6: "%Y%m", 8: "%Y%m%d"}
"""The format of dates in digits alone, by their number."""
UNIX_DIGITS: dict[int, Literal["s", "ms", "us", "ns"]] = {
    9: "s",
    10: "s",
    12: "ms",
    13: "ms",
    15: "us",
    16: "us",
    18: "ns",
    19: "ns",
}
"""The unit of times since 1970, by their number of digits."""
MAX_YEARS_AHEAD = 10
"""Years of two digits are of the 20th century if some would be later than this."""
MAX_LENGTH = 100
"""Characters of a cell that can be a time; on long ones the patterns take quadratic time."""
TIME = re.compile(r"[T ]+\d\d?:\d\d.*$")


class Reading(NamedTuple):
    """Times, and the format that gives them."""

    format: str
    times: pd.Series


def read_times(cells: pd.Series, *, date_format: str | None = None, step: Step | None = None) -> pd.Series:
    """Parse times: integers remain integers, unless they are dates such as 20200131 or seconds since 1970.

    Args:
        cells: text.
        date_format: of ``strptime``, if known.
        step: between the times, if known.

    Raises:
        UserError: a cell is not a time, which is named with its row, or several formats fit.
    """
    cells = cells.map(str, na_action="ignore")
    if cells.isna().any():
        raise UserError(f"row {_first(cells.isna()) + 1} has no {cells.name}: give every row a time")
    if date_format is not None:
        return _parse(cells, date_format)
    is_row = step is not None and step.unit == "row"
    if (is_long := cells.str.len() > MAX_LENGTH).any():
        return _without_times(cells, is_long, is_row=is_row)
    if cells.str.fullmatch(r"[+-]?[0-9]{1,19}").all():
        return _from_integers(cells, step)
    if cells.str.fullmatch(r"[0-9]{9,10}\.[0-9]+").all():
        return _since_1970(cells)
    iso = _iso(cells)
    if iso.notna().all():
        return iso
    if readings := [*_readings(cells)]:
        return _with_equal_steps(readings, step)
    return _guessed(cells, is_row=is_row)


def _parse(cells: pd.Series, date_format: str) -> pd.Series:
    import pandas as pd

    try:
        times = pd.to_datetime(cells, format=date_format, errors="coerce")
    except (ValueError, re.error) as error:
        raise UserError(f"data.date_format={date_format} is not a format such as %d/%m/%Y: {error}") from None
    if times.isna().any():
        row = _first(times.isna())
        raise UserError(
            f"column {cells.name}: {short(cells.iloc[row])!r} in row {row + 1} is not a time of data.date_format="
            f"{date_format}"
        )
    return times


def _from_integers(cells: pd.Series, step: Step | None) -> pd.Series:
    """Integers, or the dates that they stand for."""
    import pandas as pd

    integers = pd.to_numeric(cells, errors="coerce").astype("int64")
    lengths = {len(cell) for cell in cells}
    if len(lengths) > 1 or (step is not None and step.unit == "step"):
        return integers
    (length,) = lengths
    if length in DATE_DIGITS:
        times = pd.to_datetime(cells, format=DATE_DIGITS[length], errors="coerce")
        is_date = bool(times.notna().all() and times.dt.year.between(*YEARS).all())
    else:
        times = pd.to_datetime(integers, unit=UNIX_DIGITS.get(length, "s"))
        is_date = length in UNIX_DIGITS
    return times if is_date and _regularity(times, step) >= _regularity(integers, None) else integers


def _since_1970(seconds: pd.Series) -> pd.Series:
    """Fractional seconds since 1970, to the microsecond."""
    import pandas as pd

    return pd.to_datetime(seconds.astype("float64").mul(1e6).round().astype("int64"), unit="us")


def _iso(cells: pd.Series) -> pd.Series:
    """Dates such as 2024-01-31 18:00, in one time zone; NaT for others."""
    import pandas as pd

    zones = cells.str.extract(r":\d\d(?:\.\d+)?\s*(Z|[+-]\d\d:?\d\d)$")[0].fillna("none")
    if (zones != zones.iloc[0]).any():
        row = _first(zones != zones.iloc[0])
        raise UserError(
            f"column {cells.name}: {cells.iloc[row]!r} in row {row + 1} has the time zone {zones.iloc[row]}, the "
            f"rows before it {zones.iloc[0]}: write all times in the same time zone"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas announces that it will refuse mixed time zones
            times = pd.to_datetime(cells, format="ISO8601", errors="coerce")
    except ValueError:  # not caught by coerce
        times = cells
    if times.dtype.kind != "M":
        raise UserError(f"column {cells.name}: its times are not all in one time zone; write all of them as {FORMAT}")
    return times


def _readings(cells: pd.Series) -> Iterator[Reading]:
    """The different times that formats give which every cell has."""
    import pandas as pd

    clocks = cells.str.extract(rf"({TIME.pattern})")[0].fillna("")
    dates = cells.str.replace(TIME, "", regex=True).str.strip()
    pattern, separators = _shape(dates.iloc[0])
    fields = dates.str.extract(f"^{pattern}$")
    if fields.isna().any(axis=None) or _are_fractions(fields, separators):
        return
    clocks = clocks.str.strip("T ").replace("", "00:00")
    since_midnight = pd.to_datetime("2000-01-01 " + clocks, errors="coerce", format="mixed") - pd.Timestamp(
        "2000-01-01"
    )
    if since_midnight.isna().any():
        return
    found: list[pd.Series] = []
    for order in _orders(fields):
        days = _days(fields, order)
        if days.isna().any():
            continue
        times = (days + since_midnight).rename(str(cells.name))
        if not any(times.equals(other) for other in found):
            found.append(times)
            text = "".join(itertools.chain(*itertools.zip_longest(order, separators, fillvalue="")))
            yield Reading(text + " %H:%M" * bool(since_midnight.any()), times)


def _are_fractions(fields: pd.DataFrame, separators: list[str]) -> bool:
    """Whether years and months would be numbers such as 0.1 or 2020.083 rather than 2020.01."""
    lengths = [set(fields[i].str.len()) for i in fields]
    return separators == ["."] and lengths not in ([{4}, {2}], [{2}, {4}])


def _shape(cell: str) -> tuple[str, list[str]]:
    """A pattern of the fields of dates like this one, and what stands between them.

    >>> _shape("31/Jan/2024")
    ('(\\\\d+)/([A-Za-z]+)\\\\.?/(\\\\d+)', ['/', '/'])
    """
    parts = re.findall(r"\d+|[A-Za-z]+\.?|[^\dA-Za-z]+", cell)
    kinds = [r"(\d+)" if part[0].isdigit() else r"([A-Za-z]+)\.?" if part[0].isalpha() else "" for part in parts]
    pattern = "".join(kind or re.escape(part) for kind, part in zip(kinds, parts, strict=True))
    return pattern, [part for kind, part in zip(kinds, parts, strict=True) if not kind]


def _orders(fields: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """The orders of year, month and day that fields (N, 2 or 3) of digits and letters can have."""
    lengths = [set(fields[i].str.len()) for i in fields]
    if len(lengths) not in (2, 3):
        return
    is_word = [fields[i].str.isalpha().all() for i in fields]
    for order in itertools.permutations(("%Y", "%m", "%d")[: len(lengths)]):
        codes = []
        for code, length, word in zip(order, lengths, is_word, strict=True):
            if word != (code == "%m" and any(is_word)):
                break
            if code == "%Y" and max(length) <= 2:
                code = "%y"
            elif (code == "%Y" and length != {4}) or (code != "%Y" and not word and max(length) > 2):
                break
            codes.append("%b" if word else code)
        else:
            yield tuple(codes)


def _days(fields: pd.DataFrame, order: tuple[str, ...]) -> pd.Series:
    """The dates of fields in an order; NaT for those that do not exist."""
    import pandas as pd

    by_code = dict(zip(order, (fields[i] for i in fields), strict=True))
    month = by_code["%b"].str[:3].str.lower().map(MONTHS) if "%b" in by_code else by_code["%m"].astype("int64")
    year = by_code["%Y"].astype("int64") if "%Y" in by_code else _full_year(by_code["%y"].astype("int64"))
    day = by_code["%d"].astype("int64") if "%d" in by_code else pd.Series(1, fields.index)
    return pd.to_datetime(pd.DataFrame({"year": year, "month": month, "day": day}), errors="coerce")


def _full_year(years: pd.Series) -> pd.Series:
    """Years of two digits as Python's strptime reads them, or of the 20th century if some would lie far ahead.

    >>> import pandas as pd
    >>> _full_year(pd.Series([98, 99, 0])).tolist(), _full_year(pd.Series([67, 68, 69])).tolist()
    ([1998, 1999, 2000], [1967, 1968, 1969])
    """
    full = years + 1900 + 100 * (years < 69)
    return full if full.max() <= datetime.date.today().year + MAX_YEARS_AHEAD else years + 1900


def _with_equal_steps(readings: list[Reading], step: Step | None) -> pd.Series:
    """The times with the most equal steps; of equals, those that are all on the first of a month.

    Raises:
        UserError: several formats remain; names them.
    """
    if len(readings) == 1 or (step is not None and step.unit == "row"):
        return readings[0].times
    scores = [_regularity(reading.times, step) for reading in readings]
    best = [reading for reading, score in zip(readings, scores, strict=True) if score == max(scores)]
    if len({str(_step_of(reading.times, step)) for reading in best}) == 1:
        best = [reading for reading in best if (reading.times.dt.day == 1).all()] or best
    if len(best) > 1:
        kinds = " or ".join(f"{r.format} (from {label(r.times.iloc[0])} to {label(r.times.iloc[-1])})" for r in best)
        raise UserError(
            f"column {readings[0].times.name}: its times can be {kinds}: set data.date_format={best[0].format}, or the "
            "other one"
        )
    return best[0].times


def _step_of(times: pd.Series, step: Step | None) -> Step | None:
    """The given step, or the one that most times have; None if they are not in order."""
    if step is not None:
        return step
    try:
        return find_step(times)
    except UserError:
        return None


def _regularity(times: pd.Series, step: Step | None) -> float:
    """The fraction of the times that are one step after the one before."""
    found = _step_of(times, step)
    if found is None or (found.unit == "step") != (times.dtype.kind == "i"):
        return 0.0
    return float((np.diff(step_indices(times, found)) == 1).mean()) if len(times) > 1 else 1.0


def _guessed(cells: pd.Series, *, is_row: bool) -> pd.Series:
    """Times in a format of pandas, such as 2020Q1.

    Raises:
        UserError: a cell is not a time; names the first one and its row.
    """
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas warns that it guesses the format
        try:
            times = pd.to_datetime(cells, errors="coerce")
        except ValueError:
            times = pd.to_datetime(cells, errors="coerce", utc=True)
    wrong = times.isna() | ~cells.str.contains(r"\d{4}")
    return _without_times(cells, wrong, is_row=is_row) if wrong.any() else times


def _without_times(cells: pd.Series, wrong: pd.Series, *, is_row: bool) -> pd.Series:
    """The cells as labels, if they need not be times; else `UserError`, which names the first that is none."""
    if is_row:
        return cells
    row = _first(wrong)
    raise UserError(
        f"column {cells.name}: {short(cells.iloc[row])!r} in row {row + 1} is not a time like those before it; write "
        f"times as {FORMAT}, set data.date_format=%d/%m/%Y or similar, choose another column with data.time=, or set "
        "data.frequency=row to treat the rows as equal steps"
    )


def _first(wrong: pd.Series) -> int:
    return int(np.flatnonzero(wrong.to_numpy())[0])
