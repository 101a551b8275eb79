"""metrics.csv: a row for each epoch, written and read."""

from __future__ import annotations

from pathlib import Path

from dlzoo.config import run_files
from dlzoo.errors import UserError, short
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils.files import replaced

Row = dict[str, float]
"""Of an epoch, by column; ``epoch`` and ``step`` are whole numbers."""

MOST_ROWS = 1_000_000
"""Of metrics.csv."""


MOST_EPOCHS = 2**53


def read_rows(path: Path) -> list[Row]:
    """The rows of a metrics.csv; a metric that was not measured in an epoch is left out of its row.

    The last line is left out if it has no end: the disk was full.
    """
    rows: list[Row] = []
    for number, cells in enumerate(run_files.csv_rows(path), 2):
        row: Row = {}
        for name, text in cells.items():
            if not text:
                continue
            try:
                row[name] = int(text[:20]) if name in ("epoch", "step") else float(text)
            except ValueError:
                run_files.refuse(path, f"line {number}, {short(name)}", text, "a number")
        if not 0 <= row.get("epoch", -1) < MOST_EPOCHS or not 0 <= row.get("step", 0) < MOST_EPOCHS:
            run_files.refuse(path, f"line {number}", row.get("epoch"), "a row with the number of its epoch")
        rows.append(row)
        if len(rows) > MOST_ROWS:
            raise UserError(f"{path} has more than {MOST_ROWS:,} rows")
    return rows


def write_rows(path: Path, rows: list[Row], columns: list[str]) -> None:
    with replaced(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv_files.Writer(file)
        writer.writerow(columns)
        writer.writerows(cells(row, columns) for row in rows)


def cells(row: Row, columns: list[str]) -> list[str]:
    """A row's texts by column; empty where a metric was not measured."""
    texts = as_text(row)
    return [texts.get(column, "") for column in columns]


def as_text(row: Row) -> dict[str, str]:
    """With the seven digits that a float32 holds."""
    return {k: str(v) if isinstance(v, int) else f"{v:.7g}" for k, v in row.items()}
