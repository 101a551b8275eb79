"""CSV files that are safe to open in a spreadsheet: no text cell can be taken for a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TextIO

FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")


class Writer:
    """Writes rows as `csv.writer` does, with an apostrophe before any text that a spreadsheet would evaluate.

    Names of classes, columns and files are untrusted, and ``=HYPERLINK(…)`` in a cell can leak its neighbours. Numbers
    are left unchanged.

    Args:
        lineterminator: ends each row.
    """

    def __init__(self, file: TextIO, lineterminator: str = "\r\n") -> None:
        self._writer = csv.writer(file, lineterminator=lineterminator)

    def writerow(self, cells: Iterable[object]) -> None:
        self._writer.writerow([safe(cell) for cell in cells])

    def writerows(self, rows: Iterable[Iterable[object]]) -> None:
        for row in rows:
            self.writerow(row)


def safe(cell: object) -> object:
    """A cell that no spreadsheet evaluates as a formula.

    >>> [safe(cell) for cell in ("=1+1", "-0.5", -0.5, "-a.png", "a=b", None)]
    ["'=1+1", '-0.5', -0.5, "'-a.png", 'a=b', None]
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_PREFIXES) and not is_number(cell) else cell


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip() == text
