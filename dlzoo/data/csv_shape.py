"""The shape of a CSV file: rows of equal length, and quotation marks that enclose cells or do not."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Literal

from dlzoo.errors import UserError, short

MAX_COLUMNS = 10_000
"""Files with more are unlikely to be tables, and reading them would take minutes."""

csv.field_size_limit(2**31 - 1)  # a cell may contain a whole book

Row = tuple[int, int, list[str]]
"""The numbers of the first and last line of a row, and its cells."""


def quoting(quotes: bool | None) -> Literal[0, 3]:
    """The constant of the csv module."""
    return csv.QUOTE_NONE if quotes is False else csv.QUOTE_MINIMAL


def check_shape(text: str, separator: str, path: object, *, quotes: bool | None) -> None:
    """Reject an empty file, and rows with more or fewer cells than the first; pandas would pad short ones.

    Args:
        text: with line feeds.
        quotes: as for `read_table`.

    Raises:
        UserError: names the line, and the option to change.
    """
    rows = _rows(text, separator, quotes=quotes)
    try:
        _, _, first = next(rows, (0, 0, None))
        if first is None:
            raise UserError(f"{path} is empty")
        if len(first) > MAX_COLUMNS:
            raise UserError(f"{path}: the first line has {len(first):,} cells, but at most {MAX_COLUMNS:,} are allowed")
        lines: list[str] = []
        for start, end, row in rows:
            if len(row) != len(first):
                raise UserError(_wrong_length(text, separator, path, first, (start, end, row), quotes))
            if end > start and quotes is None:
                if not lines:  # once: in a file of long texts each row has several lines
                    lines = _lines_with_quotes(text, separator, path, (start, end, row))
                _check_joined(lines, separator, path, (start, end, row))
    except csv.Error as error:
        raise UserError(f"{path} cannot be read as CSV: {error}") from None


def _rows(text: str, separator: str, *, quotes: bool | None) -> Iterator[Row]:
    """The rows that are not blank."""
    lines = csv.reader(io.StringIO(text), delimiter=separator, quoting=quoting(quotes))
    start = 1
    for row in lines:
        if len(row) > 1 or "".join(row).strip():
            yield start, lines.line_num, row
        start = lines.line_num + 1


def _lines_with_quotes(text: str, separator: str, path: object, row: Row) -> list[str]:
    """The lines of a file; `UserError` if they are a table without the quotation marks that join this row's lines."""
    start, end, _ = row
    if _is_table_without_quotes(text, separator):
        raise UserError(
            f"{path}: the quotation mark in line {start} joins lines {start} to {end} into one row: if quotation marks "
            "are ordinary characters in this file, set data.quotes=false; if they enclose cells, data.quotes=true"
        )
    return text.split("\n")


def _check_joined(lines: Sequence[str], separator: str, path: object, row: Row) -> None:
    """Reject a row of several lines if a quotation mark that belongs to a cell may have joined them."""
    start, end, _ = row
    joined = "\n".join(lines[start - 1 : end])
    try:
        list(csv.reader(io.StringIO(joined), delimiter=separator, strict=True))
    except csv.Error:
        raise UserError(
            f"{path}: the quotation mark in line {start} joins lines {start} to {end} into one row, and the cell does "
            "not end with one: double the quotation marks within cells, or set data.quotes=false if they enclose none"
        ) from None


def _is_table_without_quotes(text: str, separator: str) -> bool:
    """Whether all lines have the same number of cells, at least two, if quotation marks are ordinary characters."""
    counts = {line.count(separator) for line in text.split("\n") if line.strip()}
    return len(counts) == 1 and counts != {0}


def _wrong_length(
    text: str, separator: str, path: object, first: Sequence[str], wrong: Row, quotes: bool | None
) -> str:
    start, line, row = wrong
    hint = _separator_hint(first, separator)
    if quotes is None and '"' in text and _is_table_without_quotes(text, separator):
        hint = ", or set data.quotes=false if quotation marks do not enclose cells"
    elif line > start:
        hint = f"; a quotation mark in line {start} joins the lines from there on: double it, or set data.quotes=false"
    return (
        f"{path}, line {line} ({short(separator.join(row))}) has {_cells(row)}, but the first line has "
        f"{_cells(first)} ({short(separator.join(first))}): fix this line{hint}"
    )


def _cells(row: Sequence[str]) -> str:
    return f"{len(row):,} cell{'s' * (len(row) != 1)}"


def _separator_hint(header: Sequence[str], separator: str) -> str:
    """Suggest another separator if the header does not contain the given one."""
    if len(header) > 1:
        return ""
    candidates = [other for other in (",", ";", "\t", "|") if other != separator and other in header[0]]
    best = max(candidates, key=header[0].count, default=None)
    return f", or set data.separator={best!r}" if best else ""
