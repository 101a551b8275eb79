"""Rows of a table, steps of a series and texts as JSON: a list of objects, or an object in each line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlzoo.commands import cli
from dlzoo.data.text_reader import content_of, decode
from dlzoo.errors import UserError, short
from dlzoo.utils.untrusted import parse_json

SUFFIXES = (".json", ".jsonl", ".ndjson")
CSV_STYLE: dict[str, Any] = {"separator": ",", "decimal": ".", "encoding": "utf-8", "header": True, "quotes": True}
"""Of what `as_csv` writes, as for `dlzoo.data.csv_reader.read_table`."""

Rows = list[dict[str, object]]


def read(source: Path | cli.Content, *, may_be_text: bool = False) -> Rows | None:
    """The objects in a file with the extension of JSON, or in bytes that begin like JSON; None if it is neither.

    Args:
        may_be_text: whether bytes that begin like JSON, but are not, may be text.

    Raises:
        UserError: it should be JSON, but is not.
    """
    if isinstance(source, Path):
        is_json = source.suffix.lower() in SUFFIXES
        return parse(decode(content_of(source), "utf-8-sig", source, "encoding"), source) if is_json else None
    content = source.getvalue()
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start not in (b"{", b"["):
        return None
    try:
        return parse(decode(content, "utf-8-sig", source, "encoding"), source)
    except UserError:
        if may_be_text or start == b"[":  # the name of a column may begin like this
            return None
        raise


def parse(text: str, source: object) -> Rows:
    """The objects of a JSON list, or of lines of JSON.

    Raises:
        UserError: names the first line that is not an object.
    """
    if text.lstrip().startswith("["):
        rows: Any = parse_json(text, source)
        if not isinstance(rows, list):
            raise UserError(f"{source} is not a JSON list of objects")
    else:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        rows = [parse_json(line, f"{source}, line {number}") for number, line in lines]
    if not any(rows):
        raise UserError(f"{source} contains no rows")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UserError(
                f'{source}: entry {number} is {short(json.dumps(row))}, not an object such as {{"name": 1}}'
            )
    return rows


def as_csv(rows: Rows, source: object) -> cli.Content:
    """The rows as a CSV file in `CSV_STYLE`; a name that a row lacks is a missing value there."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for number, row in enumerate(rows, 1):
        writer.writerow([_cell(row.get(name), f"{source}: entry {number}, {short(name)}") for name in names])
    return cli.Content(text.getvalue().encode("utf-8", errors="replace"), f"{source}")


def texts_of(rows: Rows, names: Sequence[str], source: object) -> list[str]:
    """The text of each object: of the first of these names that it has, or its only value."""
    texts = []
    for number, row in enumerate(rows, 1):
        known = [row[name] for name in names if name in row] or [*row.values()]
        if not known or (len(known) > 1 and not {*names} & {*row}) or not isinstance(known[0], str):
            raise UserError(f'{source}: entry {number} has no text: write {{"{names[0]}": "…"}}')
        texts.append(" ".join(known[0].split("\n")))
    return texts


def _cell(value: object, place: str) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        raise UserError(f"{place} is {short(json.dumps(value))}: give a number or a text")
    return value if isinstance(value, str) else json.dumps(value)
