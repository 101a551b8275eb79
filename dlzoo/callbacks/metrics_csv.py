"""metrics.csv: reading and writing, one row for each epoch."""

from __future__ import annotations

from pathlib import Path

from dlzoo.config import run_files
from dlzoo.errors import UserError, short
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils.files import replaced

Row = dict[str, float]
"""The values of an epoch by column; ``epoch`` and ``step`` are integers."""

MAX_ROWS = 1_000_000
MAX_EPOCHS = 2**53


def read_rows(path: Path) -> list[Row]:
    """The rows of a metrics.csv; a metric that was not measured in an epoch is missing in its row.

    An incomplete last line is skipped: the disk was full.
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
        if not 0 <= row.get("epoch", -1) < MAX_EPOCHS or not 0 <= row.get("step", 0) < MAX_EPOCHS:
            run_files.refuse(path, f"line {number}", row.get("epoch"), "a row with the number of its epoch")
        rows.append(row)
        if len(rows) > MAX_ROWS:
            raise UserError(f"{path} has more than {MAX_ROWS:,} rows")
    return rows


def write_rows(path: Path, rows: list[Row], columns: list[str]) -> None:
    with replaced(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv_files.Writer(file)
        writer.writerow(columns)
        writer.writerows(cells(row, columns) for row in rows)


def cells(row: Row, columns: list[str]) -> list[str]:
    """A row as text by column; empty if a metric was not measured."""
    texts = as_text(row)
    return [texts.get(column, "") for column in columns]


def as_text(row: Row) -> dict[str, str]:
    """With seven digits, the precision of a float32."""
    return {k: str(v) if isinstance(v, int) else f"{v:.7g}" for k, v in row.items()}
