"""Tables of counts for RESULTS.md: the tests that count write them where DLZOO_WRITE_RESULTS is set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts import reliability

ROOT = Path(__file__).parents[1]


def are_wanted() -> bool:
    return bool(os.environ.get("DLZOO_WRITE_RESULTS"))


def write(
    file: str,
    part: str,
    *,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    note: str,
    select: str = "-m reliability ",
) -> None:
    """Write the table that a test file counted, with the command that counts it again; nothing where it is not wanted.

    Args:
        file: ``__file__`` of the test.
        select: options of pytest that select the tests.
    """
    if are_wanted():
        command = f"DLZOO_WRITE_RESULTS=1 pytest {select}{Path(file).relative_to(ROOT).as_posix()}"
        reliability.save(ROOT, part, title=title, command=command, columns=columns, rows=rows, note=note)


def with_total(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The rows and their sums: numbers are added, with None as 0; booleans hold if all do; text is left out."""

    def total(cells: Sequence[Any]) -> Any:
        if any(isinstance(cell, str) for cell in cells):
            return ""
        return all(cells) if all(isinstance(cell, bool) for cell in cells) else sum(cell or 0 for cell in cells)

    return [*map(list, rows), ["all", *map(total, [*zip(*rows, strict=True)][1:])]]
