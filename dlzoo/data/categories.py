"""Categories and classes: the spellings of a number that are one category, and the number of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

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


def _other_decimal(text: str) -> str:
    """Categories of earlier versions kept the decimal comma of numbers with a unit, such as ``5,5 kg``."""
    return text.translate(SWAP_SEPARATORS) if re.match(r"\W*\d+[.,]\d", text) else text
