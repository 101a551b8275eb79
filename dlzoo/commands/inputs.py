"""Inputs of the commands: files, folders, standard input and text, as batches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dlzoo.commands import cli
from dlzoo.commands.records import FormatName
from dlzoo.errors import UserError
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    from omegaconf import DictConfig

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
    trust: str | None = None


OF_IMAGES, OF_CSV, OF_TEXTS = ("invert", "fit"), ("separator", "decimal", "encoding"), ("encoding",)
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
    from dlzoo.data.tables.base import tables_of

    for key in {*OF_IMAGES, *OF_CSV, *OF_TEXTS} - {*options_for(spec)}:
        if getattr(options, key):
            raise UserError(f"{key} does not apply: this checkpoint takes {spec.describe()}; omit it")
    parts = spec.target.named.parts if spec.target.named is not None else (spec.target,)
    if options.top_k and not any(part.classes is not None for part in parts):
        names = ", ".join(spec.target.names)
        raise UserError(f"top_k does not apply: this checkpoint predicts {spec.target.what} ({names}), not classes")
    if spec.texts is not None:
        return _texts(options, spec.texts, source)
    if spec.series is not None:
        return _series(options, spec.series, cfg, source)
    if spec.images is not None:
        return _images(options, spec.images, cfg, source, problems)
    if tables_of(spec):
        return _rows(options, spec, cfg, source)
    raise UserError(f"this checkpoint takes {spec.describe()}, which cannot be read from a file")


def _source(text: str) -> Path | None:
    """The file or folder to read; None for standard input, and for an argument that may itself be a text."""
    if text == "-" or (len(text.split()) > 1 and not os.path.exists(Path(text).expanduser())):
        return None
    return paths.existing(text, "input")


def _images(options: Options, spec: ImageSpec, cfg: DictConfig, source: Path | None, problems: list[str]) -> Batches:
    from dlzoo.data.images.decode import EXTENSIONS, Decode, read_images
    from dlzoo.data.images.folder import images_in, num_processors

    if spec.channels not in (1, 3):
        raise UserError(f"this checkpoint takes {spec.describe()}; an image file has 1 channel or 3")
    fit = options.fit or cfg.data.get("fit")
    decode = Decode(spec.channels, spec.height, spec.width, **({"fit": fit} if fit else {}))
    paths: list[Any] = [cli.standard_input() if source is None else str(source)]
    if source is not None and source.is_dir():
        paths = sorted(images_in(source))
        if not paths:
            raise UserError(f"input={options.input} contains no image ({' '.join(EXTENSIONS)})")
    with ThreadPoolExecutor(num_processors()) as pool:
        for start in range(0, len(paths), BATCH_SIZE):
            part = paths[start : start + BATCH_SIZE]
            x, unreadable = read_images(decode, part, pool.map)
            problems += unreadable.values()
            names = ["-" if source is None else path for i, path in enumerate(part) if i not in unreadable]
            if names:
                yield names, (255 - x if options.invert else x).float().mul_(1 / 255)


def _rows(options: Options, spec: Spec, cfg: DictConfig, source: Path | None) -> Batches:
    """Rows are named by their number, from 1."""
    from dlzoo.data.csv_reader import read_table
    from dlzoo.data.tables.base import encode_inputs
    from dlzoo.specs.batch import first_tensor, map_tensors

    if source is not None and source.is_dir():
        raise UserError(
            f"input={options.input}: this is a folder, but the checkpoint takes {spec.describe()}: a CSV file"
        )
    path: Any = cli.standard_input() if source is None else source
    x = encode_inputs(read_table(path, **csv_style(options, cfg)), spec)
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


def csv_style(options: CsvOptions, cfg: DictConfig) -> dict[str, Any]:
    """The format of a CSV file: from ``options``, by default that of the training file."""
    style: dict[str, Any] = {key: str(cfg.data[key]) for key in OF_CSV if key in cfg.data}
    style |= {key: getattr(options, key) for key in OF_CSV if getattr(options, key)}
    if "missing_marks" in cfg.data:
        style["missing_marks"] = [str(mark) for mark in cfg.data.missing_marks]
    return style


def _texts(options: Options, spec: TextSpec, source: Path | None) -> Batches:
    """Each text is its own name."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from dlzoo.data.text_reader import read_text

    if source is not None and source.is_dir():
        raise UserError(f"input={options.input}: this is a folder, but the checkpoint takes {spec.describe()}: a file")
    lines = [options.input]
    if source is not None or options.input == "-":
        file = cli.standard_input() if source is None else source
        text = read_text(file, options.encoding or "utf-8-sig", "encoding")
        lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not lines:
        raise UserError(f"input={options.input} contains no text")
    for start in range(0, len(lines), BATCH_SIZE):
        part = lines[start : start + BATCH_SIZE]
        yield part, pad_sequence([torch.tensor(spec.encode(line)) for line in part], batch_first=True)


def recent(source: Any, spec: SeriesSpec, cfg: DictConfig, style: dict[str, Any]) -> Series:
    """The most recent values of a series from a CSV file; ``style`` as for `read_table`.

    Raises:
        UserError: not a CSV file, columns other than in training, too few rows, or irregular times.
    """
    from dlzoo.data.series.base import check_sign
    from dlzoo.data.series.csv import read_series

    time = cfg.data.get("time")
    series = read_series(source, time=time, values=spec.target.names, frequency=spec.frequency, **style)
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
