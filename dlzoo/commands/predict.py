"""Predict with a checkpoint: the classes or values of images, of the rows of a table, or of texts, the next values of a
series, or images as an autoencoder reconstructs or cleans them.

    python scripts/predict.py ckpt=<run>/checkpoints/best.ckpt input=photo.png
    python scripts/predict.py ckpt=… input=<folder of images> format=json output=predictions.json
    python scripts/predict.py ckpt=… input=rows.csv
    python scripts/predict.py ckpt=… input=recent.csv                          the values of a series until now
    cat photo.png | python scripts/predict.py ckpt=… input=-
    python scripts/predict.py ckpt=… input="the food was awful"
    python scripts/predict.py model=resnet50 net.weights=imagenet input=photo.jpg

Options:
    ckpt       the checkpoint; nothing else of its run is needed
    model      instead of ckpt: a net of a library with its published weights and classes, not trained here;
               net.weights=imagenet or a file, and other options of the net, net.<option>=…
    input      an image, a folder of images, a CSV file whose header names the columns, a file with a text in each line
               (blank lines are left out), or a text itself, of two words or more; - reads standard input
    top_k      how many classes to tell, the most probable first (3; with model 5)
    format     table, json or csv; else as the ending of output says, or a table
    output     a file to write instead of the terminal
    trust      a package of yours whose parts the checkpoint names
    pictures   the folder for what an autoencoder makes of the images (reconstructions)
    invert     true for dark digits on light paper, where the training images were light on dark (false)
    fit        crop: scale until the image covers the size and take its centre; squash: give up its proportions; else
               as in training
    separator, decimal, encoding     of the CSV file; else as in training. Encoding also of a file of texts (utf-8)

Images become grey where the training images were. For the interval of several seeds' forecasts of a series see
scripts/forecast.py. Exit code 0 when all inputs were predicted, 2 if not.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dlzoo.commands import cli
from dlzoo.commands import reconstruct as predict_pictures
from dlzoo.commands.records import FormatName, format_of, to_records, write_records
from dlzoo.errors import UserError, at_least
from dlzoo.inference.pretrained import load_pretrained
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

    from dlzoo.specs.inputs import ImageSpec, SeriesSpec, TableSpec, TextSpec
    from dlzoo.tasks.base import Task

BATCH_SIZE = 256
"""Inputs that go through the net at once."""

TOP_K = 3
TOP_K_OF_MANY = 5
"""With a library's net: ImageNet has 1,000 classes."""

Batches = Iterator[tuple[list[Any], "Tensor"]]  # what the inputs are called, and x as the net wants it


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

    FOR = {
        "images": ("invert", "fit"),
        "tables": ("separator", "decimal", "encoding"),
        "series": ("separator", "decimal", "encoding"),
        "texts": ("encoding",),
        "sequences": (),
    }
    """Options that go with one kind of input or another."""


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Predict as the words of a command line say."""
    # Messages of the table reader name the config's keys, data.separator=…: these are taken as well.
    options, net_words = cli.parse(Options, [word.removeprefix("data.") for word in argv], others=("net.",))
    at_least(1, top_k=options.top_k)
    if (options.ckpt is None) == (options.model is None):
        raise UserError("give ckpt=<run>/checkpoints/best.ckpt, or model=<a library's net> net.weights=imagenet")
    if net_words and options.ckpt is not None:
        raise UserError(f"{net_words[0]}: the net of a checkpoint is what it is; net.<option> goes with model=")
    ckpt = None if options.ckpt is None else paths.existing_file(options.ckpt, "ckpt")
    source = _source(options.input)
    read = [path for path in (ckpt, source) if path is not None]
    output = None if options.output is None else paths.writable(options.output, "output", *read)
    format = format_of(options.format, output)

    if ckpt is not None:
        task, cfg = cli.load(ckpt, options.trust)
        if task.spec.what not in Options.FOR:
            raise UserError(f"ckpt={ckpt}: its model ({type(task).__name__}) plays; see scripts/play.py")
    else:
        task, cfg = load_pretrained(str(options.model), net_words)
    if source is None and options.input != "-" and task.spec.what != "texts":
        paths.existing(options.input, "input")  # says that it is not there
    problems: list[str] = []
    top_k = options.top_k or (TOP_K if ckpt is not None else TOP_K_OF_MANY)
    found, target = batches(options, task.spec, cfg, source, problems), task.spec.target
    if predict_pictures.reconstructs(task, options.pictures, options.top_k):
        records, target = predict_pictures.reconstruct(task, found, options.pictures), predict_pictures.target()
    else:
        records = [record for names, x in found for record in to_records(names, predict(task, x), target, top_k)]
    if records:
        if task.spec.what == "texts" and format == "table":
            records = [
                record | {"input": textwrap.shorten(record["input"], 80, placeholder=" …")} for record in records
            ]
        write_records(records, target, format, output)
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
    from dlzoo.specs.inputs import Classes, ImageSpec, SeriesSpec, TextSpec

    for key in {key for keys in Options.FOR.values() for key in keys} - {*Options.FOR[spec.what]}:
        if getattr(options, key):
            raise UserError(f"{key}: this checkpoint takes {spec.describe()}, which have no such option")
    if options.top_k and not isinstance(spec.target, Classes):
        raise UserError(f"top_k: this checkpoint predicts values ({', '.join(spec.target.names)}), not classes")
    if isinstance(spec, TextSpec):
        return _texts(options, spec, source)
    if isinstance(spec, SeriesSpec):
        return _series(options, spec, cfg, source)
    if isinstance(spec, ImageSpec):
        return _images(options, spec, cfg, source, problems)
    return _rows(options, spec, cfg, source)


def _source(text: str) -> Path | None:
    """The file or folder to read; None for standard input, and for what may be a text itself."""
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
    from dlzoo.data.csv_reader import read_table
    from dlzoo.data.tables.base import encode

    if source is not None and source.is_dir():
        raise UserError(
            f"input={options.input}: this is a folder, but the checkpoint takes {spec.describe()}: a CSV file"
        )
    path: Any = cli.standard_input() if source is None else source
    x = encode(read_table(path, **csv_style(options, cfg)), spec.columns)
    for start in range(0, len(x), BATCH_SIZE):
        part = x[start : start + BATCH_SIZE]
        yield [*range(start + 1, start + 1 + len(part))], part


def _series(options: Options, spec: SeriesSpec, cfg: DictConfig, source: Path | None) -> Batches:
    """One forecast; its steps are called by their times."""
    from dlzoo.commands import forecast

    if source is not None and source.is_dir():
        raise UserError(f"input={options.input}: this is a folder, but the checkpoint takes {spec.describe()}")
    path = cli.standard_input() if source is None else source
    known = forecast.recent(path, spec, cfg, csv_style(options, cfg))
    yield [*forecast.labels(known, spec.horizon)], known.values


def csv_style(options: Any, cfg: DictConfig) -> dict[str, Any]:
    """How a CSV file is written: as ``options`` say, else as the training file was."""
    style: dict[str, Any] = {key: str(cfg.data[key]) for key in Options.FOR["tables"] if key in cfg.data}
    style |= {key: getattr(options, key) for key in Options.FOR["tables"] if getattr(options, key)}
    if "missing_marks" in cfg.data:
        style["missing_marks"] = [str(mark) for mark in cfg.data.missing_marks]
    return style


def _texts(options: Options, spec: TextSpec, source: Path | None) -> Batches:
    """Texts are called by what they say."""
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
        raise UserError(f"input={options.input} holds no text")
    for start in range(0, len(lines), BATCH_SIZE):
        part = lines[start : start + BATCH_SIZE]
        yield part, pad_sequence([torch.tensor(spec.encode(line)) for line in part], batch_first=True)
