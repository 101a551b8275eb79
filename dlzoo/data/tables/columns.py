"""What the columns of a table are: numbers, categories, or neither, such as ids and dates.

Columns are cells of text, as in a CSV file, or typed values; of the training rows alone. A column that may be one or
the other is an error that names the option to set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dlzoo.data.categories import merge_spellings
from dlzoo.data.numbers import CURRENCY, Numbers, is_date, parse_numbers
from dlzoo.data.tables.encoding import as_text
from dlzoo.errors import UserError, short
from dlzoo.specs.inputs import Column

if TYPE_CHECKING:
    import pandas as pd

FEW_CATEGORIES = 20
"""Numbers with different words after them, such as ``1st`` and ``2nd``, are categories if at most this many differ."""
MAX_UNITS = 3
"""Words after the numbers of a column that can be units; text has more."""
MAX_SHOWN = 12
"""Columns named in a line of the summary, and errors in a message (a third)."""
ID_NAME = re.compile(r"(?i:id|index|idx|uuid|.*[_\s.-]id|unnamed: \d+)|.*[a-z](?:Id|ID)")
COUNTER_NAME = re.compile(
    r"(?i:|no|nr|row|rows|number|num|#|sr\.? ?no\.?|s\.? ?no\.?|.*row[_ ]?(?:no|nr|number|num))\.?"
)


@dataclass(frozen=True)
class FittedColumns:
    """What the columns are.

    Attributes:
        columns: by name.
        dropped: the columns that are not used, and why.
        remarks: what a user should know of a column.
    """

    columns: dict[str, Column]
    dropped: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)

    def summary(self) -> list[str]:
        """The columns by kind, a line for each kind."""
        numbers = [
            f"{name} ({note})" if (note := self.remarks.get(name) or column.unit) else name
            for name, column in self.columns.items()
            if not column.categories
        ]
        categories = [f"{name} ({len(c.categories)})" for name, c in self.columns.items() if c.categories]
        dropped = [f"{name} ({reason})" for name, reason in self.dropped.items()]
        kinds = {"numbers": numbers, "categories": categories, "dropped": dropped}
        return [f"  {kind}: {listed(names)}" for kind, names in kinds.items() if names]


def listed(names: Sequence[str]) -> str:
    """Names for a line of the summary, not too many of them."""
    more = f", and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return ", ".join(short(name) for name in names[:MAX_SHOWN]) + more


@dataclass(frozen=True)
class ColumnRules:
    """How columns are read.

    Args:
        categorical: columns of categories, whatever they look like.
        numeric: columns of numbers, even if they look like ids.
        impute: whether columns have a fill value.
        max_categories: of a column.
        may_have_names: whether a column may name the rows.
    """

    categorical: Sequence[str] = ()
    numeric: Sequence[str] = ()
    impute: bool = False
    max_categories: int = 100
    may_have_names: bool = False

    def ids(self, train: pd.DataFrame, names: Sequence[str]) -> dict[str, str]:
        """The columns that number the rows, and why they are taken for that; rows have their number as index."""
        free = [name for name in names if name not in (*self.categorical, *self.numeric)]
        found = {name: reason for name in free if (reason := id_reason(train[name], name))}
        return found if len(found) < len(names) else {}

    def fit(self, train: pd.DataFrame, names: Sequence[str]) -> FittedColumns:
        """The columns of these names.

        Raises:
            UserError: a column is neither numbers nor categories, or may be both; names the options to set.
        """
        columns, errors, remarks = {}, [], {}
        for name in names:
            try:
                columns[name], remarks[name] = self._column(train[name])
            except UserError as error:
                errors.append(str(error))
        if errors:
            more = f"; and {len(errors) - MAX_SHOWN // 3} more columns like these" * (len(errors) > MAX_SHOWN // 3)
            raise UserError("; ".join(errors[: MAX_SHOWN // 3]) + more)
        return FittedColumns(columns, remarks={name: remark for name, remark in remarks.items() if remark})

    def _column(self, values: pd.Series) -> tuple[Column, str]:
        """A column, and a remark for the summary."""
        name, present = str(values.name), values.dropna()
        if not len(present):
            raise UserError(f"column {name} has no values in the training rows: drop it with data.drop=[{name}]")
        numbers = parse_numbers(present)
        if name not in self.categorical:
            if numbers.values.notna().all() and len(numbers.units) == 1:
                fill = float(numbers.values.median()) if self.impute else None
                return Column(name, unit=numbers.unit, fill=fill), _remark(present, numbers)
            if doubt := _doubt(present, numbers, forced=name in self.numeric):
                raise UserError(doubt + self._categorical_hint(present))
        return self._categories(present), ""

    def _categorical_hint(self, present: pd.Series) -> str:
        num_values = present.nunique()
        if num_values > self.max_categories or num_values == len(present) > 10:
            return ""
        return f"; if these are categories, set data.categorical=[{present.name}]"

    def _categories(self, present: pd.Series) -> Column:
        name, text = str(present.name), merge_spellings(as_text(present))
        categories = sorted(set(text))
        if len(categories) > self.max_categories or (len(categories) == len(text) > 10):
            names = f"if it names the rows, set data.names={name}; else " if self.may_have_names else ""
            raise UserError(
                f"column {name} is text with {len(categories)} different values in {len(text)} training rows, like an "
                f"id: {names}drop it with data.drop=[{name}], or raise data.max_categories={self.max_categories}"
            )
        return Column(name, categories=tuple(categories), fill=text.mode()[0] if self.impute else None)


def id_reason(values: pd.Series, name: str) -> str:
    """Why a column is an id: its name, and a different integer in each row, or the number of the row; else empty."""
    if not (ID_NAME.fullmatch(name) or COUNTER_NAME.fullmatch(name)) or values.isna().any():
        return ""
    numbers = parse_numbers(values).values
    if counts_rows(numbers):
        return "the number of the row"
    is_id = bool((numbers % 1 == 0).all()) and numbers.is_unique and len(numbers) > 10
    return "a different integer in each row" if is_id and ID_NAME.fullmatch(name) else ""


def counts_rows(numbers: pd.Series) -> bool:
    """Whether each number is that of its row, counted from anywhere; rows have their number as index."""
    offsets = numbers - numbers.index.to_numpy()
    return len(numbers) > 2 and bool((offsets == offsets.iloc[0]).all())


def _remark(present: pd.Series, numbers: Numbers) -> str:
    if counts_rows(numbers.values) and not (numbers.unit or numbers.example):
        return f"counts the rows; if it is an id: data.drop=[{present.name}]"
    notes = [numbers.unit] if numbers.unit else []
    return ", ".join([*notes, *([f"written like {numbers.example!r}"] if numbers.example else [])])


def _doubt(present: pd.Series, numbers: Numbers, *, forced: bool) -> str:
    """Why a column that is not entirely numbers of one unit cannot be taken for categories; else empty."""
    name = str(present.name)
    if is_dates(present):
        return (
            f"column {name} contains dates such as {short(present.iloc[0])!r}, which are not features: drop it with "
            f"data.drop=[{name}], or use data=series for a series over time"
        )
    missing = present[numbers.values.isna()]
    with_comma = parse_numbers(missing, ",") if len(missing) else numbers
    if len(missing) and with_comma.values.notna().all():
        return f"column {name} contains {short(missing.iloc[0])!r}: for decimal commas set data.decimal=','"
    num_numbers = len(present) - len(missing)
    if len(numbers.units) > MAX_UNITS or (num_numbers < len(present) / 2 and not forced):
        return ""
    if not len(missing):
        return _doubtful_units(present, numbers.units, forced=forced)
    others = missing.map(str).value_counts()
    words = ", ".join(repr(short(word, 30)) for word in others.index[:3]) + ", …" * (len(others) > 3)
    is_mark = len(others) == 1
    marks = (
        f"if {words} marks a missing value, add it to data.missing_marks and set data.missing=impute"
        if is_mark
        else f"if some of these mark missing values, add them to data.missing_marks=[{others.index[0]},…] and set "
        "data.missing=impute"
    )
    return (
        f"column {name} has numbers in {num_numbers} of {len(present)} training rows, and {words} in the others: "
        f"{marks}, or drop it with data.drop=[{name}]"
    )


def _doubtful_units(present: pd.Series, units: Mapping[str, str], *, forced: bool) -> str:
    is_certain = any(re.fullmatch(rf"|\+|%|{CURRENCY}", unit) for unit in units)
    if not (is_certain or forced or present.nunique() > FEW_CATEGORIES):
        return ""
    cells = ", ".join(repr(short(cell)) for cell in units.values())
    return f"column {present.name} has numbers of different units, such as {cells}: write all of them in one unit"


def is_dates(present: pd.Series) -> bool:
    """Whether all values are dates, or dates with times."""
    return present.dtype.kind == "M" or bool(present.map(str).map(is_date).all())
