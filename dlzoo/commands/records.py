"""The results for each input, as a table, JSON, JSON lines or CSV."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dlzoo.errors import visible
from dlzoo.inference.records import Record, cells_of, headings_of, parts_of, titled
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils import files as paths

FormatName = Literal["table", "json", "jsonl", "csv"]


def write_records(records: Sequence[Record], format: FormatName, output: Path | None) -> None:
    """Print the records, or write them to a file."""
    text = render(records, format)
    if output is None:
        print(visible(text) if sys.stdout.isatty() else text, end="")
    else:
        paths.write(output, text.encode("utf-8", errors="backslashreplace"))
        print(f"predictions   {output}")


def render(records: Sequence[Record], format: FormatName) -> str:
    """The records as text that ends with a newline."""
    if format == "json":
        return json.dumps(records, indent=2, allow_nan=False) + "\n"
    if format == "jsonl":
        return "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    return _csv(records) if format == "csv" else _table(records)


def _csv(records: Sequence[Record]) -> str:
    text = io.StringIO()
    writer = csv_files.Writer(text, lineterminator="\n")
    headings = [heading for name, part in parts_of(records[0]).items() for heading in headings_of(name, part)]
    writer.writerow(["input", *headings])
    for record in records:
        writer.writerow([record["input"], *(cell for part in parts_of(record).values() for cell in cells_of(part))])
    return text.getvalue()


def _table_headings(target: str, part: Record) -> list[str]:
    if "words" in part:
        return ["words/tags"]
    if "predictions" in part and "probability" not in part["predictions"][0]:
        return [titled(target, "class")]
    if "predictions" in part:
        return [titled(target, f"#{i + 1}") for i in range(len(part["predictions"]))]
    if "output" in part:
        return [titled(target, "output")]
    units = part.get("units", {})
    names = part["values"] if "values" in part else part["labels"]
    return [titled(target, name) + (f" ({units[name]})" if units.get(name) else "") for name in names]


def _table_cells(part: Record) -> list[str]:
    if "words" in part:
        return [" ".join(f"{each['word']}/{each['tag']}" for each in part["words"])]
    if "output" in part:
        return [part["output"]]
    if "values" in part:
        return [f"{value:.6g}" for value in part["values"].values()]
    if "labels" in part:
        return [f"{probability:.2%}" for probability in part["labels"].values()]
    return [f"{p['class']}  {p['probability']:.2%}" if "probability" in p else p["class"] for p in part["predictions"]]


def _table(records: Sequence[Record]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    headings = [heading for name, part in parts_of(records[0]).items() for heading in _table_headings(name, part)]
    rows = [[cell for part in parts_of(record).values() for cell in _table_cells(part)] for record in records]
    table = Table(box=None, pad_edge=False)
    table.add_column("input")
    for heading in headings:
        table.add_column(Text(visible(heading, keep="")), justify="right")
    for record, cells in zip(records, rows, strict=True):
        table.add_row(
            *(Text(visible(cell, keep="")) for cell in (str(record["input"]), *cells))
        )  # Text: [x] in a name is not markup
    text = io.StringIO()
    Console(file=text, width=10_000).print(table)  # no line wrapping: the reader may be a program
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def format_of(format: FormatName | None, output: Path | None) -> FormatName:
    """The format given, or the one of the file's extension, or a table."""
    if format is not None:
        return format
    by_extension: dict[str, FormatName] = {".json": "json", ".jsonl": "jsonl", ".csv": "csv"}
    return by_extension.get("" if output is None else output.suffix.lower(), "table")
