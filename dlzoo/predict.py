"""Predict with a checkpoint: the classes or values of images or of the rows of a table, or the next values of a series.

    python scripts/predict.py ckpt=<run>/checkpoints/best.ckpt input=photo.png
    python scripts/predict.py ckpt=… input=<folder of images> format=json output=predictions.json
    python scripts/predict.py ckpt=… input=rows.csv
    python scripts/predict.py ckpt=… input=recent.csv                          the values of a series until now
    cat photo.png | python scripts/predict.py ckpt=… input=-

Options:
    ckpt       the checkpoint; nothing else of its run is needed
    input      an image, a folder of images, or a CSV file whose header names the columns; - reads standard input
    top_k      how many classes to tell, the most probable first (3)
    format     table, json or csv; else as the ending of output says, or a table
    output     a file to write instead of the terminal
    invert     true for dark digits on light paper, where the training images were light on dark (false)
    fit        crop: scale until the image covers the size and take its centre; squash: give up its proportions; else
               as in training
    separator, decimal, encoding     of the CSV file; else as in training

Images become grey where the training images were. For the interval of several seeds' forecasts of a series see
scripts/forecast.py. Exit code 0 when all inputs were predicted, 2 if not.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dlzoo import commands
from dlzoo.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

    from dlzoo.specs import ImageSpec, SeriesSpec, TableSpec, Target
    from dlzoo.tasks.base import Task

BATCH_SIZE = 256
"""Inputs that go through the net at once."""

TOP_K = 3

FormatName = Literal["table", "json", "csv"]
Record = dict[str, Any]
Batches = Iterator[tuple[list[Any], "Tensor"]]  # what the inputs are called, and x as the net wants it


@dataclass(frozen=True, kw_only=True)
class Options:
    ckpt: str
    input: str
    top_k: int | None = None
    format: FormatName | None = None
    output: str | None = None
    invert: bool = False
    fit: Literal["crop", "squash"] | None = None
    separator: str | None = None
    decimal: Literal[".", ","] | None = None
    encoding: str | None = None

    IMAGES_ONLY = ("invert", "fit")
    TABLES_ONLY = ("separator", "decimal", "encoding")


def main() -> None:
    """The command."""
    commands.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Predict as the words of a command line say."""
    # Messages of the table reader name the config's keys, data.separator=…: these are taken as well.
    options, _ = commands.parse(Options, [word.removeprefix("data.") for word in argv])
    if options.top_k is not None and options.top_k < 1:
        raise UserError(f"top_k={options.top_k} is too small; it must be at least 1")
    ckpt = commands.existing_file(options.ckpt, "ckpt")
    source = None if options.input == "-" else commands.existing(options.input, "input")
    read = [ckpt] if source is None else [ckpt, source]
    output = None if options.output is None else commands.writable(options.output, "output", *read)

    task, cfg = commands.load(ckpt)
    problems: list[str] = []
    records = [
        record
        for names, x in batches(options, task.spec, cfg, source, problems)
        for record in to_records(names, predict(task, x), task.spec.target, options.top_k or TOP_K)
    ]
    if records:
        write_records(records, task.spec.target, options.format, output)
    if problems:
        more = f", nor can {len(problems) - 1} others" if len(problems) > 1 else ""
        raise UserError(f"{problems[0]}{more}")


def predict(task: Task, x: Tensor) -> Tensor:
    """x: (B, …), images in [0, 1] -> (B, K) probabilities of the classes, or (B, D) values.

    Of a series x: (N, D) are the raw values until now, and the next (H, D) are predicted.
    """
    import torch

    from dlzoo.tasks.forecast import Forecast
    from dlzoo.tasks.supervised import Supervised

    with torch.inference_mode():
        if isinstance(task, Forecast):
            result = task.forecast(x, task.spec.horizon)
        elif isinstance(task, Supervised):
            result = getattr(task.objective, "probabilities", task.objective.predictions)(task(x))
        else:
            raise UserError(f"{type(task).__name__} has learnt neither classes nor values: there is nothing to predict")
    if not result.isfinite().all():
        raise UserError("the net's output is not finite: its training diverged, or an input is far too large")
    return result


def batches(options: Options, spec: Any, cfg: DictConfig, source: Path | None, problems: list[str]) -> Batches:
    """The inputs in batches; reasons why some cannot be read are added to ``problems``."""
    from dlzoo.specs import Classes, ImageSpec, SeriesSpec

    is_image = isinstance(spec, ImageSpec)
    for key in Options.TABLES_ONLY if is_image else Options.IMAGES_ONLY:
        if getattr(options, key):
            raise UserError(f"{key}: this checkpoint takes {spec.describe()}, which have no such option")
    if options.top_k and not isinstance(spec.target, Classes):
        raise UserError(f"top_k: this checkpoint predicts values ({', '.join(spec.target.names)}), not classes")
    if isinstance(spec, SeriesSpec):
        return _series(options, spec, cfg, source)
    return _images(options, spec, cfg, source, problems) if is_image else _rows(options, spec, cfg, source)


def _images(options: Options, spec: ImageSpec, cfg: DictConfig, source: Path | None, problems: list[str]) -> Batches:
    from dlzoo.data.decode import EXTENSIONS, Decode, read_images
    from dlzoo.data.image_folder import images_in, num_processors

    if spec.channels not in (1, 3):
        raise UserError(f"this checkpoint takes {spec.describe()}; an image file has 1 channel or 3")
    fit = options.fit or cfg.data.get("fit")
    decode = Decode(spec.channels, spec.height, spec.width, **({"fit": fit} if fit else {}))
    paths: list[Any] = [commands.standard_input() if source is None else str(source)]
    if source is not None and source.is_dir():
        paths = sorted(images_in(source))
        if not paths:
            raise UserError(f"input={options.input} holds no image ({' '.join(EXTENSIONS)})")
    with ThreadPoolExecutor(num_processors()) as pool:
        for start in range(0, len(paths), BATCH_SIZE):
            part = paths[start : start + BATCH_SIZE]
            x, unreadable = read_images(decode, part, pool.map)
            problems += unreadable.values()
            names = ["-" if source is None else path for i, path in enumerate(part) if i not in unreadable]
            if names:
                yield names, (255 - x if options.invert else x).float().mul_(1 / 255)


def _rows(options: Options, spec: TableSpec, cfg: DictConfig, source: Path | None) -> Batches:
    """Rows are called by their number, from 1."""
    from dlzoo.data.csv_table import read_table
    from dlzoo.data.tables import encode

    if source is not None and source.is_dir():
        raise UserError(
            f"input={options.input}: this is a folder, but the checkpoint takes {spec.describe()}: a CSV file"
        )
    path: Any = commands.standard_input() if source is None else source
    x = encode(read_table(path, **csv_style(options, cfg)), spec.columns)
    for start in range(0, len(x), BATCH_SIZE):
        part = x[start : start + BATCH_SIZE]
        yield [*range(start + 1, start + 1 + len(part))], part


def _series(options: Options, spec: SeriesSpec, cfg: DictConfig, source: Path | None) -> Batches:
    """One forecast; its steps are called by their times."""
    from dlzoo import forecast

    if source is not None and source.is_dir():
        raise UserError(f"input={options.input}: this is a folder, but the checkpoint takes {spec.describe()}")
    path = commands.standard_input() if source is None else source
    known = forecast.recent(path, spec, cfg, csv_style(options, cfg))
    yield [*forecast.labels(known, spec.horizon)], known.values


def csv_style(options: Any, cfg: DictConfig) -> dict[str, Any]:
    """How a CSV file is written: as ``options`` say, else as the training file was."""
    style: dict[str, Any] = {key: str(cfg.data[key]) for key in Options.TABLES_ONLY if key in cfg.data}
    style |= {key: getattr(options, key) for key in Options.TABLES_ONLY if getattr(options, key)}
    if "missing_marks" in cfg.data:
        style["missing_marks"] = [str(mark) for mark in cfg.data.missing_marks]
    return style


def to_records(names: Sequence[Any], result: Tensor, target: Target, top_k: int) -> list[Record]:
    """What JSON says of each input. result: (B, K) as `predict` gives it."""
    from dlzoo.specs import Classes

    if isinstance(target, Classes):
        best = result.topk(min(top_k, target.num_outputs), dim=1)
        return [
            {
                "input": name,
                "predictions": [
                    {"class": target.names[k], "probability": share} for k, share in zip(ks, shares, strict=True)
                ],
            }
            for name, ks, shares in zip(names, best.indices.tolist(), best.values.tolist(), strict=True)
        ]
    units = {"units": dict(zip(target.names, target.units, strict=False))} if any(target.units) else {}
    return [
        {"input": name, "values": dict(zip(target.names, row, strict=True)), **units}
        for name, row in zip(names, result.tolist(), strict=True)
    ]


def write_records(records: Sequence[Record], target: Target, format: FormatName | None, output: Path | None) -> None:
    """Show them on the terminal or write them to a file, in the format given or as the file's ending says."""
    ending = "" if output is None else output.suffix.lower()
    text = render(records, target, format or ("json" if ending == ".json" else "csv" if ending == ".csv" else "table"))
    if output is None:
        print(text, end="")
    else:
        commands.write(output, text.encode("utf-8", errors="backslashreplace"))
        print(f"predictions   {output}")


def render(records: Sequence[Record], target: Target, format: FormatName) -> str:
    """The records as text that ends with a new line."""
    if format == "json":
        return json.dumps(records, indent=2, allow_nan=False) + "\n"
    return _csv(records) if format == "csv" else _table(records, target)


def _csv(records: Sequence[Record]) -> str:
    first = records[0]
    if "values" in first:
        headings = list(first["values"])
        rows: list[list[Any]] = [list(record["values"].values()) for record in records]
    else:
        headings = [f"{what}_{i + 1}" for i in range(len(first["predictions"])) for what in ("class", "probability")]
        rows = [[cell for guess in record["predictions"] for cell in guess.values()] for record in records]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
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
    else:
        headings = [f"#{i + 1}" for i in range(len(records[0]["predictions"]))]
        rows = [[f"{g['class']}  {g['probability']:.2%}" for g in record["predictions"]] for record in records]
    table = Table(box=None, pad_edge=False)
    table.add_column("input")
    for heading in headings:
        table.add_column(Text(heading), justify="right")
    for record, cells in zip(records, rows, strict=True):
        table.add_row(*(Text(cell) for cell in (str(record["input"]), *cells)))  # Text: [x] in a name is no markup
    text = io.StringIO()
    Console(file=text, width=10_000).print(table)  # a line is never broken: whoever reads it may
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())
