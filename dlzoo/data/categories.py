"""Categories and classes: the spellings of a number that are one category, and the number of each."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dlzoo.errors import UserError
from dlzoo.specs.targets import Classes, few_enough

if TYPE_CHECKING:
    import pandas as pd

SWAP_SEPARATORS = str.maketrans(",.", ".,")


def plain_spelling(text: str) -> str:
    """A number without zeros at the end of its fraction; other text unchanged.

    >>> [plain_spelling(text) for text in ("1.0", "1.50", "01", "1.x")]
    ['1', '1.5', '01', '1.x']
    """
    return text.rstrip("0").removesuffix(".") if re.fullmatch(r"[+-]?\d+\.\d*0", text) else text


def merge_spellings(text: pd.Series) -> pd.Series:
    """Text with one spelling for equal numbers: ``1`` where both ``1`` and ``1.0`` occur."""
    import pandas as pd  # a quarter of a second, which only tables are worth

    spellings = {cell: plain_spelling(cell) for cell in text.dropna().unique()}
    groups = pd.Series(spellings).value_counts()
    merged = {cell: plain for cell, plain in spellings.items() if groups[plain] > 1 and cell != plain}
    return text.map(lambda cell: merged.get(cell, cell)) if merged else text


def category_indices(text: pd.Series, categories: Sequence[str]) -> np.ndarray:
    """(N,) int64: the index of each cell's category, by its exact spelling or as the same number; -1 if it is none."""
    import pandas as pd

    indices = pd.Index(categories).get_indexer(pd.Index(text))
    if not (indices < 0).any():
        return indices
    by_spelling = {plain_spelling(name): i for i, name in reversed([*enumerate(categories)])}
    unknown = indices < 0
    found = {
        cell: by_spelling.get(plain_spelling(str(cell)), by_spelling.get(_other_decimal(str(cell)), -1))
        for cell in text[unknown].unique()
    }
    indices[unknown] = [found[cell] for cell in text[unknown]]
    return indices


def by_value(label: str) -> tuple[float, str]:
    """Sorts numbers by value, before other labels."""
    try:
        return float(label), label
    except ValueError:
        return math.inf, label


def classes_of(
    labels: pd.Series,
    key: str,
    remedy: str,
    *,
    unit: str = "row",
    note: str = "",
    sort_key: Callable[[str], Any] | None = by_value,
) -> Classes:
    """The classes of labels, spellings of a number merged.

    Args:
        key: the option that names them, with its value, for messages.
        remedy: what to do about a class of one row.
        unit: what has a label.
        note: what else may be wrong.

    Raises:
        UserError: a single class, one of a single row, or too many.
    """
    counts = merge_spellings(labels).value_counts()
    names = sorted(counts.index, key=sort_key)
    if len(names) == 1:
        raise UserError(f"{key} has only one class, {names[0]!r}: there is nothing to learn{note}")
    few_enough(len(names), key)
    if singletons := [name for name in names if counts[name] == 1]:
        have = f"{len(singletons)} of {len(names)} classes have a single {unit}, such as {singletons[0]!r}"
        raise UserError(f"{key}: {have}; {remedy}{note}")
    return Classes(tuple(names))


def _other_decimal(text: str) -> str:
    """Categories of earlier versions kept the decimal comma of numbers with a unit, such as ``5,5 kg``."""
    return text.translate(SWAP_SEPARATORS) if re.match(r"\W*\d+[.,]\d", text) else text
