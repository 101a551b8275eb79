"""Numbers and dates as people write them: ``1,200``, ``37%``, ``$5``, ``12 kg``, ``31 Jan 2024``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Decimal = Literal[".", ","]

MAX_LENGTH = 40
"""Characters of a cell that can be a number with its unit."""
MAX_UNITS = 20
"""Units that are counted in a column; one with more is text."""
CURRENCY = r"(?:US|CA|AU|NZ|HK|R)?\$|[€£¥₹₩₽₺]|(?:USD|EUR|GBP|JPY|CHF|CAD|AUD|CNY|INR)(?![A-Za-z])"
UNIT = rf"{CURRENCY}|\+|(?:[%‰°]|[^\W\d_])[^\s,;:()\[\]<>|]*(?:\s[^\W\d_][^\s,;:()\[\]<>|]*){{0,2}}"
"""What follows a number: a currency, a percent sign, a unit of one to three words, or the plus of ``5+``."""


MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
DATE = re.compile(
    rf"(?:\d{{4}}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.](?:\d{{4}}|\d\d)|\d\d?[-/. ]{MONTH}[-/., ]+(?:\d{{4}}|\d\d)"
    rf"|{MONTH}[- ]\d\d?,? \d{{4}}|{MONTH}[- ]\d{{4}})(?:[T ]+\d\d?:\d\d.*)?",
    re.IGNORECASE,
)


@cache
def number_pattern(decimal: Decimal) -> re.Pattern[str]:
    """A number with thousands separators, a currency before it or a unit after it, as a regular expression."""
    group, point = (",", r"\.") if decimal == "." else (r"\.", ",")
    separators = rf"[{group}'’ \u00a0\u202f]"  # noqa: RUF001
    digits = rf"(?!0)\d{{1,3}}(?P<group>{separators})\d{{3}}(?:(?P=group)\d{{3}})*|\d+"
    return re.compile(
        rf"(?P<sign>[+\-−]?)\s?(?P<before>{CURRENCY})?\s?(?P<inner>[+\-−]?)"  # noqa: RUF001
        rf"(?P<number>(?:{digits})(?:{point}\d*)?|{point}\d+)(?P<exponent>(?:[eE][+-]?\d+)?)"
        rf"\s?(?P<after>{UNIT})?"
    )


def parse_number(text: str, decimal: Decimal = ".") -> tuple[float, str] | None:
    """The value of a number, and its unit, which is empty if there is none; None if the text is not a number.

    A percentage is not divided by 100: its unit is %.

    >>> [parse_number(text) for text in ("1,200", "37%", "-$5", "12.5 kg", "1,5")]
    [(1200.0, ''), (37.0, '%'), (-5.0, '$'), (12.5, 'kg'), None]
    >>> parse_number("1.200,5 €", ",")
    (1200.5, '€')
    """
    if len(text) > MAX_LENGTH:  # no unit, and perhaps too large for a float: infinite, which is refused as such
        return (float(text), "") if text.isascii() and text.isdigit() else None
    match = number_pattern(decimal).fullmatch(text.strip())
    if match is None or (match["sign"] and match["inner"]) or (match["before"] and match["after"]):
        return None
    digits = re.sub(r"[^\d" + re.escape(decimal) + "]", "", match["number"]).replace(decimal, ".")
    negative = bool(set(match["sign"] + match["inner"]) & {"-", "−"})  # noqa: RUF001
    return float(digits + match["exponent"]) * (-1 if negative else 1), match["before"] or match["after"] or ""


def is_date(text: str) -> bool:
    """Whether a text is a date, or a date with a time.

    >>> [is_date(text) for text in ("2024-01-31 18:00", "31.1.24", "Jan 2024", "1.5", "10-19")]
    [True, True, True, False, False]
    """
    return len(text) <= MAX_LENGTH and DATE.fullmatch(text.strip()) is not None


@dataclass(frozen=True)
class Numbers:
    """The numbers in a column.

    Attributes:
        values: (N,) float64; NaN for a missing cell and for one that is not a number.
        cell_units: the units of the numbers that are not written plainly; "" for those without one.
        units: each unit with the first cell that has it, the most frequent first; "" for numbers without one. Of text
            with numbers in it, those that occur most.
        example: the first cell with a thousands separator and without a unit, if any.
    """

    values: pd.Series
    cell_units: pd.Series
    units: dict[str, str]
    example: str = ""

    @property
    def unit(self) -> str:
        """The most frequent unit."""
        return next(iter(self.units), "")


def parse_numbers(cells: pd.Series, decimal: Decimal = ".") -> Numbers:
    """The numbers in a column of text or of typed values."""
    import pandas as pd

    if cells.dtype.kind in "mM" or isinstance(cells.dtype, pd.CategoricalDtype):
        cells = cells.astype(object).map(str, na_action="ignore")  # dates are not numbers
    values = pd.to_numeric(cells, errors="coerce").astype("float64")
    if decimal == ",":
        values = values.mask(cells.map(lambda cell: "." in str(cell)).astype(bool))
    others = values.isna() & cells.notna()
    plain, texts = cells[values.notna()], cells[others].map(str)
    parsed = {text: found for text in texts.unique() if (found := parse_number(text, decimal)) is not None}
    values[others] = texts.map({text: value for text, (value, _) in parsed.items()}).astype("float64")
    units = texts.map({text: unit for text, (_, unit) in parsed.items()}).dropna()
    grouped = next((text for text, (_, unit) in parsed.items() if not unit), "")
    return Numbers(values, units, _first_by_unit(plain, texts, units), grouped)


def as_numbers(cells: pd.Series, unit: str = "") -> pd.Series:
    """Cells as float64, with NaN for those that are not numbers, or have another unit than ``unit``."""
    numbers = parse_numbers(cells)
    others = numbers.cell_units.map(lambda other: bool(other) and not same_unit(other, unit)).astype(bool)
    numbers.values[others.index[others]] = np.nan
    return numbers.values


def finite_float32(numbers: pd.Series) -> np.ndarray:
    """(N,) float32, with infinities for values that are too large."""
    with np.errstate(over="ignore"):
        return numbers.to_numpy(dtype=np.float32)


def same_unit(a: str, b: str) -> bool:
    """Whether two spellings are the same unit: with a capital, a full stop or a plural."""
    return _unit_key(a) == _unit_key(b)


def _unit_key(unit: str) -> str:
    """``Kgs.`` and ``kg`` are the same; ``M`` and ``m`` are not.

    >>> [_unit_key(unit) for unit in ("Kgs.", "rooms", "M", "s")]
    ['kg', 'room', 'M', 's']
    """
    key = unit.rstrip(".")
    key = key.casefold() if len(key) > 1 else key
    return key.removesuffix("s") if len(key) > 2 else key


def _first_by_unit(plain: pd.Series, texts: pd.Series, units: pd.Series) -> dict[str, str]:
    """Each unit with the first cell that has it, the most frequent first; spellings of the same unit are one."""
    counts, firsts = {"": len(plain)}, {"": str(plain.iloc[0])} if len(plain) else {}
    names = {"": ""}
    for unit, count in units.value_counts().head(MAX_UNITS).items():
        key = _unit_key(str(unit))
        counts[key] = counts.get(key, 0) + int(count)
        firsts.setdefault(key, str(texts[units.index[units == unit][0]]))
        names.setdefault(key, str(unit))
    return {names[key]: firsts[key] for key in sorted(firsts, key=counts.__getitem__, reverse=True)}
