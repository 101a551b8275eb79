"""The results for each input, as a table, JSON, JSON lines or CSV."""

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


FormatName = Literal["table", "json", "jsonl", "csv"]
Record = dict[str, Any]


def to_records(names: Sequence[object], result: Any, target: Target, top_k: int) -> list[Record]:
    """The results of a batch as they go into JSON. result: (B, K) or a dict of these, as from `predict`."""
    if target.named is None:
        results = answers(result, target, top_k)
    else:
        heads = {head: answers(result[head], part, top_k) for head, part in target.named.by_name.items()}
        results = [{"targets": dict(zip(heads, row, strict=True))} for row in zip(*heads.values(), strict=True)]
    return [{"input": name, **answer} for name, answer in zip(names, results, strict=True)]


def answers(result: Tensor, target: Target, top_k: int) -> list[Record]:
    """The prediction of one target for each row."""
    if target.classes is not None and not target.classes.has_probabilities:
        return [{"predictions": [{"class": target.names[k]}]} for k in result.argmax(1).tolist()]
    if target.classes is not None:
        best = result.topk(min(top_k, target.num_outputs), dim=1)
        return [
            {
                "predictions": [
                    {"class": target.names[k], "probability": p} for k, p in zip(ks, probabilities, strict=True)
                ],
            }
            for ks, probabilities in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
    if target.labels is not None:
        return [{"labels": dict(zip(target.names, row, strict=True))} for row in result.tolist()]
    units = {"units": dict(zip(target.names, target.units, strict=False))} if any(target.units) else {}
    return [{"values": dict(zip(target.names, row, strict=True)), **units} for row in result.tolist()]


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


def parts_of(record: Record) -> dict[str, Record]:
    """The results of each target by its name, or of the one target by an empty name."""
    return record.get("targets", {"": record})


def _titled(target: str, column: str) -> str:
    """The heading of a target's column; one that is called as its target bears the name once.

    >>> _titled("tags", "old"), _titled("price", "price"), _titled("", "price")
    ('tags old', 'price', 'price')
    """
    return column if target in ("", column) else f"{target} {column}"


def _csv(records: Sequence[Record]) -> str:
    text = io.StringIO()
    writer = csv_files.Writer(text, lineterminator="\n")
    headings = [heading for name, part in parts_of(records[0]).items() for heading in _csv_headings(name, part)]
    writer.writerow(["input", *headings])
    for record in records:
        writer.writerow([record["input"], *(cell for part in parts_of(record).values() for cell in _csv_cells(part))])
    return text.getvalue()


def _csv_headings(target: str, part: Record) -> list[str]:
    if key := next((key for key in ("values", "labels") if key in part), None):
        return [_titled(target, name) for name in part[key]]
    if "probability" not in part["predictions"][0]:
        return [_titled(target, "class")]
    return [_titled(target, f"{what}_{i + 1}") for i, each in enumerate(part["predictions"]) for what in each]


def _csv_cells(part: Record) -> list[Any]:
    if key := next((key for key in ("values", "labels") if key in part), None):
        return list(part[key].values())
    return [cell for prediction in part["predictions"] for cell in prediction.values()]


def _table_headings(target: str, part: Record) -> list[str]:
    if "predictions" in part and "probability" not in part["predictions"][0]:
        return [_titled(target, "class")]
    if "predictions" in part:
        return [_titled(target, f"#{i + 1}") for i in range(len(part["predictions"]))]
    units = part.get("units", {})
    names = part["values"] if "values" in part else part["labels"]
    return [_titled(target, name) + (f" ({units[name]})" if units.get(name) else "") for name in names]


def _table_cells(part: Record) -> list[str]:
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
