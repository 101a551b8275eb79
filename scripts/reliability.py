"""Reliability measurements: one file per measurement, and a section of RESULTS.md from all of them.

Each ``results/reliability/<part>.json`` holds ``{"title", "command", "columns", "rows", "note"}``, written by the
command that it names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlzoo.config import run_files
from dlzoo.errors import UserError, short
from scripts import stored

KEYS = ("title", "command", "columns", "rows", "note")
TABLE: Mapping[str, run_files.Check] = {
    "title": stored.is_str, "command": stored.is_str, "columns": run_files.is_list_of_str,
    "rows": lambda value: isinstance(value, list) and all(isinstance(row, list) for row in value),
    "note": run_files.is_str_or_none,
}  # fmt: skip
MAX_ROWS = 20
"""Rows of a table that is not collapsed."""
MAX_CHARACTERS = 160
"""Characters of a cell."""


def save(
    root: Path, part: str, *, title: str, command: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str
) -> Path:
    """Write ``results/reliability/<part>.json``."""
    table = {"title": title, "command": command, "columns": list(columns), "rows": [*map(list, rows)], "note": note}
    path = root / "results" / "reliability" / f"{part}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def section(root: Path) -> list[str]:
    """A table per file, sorted by name."""
    lines = []
    for path in sorted((root / "results" / "reliability").glob("*.json")):
        lines += table_lines(stored.read_json(root, path), path)
    return ["## Reliability", "", *lines] if lines else []


def table_lines(table: dict[str, Any], path: Path) -> list[str]:
    """One measurement, as Markdown.

    Raises:
        UserError: a key is missing, or a row does not match the columns.
    """
    if missing := [key for key in KEYS if key not in table]:
        raise UserError(f"{path} lacks {', '.join(missing)}; rerun the command that wrote it")
    stored.check(table, TABLE, path, "")
    for row in table["rows"]:
        if len(row) != len(table["columns"]):
            raise UserError(f"{path}: {row} does not match the columns {', '.join(table['columns'])}")
    lines = [
        f"| {' | '.join(table['columns'])} |",
        f"|{' --- |' * len(table['columns'])}",
        *(f"| {' | '.join(map(cell, row))} |" for row in table["rows"]),
        "",
    ]
    if len(table["rows"]) > MAX_ROWS:
        lines = ["<details>", f"<summary>{len(table['rows'])} rows</summary>", "", *lines, "</details>", ""]
    return [
        f"### {table['title']}",
        "",
        *lines,
        *([table["note"], ""] if table["note"] else []),
        f"From `{table['command']}`.",
        "",
    ]


def cell(value: Any) -> str:
    """A value as shown in a table.

    >>> [cell(value) for value in (True, None, 12345, 0.01234567, "a|b")]
    ['yes', '-', '12,345', '0.01235', 'a\\\\|b']
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else short(value, MAX_CHARACTERS).replace("|", "\\|")
