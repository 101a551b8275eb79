"""Inputs of the commands: files, folders, standard input and text, as batches."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dlzoo.commands import cli, json_rows
from dlzoo.commands.records import FormatName
from dlzoo.commands.text_inputs import read_texts
from dlzoo.errors import UserError
from dlzoo.inference.inputs import CSV_OPTIONS, csv_style_of
from dlzoo.inference.text_files import texts_of
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from dlzoo.data.series.base import Series
    from dlzoo.inference.inputs import Batches
    from dlzoo.specs.audio import AudioSpec
    from dlzoo.specs.base import Spec
    from dlzoo.specs.inputs import ImageSpec, SequenceSpec, SeriesSpec, VocabularySpec


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
OF_TEXTS = ("text", "separator", "encoding", "header", "quotes")
"""Options for images and texts; those for tables are `CSV_OPTIONS`."""


def options_for(spec: Spec) -> tuple[str, ...]:
    """The options that apply to the inputs of a spec."""
    if spec.images is not None:
        return OF_IMAGES
    if any(part is not None for part in (spec.table, spec.series, spec.sequences, spec.named)):
        return CSV_OPTIONS
    return OF_TEXTS if spec.texts is not None else ()


def batches(options: Options, spec: Spec, cfg: DictConfig, source: Path | None, problems: list[str]) -> Batches:
    """The inputs in batches; the errors of those that cannot be read are appended to ``problems``."""
    from dlzoo.data.tables.encoding import tables_by_name

    for key in {*OF_IMAGES, *CSV_OPTIONS, *OF_TEXTS} - {*options_for(spec)}:
        if getattr(options, key) != getattr(Options, key):
            raise UserError(f"{key} does not apply: this checkpoint takes {spec.describe()}; omit it")
    if options.top_k and not any(part.classes is not None for part in spec.target.by_name.values()):
        names = ", ".join(spec.target.names)
        raise UserError(f"top_k does not apply: this checkpoint predicts {spec.target.what} ({names}), not classes")
    if spec.texts is not None:
        return _texts(options, spec.texts, cfg, source)
    if spec.series is not None:
        return _series(options, spec.series, cfg, source)
    if spec.sequences is not None:
        return _sequences(options, spec.sequences, cfg, source)
    if spec.images is not None:
        return _images(options, spec.images, cfg, source, problems)
    if spec.audio is not None:
        return _audio(spec.audio, source, problems)
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
    from dlzoo.data.images.decode import IMAGES
    from dlzoo.inference import inputs

    decode = inputs.decoder_of(spec, cfg, options.fit)
    images = [cli.standard_input()] if source is None else inputs.files_of(source, IMAGES, "input")
    for names, x in inputs.image_batches(images, decode, problems, invert=options.invert):
        yield ["-"] if source is None else names, x


def _audio(spec: AudioSpec, source: Path | None, problems: list[str]) -> Batches:
    from dlzoo.data.audio.decode import RECORDINGS
    from dlzoo.inference import inputs

    files = [cli.standard_input()] if source is None else inputs.files_of(source, RECORDINGS, "input")
    for names, x in inputs.audio_batches(files, spec, problems):
        yield ["-"] if source is None else names, x


def _rows(options: Options, spec: Spec, cfg: DictConfig, source: Path | None) -> Batches:
    """Rows are named by their number, from 1."""
    from dlzoo.data.csv_reader import read_table
    from dlzoo.inference import inputs

    if source is not None and source.is_dir():
        raise UserError(
            f"input={options.input}: this is a folder, but the checkpoint takes {spec.describe()}: a CSV file"
        )
    path, style = as_table(cli.standard_input() if source is None else source, csv_style(options, cfg))
    yield from inputs.row_batches(read_table(path, **style), spec)


def _series(options: Options, spec: SeriesSpec, cfg: DictConfig, source: Path | None) -> Batches:
    """One forecast; its steps are named by their times."""
    from dlzoo.inference import inputs

    if source is not None and source.is_dir():
        raise UserError(f"input={options.input}: this is a folder, but the checkpoint takes {spec.describe()}")
    from dlzoo.data.series.base import with_known

    path = cli.standard_input() if source is None else source
    known = recent(path, spec, cfg, csv_style(options, cfg))
    yield inputs.labels(known, spec.horizon), with_known(known, spec, len(known.values))


def _sequences(options: Options, spec: SequenceSpec, cfg: DictConfig, source: Path | None) -> Batches:
    """Sequences by the names in their file, or by their number, from 1; labels in the file are not read."""
    from dlzoo.data.csv_reader import read_table
    from dlzoo.inference import inputs

    if "path" not in cfg.data:
        raise UserError(f"this checkpoint takes {spec.describe()} of generated data, which cannot be read from a file")
    file = cli.standard_input() if source is None else source
    style: Any = csv_style(options, cfg)
    name = file.name if isinstance(file, Path) else file
    yield from inputs.sequence_batches(read_table(file, **style), name, spec, cfg, style)


def csv_style(options: CsvOptions, cfg: DictConfig | None = None) -> dict[str, Any]:
    """The format of a CSV file: from ``options``, by default that of the training file."""
    style = {} if cfg is None else csv_style_of(cfg)
    return style | {key: value for key in CSV_OPTIONS if (value := getattr(options, key)) is not None}


def csv_only(options: CsvOptions) -> bool:
    """Whether an option is given that no other text file has."""
    return any(value is not None for value in (options.separator, options.header, options.quotes))


def as_table(source: Any, style: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What `read_table` reads, and its ``style``: rows in JSON are CSV in a style of their own."""
    rows = json_rows.read(source)
    return (source, style) if rows is None else (json_rows.as_csv(rows, source), style | json_rows.CSV_STYLE)


def _texts(options: Options, spec: VocabularySpec, cfg: DictConfig, source: Path | None) -> Batches:
    """Each text is its own name."""
    from dlzoo.inference import inputs

    if source is not None and source.is_dir():
        raise UserError(f"input={options.input}: this is a folder, but the checkpoint takes {spec.describe()}: a file")
    file: Any = cli.standard_input() if source is None and options.input == "-" else source
    texts = [options.input]
    if file is not None and (rows := json_rows.read(file, may_be_text=True)) is not None:
        names = [options.text] if options.text else [str(cfg.data.get("text") or "text"), "text"]
        texts = json_rows.texts_of(rows, names, file)
    elif file is not None:
        found = None
        if not (options.text or csv_only(options)):
            found = texts_of(file, spec, cfg, options.encoding)
        style = csv_style(options, cfg) if "text" in cfg.data else csv_style(options)
        texts = read_texts(options, file, style, cfg.data.get("text")) if found is None else found
    if not texts:
        raise UserError(f"input={options.input} contains no text")
    yield from inputs.text_batches(texts, spec)


def recent(source: Any, spec: SeriesSpec, cfg: DictConfig, style: dict[str, Any]) -> Series:
    """The most recent values of a series from a CSV file, or from steps in JSON; ``style`` as for `read_table`.

    Raises:
        UserError: not a CSV file, columns other than in training, too few rows, or irregular times.
    """
    from dlzoo.data.series.csv import read_series
    from dlzoo.inference.inputs import check_history, series_columns

    source, style = as_table(source, style)
    times = {key: cfg.data.get(key) for key in ("time", "date_format")}
    columns = series_columns(spec, cfg)
    series = read_series(source, **columns, known=spec.known, frequency=spec.frequency, **times, **style)
    check_history(series, spec, source.name if isinstance(source, Path) else source)
    return series
