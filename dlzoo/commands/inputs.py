"""Inputs of the commands: files, folders, standard input and text, as batches."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dlzoo.commands import cli, json_rows
from dlzoo.commands.records import FormatName
from dlzoo.commands.text_inputs import read_texts
from dlzoo.errors import UserError
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from dlzoo.data.images.files import File
    from dlzoo.data.series.base import Series
    from dlzoo.specs.base import Spec
    from dlzoo.specs.inputs import ImageSpec, SeriesSpec, TextSpec


BATCH_SIZE = 256
"""Of the inputs."""


Batches = Iterator[tuple[list[Any], Any]]
"""The names of the inputs, and x as the net takes it: a tensor, or a dict by name if the net has several inputs."""


class CsvOptions(Protocol):
    """Options of a command that reads a CSV file."""

    @property
    def separator(self) -> str | None: ...
    @property
    def decimal(self) -> str | None: ...
    @property
    def encoding(self) -> str | None: ...
    @property
    def header(self) -> bool | None: ...
    @property
    def quotes(self) -> bool | None: ...


@dataclass(frozen=True, kw_only=True)
class Options:
    input: str
    ckpt: str | None = None
    model: str | None = None
    top_k: int | None = None
    format: FormatName | None = None
    output: str | None = None
    pictures: str | None = None
    invert: bool = False
    fit: Literal["crop", "squash"] | None = None
    separator: str | None = None
    decimal: Literal[".", ","] | None = None
    encoding: str | None = None
    header: bool | None = None
    quotes: bool | None = None
    text: str | None = None
    trust: str | None = None


OF_IMAGES = ("invert", "fit")
OF_CSV = ("separator", "decimal", "encoding", "header", "quotes")
OF_TEXTS = ("text", "separator", "encoding", "header", "quotes")
"""Options for images, CSV files and texts."""


def options_for(spec: Spec) -> tuple[str, ...]:
    """The options that apply to the inputs of a spec."""
    if spec.images is not None:
        return OF_IMAGES
    if spec.table is not None or spec.series is not None or spec.named is not None:
        return OF_CSV
    return OF_TEXTS if spec.texts is not None else ()


def batches(options: Options, spec: Spec, cfg: DictConfig, source: Path | None, problems: list[str]) -> Batches:
    """The inputs in batches; the errors of those that cannot be read are appended to ``problems``."""
    from dlzoo.data.tables.encoding import tables_by_name

    for key in {*OF_IMAGES, *OF_CSV, *OF_TEXTS} - {*options_for(spec)}:
        if getattr(options, key) != getattr(Options, key):
            raise UserError(f"{key} does not apply: this checkpoint takes {spec.describe()}; omit it")
    if options.top_k and not any(part.classes is not None for part in spec.target.by_name.values()):
        names = ", ".join(spec.target.names)
        raise UserError(f"top_k does not apply: this checkpoint predicts {spec.target.what} ({names}), not classes")
    if spec.texts is not None:
        return _texts(options, spec.texts, cfg, source)
    if spec.series is not None:
        return _series(options, spec.series, cfg, source)
    if spec.images is not None:
        return _images(options, spec.images, cfg, source, problems)
    if tables_by_name(spec):
        return _rows(options, spec, cfg, source)
    raise UserError(f"this checkpoint takes {spec.describe()}, which cannot be read from a file")


def _source(text: str) -> Path | None:
    """The file or folder to read; None for standard input, and for an argument that may itself be a text."""
    is_text = len(text.split()) > 1 or not {*text} & {*"./\\"}
    if text == "-" or (is_text and not os.path.exists(Path(text).expanduser())):
        return None
    return paths.existing(text, "input")


def _images(options: Options, spec: ImageSpec, cfg: DictConfig, source: Path | None, problems: list[str]) -> Batches:
    from dlzoo.data.images.decode import Decode, read_images
    from dlzoo.data.images.folder import num_processors
    from dlzoo.specs.resize import Resize

    if spec.channels not in (1, 3):
        raise UserError(f"this checkpoint takes {spec.describe()}; an image file has 1 channel or 3")
    resize = spec.resize or Resize(cfg.data.get("fit") or "crop")  # checkpoints of earlier versions do not record it
    if options.fit:
        resize = Resize(options.fit, resize.interpolation)
    decode = Decode(spec.channels, spec.height, spec.width, resize, spec.bits or 16)
    images: list[Any] = [cli.standard_input()] if source is None else _image_files(source)
    with ThreadPoolExecutor(num_processors()) as pool:
        for start in range(0, len(images), BATCH_SIZE):
            part = images[start : start + BATCH_SIZE]
            x, unreadable = read_images(decode, part, pool.map)
            problems += unreadable.values()
            names = ["-" if source is None else str(path) for i, path in enumerate(part) if i not in unreadable]
            if names:
                yield names, (255 - x if options.invert else x).float().mul_(1 / 255)


def _image_files(source: Path) -> list[File]:
    """An image file, or the images in a folder, a zip archive or a saved data set."""
    from dlzoo.data.images.decode import EXTENSIONS
    from dlzoo.data.images.sources import tree_of
    from dlzoo.data.images.tree import unreadable_kinds

    if not source.is_dir() and not zipfile.is_zipfile(source):
        return [str(source)]
    tree = tree_of(source, "input")
    files = sorted(tree.images(source), key=str)
    others = unreadable_kinds(tree.files(source))
    if not files:
        found = f"; it contains {others}, which cannot be read: convert them to .jpg or .png" if others else ""
        raise UserError(f"input={source} contains no image ({' '.join(EXTENSIONS)}){found}")
    if others:
        print(f"warning: input={source}: skipped files that cannot be read as images: {others}", file=sys.stderr)
    return files


def _rows(options: Options, spec: Spec, cfg: DictConfig, source: Path | None) -> Batches:
    """Rows are named by their number, from 1."""
    from dlzoo.data.csv_reader import read_table
    from dlzoo.data.tables.encoding import encode_inputs
    from dlzoo.specs.batch import first_tensor, map_tensors

    if source is not None and source.is_dir():
        raise UserError(
            f"input={options.input}: this is a folder, but the checkpoint takes {spec.describe()}: a CSV file"
        )
    path, style = as_table(cli.standard_input() if source is None else source, csv_style(options, cfg))
    x = encode_inputs(read_table(path, **style), spec)
    num_rows = len(first_tensor(x))
    for start in range(0, num_rows, BATCH_SIZE):
        end = min(start + BATCH_SIZE, num_rows)
        yield [*range(start + 1, end + 1)], map_tensors(itemgetter(slice(start, end)), x)


def _series(options: Options, spec: SeriesSpec, cfg: DictConfig, source: Path | None) -> Batches:
    """One forecast; its steps are named by their times."""
    if source is not None and source.is_dir():
        raise UserError(f"input={options.input}: this is a folder, but the checkpoint takes {spec.describe()}")
    path = cli.standard_input() if source is None else source
    known = recent(path, spec, cfg, csv_style(options, cfg))
    yield [*labels(known, spec.horizon)], known.values


def csv_style(options: CsvOptions, cfg: DictConfig | None = None) -> dict[str, Any]:
    """The format of a CSV file: from ``options``, by default that of the training file."""
    known = {} if cfg is None else cfg.data
    style: dict[str, Any] = {key: known[key] for key in OF_CSV if key in known}
    style |= {key: value for key in OF_CSV if (value := getattr(options, key)) is not None}
    if "missing_marks" in known:
        style["missing_marks"] = [str(mark) for mark in known["missing_marks"]]
    return style


def as_table(source: Any, style: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What `read_table` reads, and its ``style``: rows in JSON are CSV in a style of their own."""
    rows = json_rows.read(source)
    return (source, style) if rows is None else (json_rows.as_csv(rows, source), style | json_rows.CSV_STYLE)


def _texts(options: Options, spec: TextSpec, cfg: DictConfig, source: Path | None) -> Batches:
    """Each text is its own name."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    if source is not None and source.is_dir():
        raise UserError(f"input={options.input}: this is a folder, but the checkpoint takes {spec.describe()}: a file")
    file: Any = cli.standard_input() if source is None and options.input == "-" else source
    texts = [options.input]
    if file is not None and (rows := json_rows.read(file, may_be_text=True)) is not None:
        names = [options.text] if options.text else [str(cfg.data.get("text") or "text"), "text"]
        texts = json_rows.texts_of(rows, names, file)
    elif file is not None:
        style = csv_style(options, cfg) if "text" in cfg.data else csv_style(options)
        texts = read_texts(options, file, style, cfg.data.get("text"))
    if not texts:
        raise UserError(f"input={options.input} contains no text")
    for start in range(0, len(texts), BATCH_SIZE):
        part = texts[start : start + BATCH_SIZE]
        yield part, pad_sequence([torch.tensor(spec.encode(text)) for text in part], batch_first=True)


def recent(source: Any, spec: SeriesSpec, cfg: DictConfig, style: dict[str, Any]) -> Series:
    """The most recent values of a series from a CSV file, or from steps in JSON; ``style`` as for `read_table`.

    Raises:
        UserError: not a CSV file, columns other than in training, too few rows, or irregular times.
    """
    from dlzoo.data.series.base import check_sign
    from dlzoo.data.series.csv import read_series

    source, style = as_table(source, style)
    times = {key: cfg.data.get(key) for key in ("time", "date_format")}
    series = read_series(source, values=spec.target.names, frequency=spec.frequency, **times, **style)
    check_sign(series, spec)
    if len(series.values) < spec.num_needed:
        raise UserError(
            f"{source if not isinstance(source, Path) else source.name} has {len(series.values)} rows, but this "
            f"checkpoint needs at least {spec.num_needed}: a window of {spec.window}, and "
            f"{spec.transform.num_lost} for differencing"
        )
    return series


def labels(known: Series, horizon: int) -> list[str]:
    """The labels of the times after the known ones."""
    from dlzoo.specs import frequency

    return frequency.following(known.times, known.step, horizon)
