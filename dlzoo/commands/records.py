"""The results for each input, as a table, JSON or CSV."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dlzoo.errors import visible
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    from torch import Tensor

    from dlzoo.specs.base import Target


FormatName = Literal["table", "json", "csv"]
Record = dict[str, Any]


def to_records(names: Sequence[Any], result: Tensor, target: Target, top_k: int) -> list[Record]:
    """The results of a batch as they go into JSON. result: (B, K), as `predict` returns it."""
    if target.classes is not None:
        best = result.topk(min(top_k, target.num_outputs), dim=1)
        return [
            {
                "input": name,
                "predictions": [
                    {"class": target.names[k], "probability": p} for k, p in zip(ks, probabilities, strict=True)
                ],
            }
            for name, ks, probabilities in zip(names, best.indices.tolist(), best.values.tolist(), strict=True)
        ]
    if target.labels is not None:
        return [
            {"input": name, "labels": dict(zip(target.names, row, strict=True))}
            for name, row in zip(names, result.tolist(), strict=True)
        ]
    units = {"units": dict(zip(target.names, target.units, strict=False))} if any(target.units) else {}
    return [
        {"input": name, "values": dict(zip(target.names, row, strict=True)), **units}
        for name, row in zip(names, result.tolist(), strict=True)
    ]


def write_records(records: Sequence[Record], target: Target, format: FormatName, output: Path | None) -> None:
    """Print the records, or write them to a file."""
    text = render(records, target, format)
    if output is None:
        print(visible(text) if sys.stdout.isatty() else text, end="")
    else:
        paths.write(output, text.encode("utf-8", errors="backslashreplace"))
        print(f"predictions   {output}")


def render(records: Sequence[Record], target: Target, format: FormatName) -> str:
    """The records as text that ends with a newline."""
    if format == "json":
        return json.dumps(records, indent=2, allow_nan=False) + "\n"
    return _csv(records) if format == "csv" else _table(records, target)


def _csv(records: Sequence[Record]) -> str:
    first = records[0]
    if answers := next((key for key in ("values", "labels") if key in first), None):
        headings = list(first[answers])
        rows: list[list[Any]] = [list(record[answers].values()) for record in records]
    else:
        headings = [f"{what}_{i + 1}" for i in range(len(first["predictions"])) for what in ("class", "probability")]
        rows = [[cell for prediction in record["predictions"] for cell in prediction.values()] for record in records]
    text = io.StringIO()
    writer = csv_files.Writer(text, lineterminator="\n")
    writer.writerow(["input", *headings])
    writer.writerows([record["input"], *row] for record, row in zip(records, rows, strict=True))
    return text.getvalue()


def _table(records: Sequence[Record], target: Target) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if "values" in records[0]:
        units = records[0].get("units", {})
        headings = [f"{name} ({units[name]})" if units.get(name) else name for name in target.names]
        rows = [[f"{value:.6g}" for value in record["values"].values()] for record in records]
    elif "labels" in records[0]:
        headings = list(target.names)
        rows = [[f"{probability:.2%}" for probability in record["labels"].values()] for record in records]
    else:
        headings = [f"#{i + 1}" for i in range(len(records[0]["predictions"]))]
        rows = [[f"{g['class']}  {g['probability']:.2%}" for g in record["predictions"]] for record in records]
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
    extension = "" if output is None else output.suffix.lower()
    return "json" if extension == ".json" else "csv" if extension == ".csv" else "table"
