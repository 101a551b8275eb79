"""CSV files that are opened in a spreadsheet: what begins a text cell is never taken for a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any, TextIO

FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Writer:
    """Writes rows as `csv.writer` does; a text that a spreadsheet would calculate gets an apostrophe before it.

    Names of classes, columns and files are whatever somebody chose, and ``=HYPERLINK(…)`` in a cell sends its
    neighbours away. Numbers stay as they are.

    Args:
        lineterminator: of each row.
    """

    def __init__(self, file: TextIO, lineterminator: str = "\r\n") -> None:
        self._writer = csv.writer(file, lineterminator=lineterminator)

    def writerow(self, cells: Iterable[Any]) -> None:
        self._writer.writerow([safe(cell) for cell in cells])

    def writerows(self, rows: Iterable[Iterable[Any]]) -> None:
        for row in rows:
            self.writerow(row)


def safe(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula.

    >>> [safe(cell) for cell in ("=1+1", "-0.5", -0.5, "-a.png", "a=b", None)]
    ["'=1+1", '-0.5', -0.5, "'-a.png", 'a=b', None]
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) and not is_number(cell) else cell


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip() == text
