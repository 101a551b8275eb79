"""Images, rows, texts and series as batches that a trained net takes, encoded as its spec says."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dlzoo.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from dlzoo.data.csv_reader import CsvFormat
    from dlzoo.data.folders.files import File
    from dlzoo.data.folders.media import Media
    from dlzoo.data.images.decode import Decode
    from dlzoo.data.series.base import Series
    from dlzoo.specs.audio import AudioSpec
    from dlzoo.specs.base import Spec
    from dlzoo.specs.inputs import ImageSpec, SequenceSpec, SeriesSpec, VocabularySpec

BATCH_SIZE = 256
"""Of the inputs."""

CSV_OPTIONS = ("separator", "decimal", "encoding", "header", "quotes")
"""Options that say how a CSV file is written."""

Batches = Iterator[tuple[list[Any], Any]]
"""The names of the inputs, and x as the net takes it: a tensor, or a dict by name if the net has several inputs."""


def decoder_of(spec: ImageSpec, cfg: DictConfig, fit: Literal["crop", "squash"] | None = None) -> Decode:
    """What decodes images as in training.

    Args:
        cfg: the config of the checkpoint.
        fit: how images are brought to the size; None: as in training.

    Raises:
        UserError: no image file has as many channels.
    """
    from dlzoo.data.images.decode import Decode
    from dlzoo.specs.resize import Resize

    if spec.channels not in (1, 3):
        raise UserError(f"this checkpoint takes {spec.describe()}; an image file has 1 channel or 3")
    resize = spec.resize or Resize(cfg.data.get("fit") or "crop")  # checkpoints of earlier versions do not record it
    if fit:
        resize = Resize(fit, resize.interpolation)
    return Decode(spec.channels, spec.height, spec.width, resize, spec.bits or 16)


def csv_style_of(cfg: DictConfig) -> dict[str, Any]:
    """How the CSV file of the training was read, for `read_table`.

    Args:
        cfg: the config of the checkpoint.
    """
    style: dict[str, Any] = {key: cfg.data[key] for key in CSV_OPTIONS if key in cfg.data}
    if "missing_marks" in cfg.data:
        style["missing_marks"] = [str(mark) for mark in cfg.data["missing_marks"]]
    return style


def image_batches(
    images: Sequence[File | io.BytesIO], decode: Decode, problems: list[str], *, invert: bool = False
) -> Batches:
    """Images (B, C, H, W) in [0, 1] by name; why some cannot be read is appended to ``problems``.

    Args:
        invert: whether bright and dark are swapped.
    """
    from dlzoo.data.images.decode import read_images
    from dlzoo.utils.processes import num_processors

    with ThreadPoolExecutor(num_processors()) as pool:
        for start in range(0, len(images), BATCH_SIZE):
            part = images[start : start + BATCH_SIZE]
            x, unreadable = read_images(decode, part, pool.map)
            problems += unreadable.values()
            names = [str(path) for i, path in enumerate(part) if i not in unreadable]
            if names:
                yield names, (255 - x if invert else x).float().mul_(1 / 255)


def audio_batches(sources: Sequence[File | io.BytesIO], spec: AudioSpec, problems: list[str]) -> Batches:
    """Recordings (B, 1, L) by name, prepared as in training; why some cannot be read is appended to ``problems``."""
    from dlzoo.data.audio.decode import Decode, read_recordings
    from dlzoo.utils.processes import num_processors

    with ThreadPoolExecutor(num_processors()) as pool:
        for start in range(0, len(sources), BATCH_SIZE):
            part = sources[start : start + BATCH_SIZE]
            x, unreadable, _ = read_recordings(Decode.of(spec), part, pool.map)
            problems += unreadable.values()
            names = [str(path) for i, path in enumerate(part) if i not in unreadable]
            if names:
                yield names, x


def check_readable(problems: Sequence[str]) -> None:
    """`UserError` with the first of the ``problems`` of `image_batches` or `audio_batches`, if there is one."""
    if problems:
        more = f" (and {len(problems) - 1} more that cannot be read)" if len(problems) > 1 else ""
        raise UserError(f"{problems[0]}{more}")


def files_of(source: Path, media: Media, key: str) -> list[File]:
    """A file, or those of a kind in a folder, a zip archive or a saved data set; ``key`` names it in messages."""
    from dlzoo.data.folders.sources import tree_of

    if not source.is_dir() and not zipfile.is_zipfile(source):
        return [str(source)]
    tree = tree_of(source, media, key)
    files = sorted(media.among(tree.files(source)), key=str)
    if not files:
        raise UserError(media.none_in(f"{key}={source}", tree.files(source)))
    if others := media.others(tree.files(source)):
        print(f"warning: {key}={source}: {media.skipped(others)}", file=sys.stderr)
    return files


def row_batches(frame: pd.DataFrame, spec: Spec) -> Batches:
    """Rows of a table; they are named by their number, from 1."""
    from dlzoo.data.tables.encoding import encode_inputs
    from dlzoo.specs.batch import first_tensor, map_tensors

    x = encode_inputs(frame, spec)
    num_rows = len(first_tensor(x))
    for start in range(0, num_rows, BATCH_SIZE):
        end = min(start + BATCH_SIZE, num_rows)
        yield [*range(start + 1, end + 1)], map_tensors(itemgetter(slice(start, end)), x)


def text_batches(texts: Sequence[str], spec: VocabularySpec) -> Batches:
    """Texts as token ids (B, T), padded; each is its own name.

    What a net that writes a sequence for each text does not read of it is a warning.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    for line in spec.unread(texts):
        print(f"warning: {line}", file=sys.stderr)
    for start in range(0, len(texts), BATCH_SIZE):
        part = [*texts[start : start + BATCH_SIZE]]
        yield part, pad_sequence([torch.tensor(spec.encode(text)) for text in part], batch_first=True)


def sequence_batches(
    frame: pd.DataFrame, name: object, spec: SequenceSpec, cfg: DictConfig, style: CsvFormat
) -> Batches:
    """Sequences (B, T, D) of a table, NaN behind their ends, by name.

    Args:
        name: of the table, for messages.
        cfg: the config of the checkpoint.
        style: as for `read_table`.

    Raises:
        UserError: as `read_sequences`, or the lengths do not fit.
    """
    from dlzoo.data.sequences.csv import of_frame
    from dlzoo.data.sequences.table import Source, check_header

    options = cfg.data
    values = options.get("values") and [*options["values"]]
    if options.get("id") is not None:
        values = [*spec.names]
    elif values is None:  # the label may be there or not
        label = options.get("target")
        values = [str(name) for name in frame.columns if name != label]
        values = values[:-1] if label is None and len(values) == spec.length + 1 else values
        if style.get("header", True):
            check_header(values, Source(name, 1), "header")
    found = of_frame(frame, name, style, target=None, key=options.get("id"), time=options.get("time"), values=values)
    for key, steps in zip(found.keys, found.values, strict=True):
        if not spec.is_padded and len(steps) != spec.length:
            raise UserError(
                f"{name}: sequence {key} has {len(steps)} steps, but this checkpoint takes {spec.describe()}"
            )
    for start in range(0, len(found.keys), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        yield found.keys[part], found._replace(values=found.values[part]).padded()


def series_columns(spec: SeriesSpec, cfg: DictConfig) -> dict[str, Any]:
    """Where the columns of a spec stand in a file like that of the training: options of `series_of`."""
    if cfg.data.get("id") is None:
        return {"values": spec.target.names}
    values = cfg.data.get("values")
    return {"id": cfg.data.id, "values": [values] if isinstance(values, str) else values, "only": spec.target.names}


def check_history(series: Series, spec: SeriesSpec, source: object) -> None:
    """`UserError` if a series cannot be continued: too few values, or some that the transform does not take.

    Args:
        source: what it was read from, for messages.
    """
    from dlzoo.data.series.base import check_sign

    check_sign(series, spec)
    if len(series.values) < spec.num_needed:
        raise UserError(
            f"{source} has {len(series.values)} rows, but this checkpoint needs at least {spec.num_needed}: a window "
            f"of {spec.window}, and {spec.transform.num_lost} for differencing"
        )


def labels(known: Series, horizon: int) -> list[str]:
    """The labels of the times after the known ones."""
    from dlzoo.specs import frequency

    return [*frequency.following(known.times, known.step, horizon)]
