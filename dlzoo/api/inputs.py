"""What a user has in Python, as batches for a trained net: paths, pictures, arrays, tensors, tables, texts."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlzoo.errors import UserError, short
from dlzoo.inference import inputs as batching
from dlzoo.inference.inputs import BATCH_SIZE, Batches
from dlzoo.inference.text_files import texts_of
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig
    from torch import Tensor

    from dlzoo.data.folders.files import File
    from dlzoo.data.folders.media import Media
    from dlzoo.data.series.base import Series
    from dlzoo.specs.audio import AudioSpec
    from dlzoo.specs.base import Spec
    from dlzoo.specs.inputs import ImageSpec, SequenceSpec, SeriesSpec, VocabularySpec


def batches(given: Any, spec: Spec, cfg: DictConfig) -> Batches:
    """The inputs in batches, with their names.

    Args:
        given: as `dlzoo.api.model.Model.predict` takes it.
        cfg: the config of the checkpoint: how its files are read.

    Raises:
        UserError: these are no inputs of a net with this spec, or one of them cannot be read.
    """
    if spec.texts is not None:
        return batching.text_batches(_texts(given, spec.texts, cfg), spec.texts)
    if spec.images is not None:
        return images(given, spec.images, cfg)
    if spec.audio is not None:
        return recordings(given, spec.audio)
    if spec.environment is not None:
        return _numbered(observations(given))
    if spec.series is not None:
        raise UserError(f"this model takes {spec.describe()}: use forecast()")
    if spec.sequences is not None:
        return sequences(given, spec.sequences, cfg)
    return batching.row_batches(table(given, spec, cfg), spec)


def images(given: Any, spec: ImageSpec, cfg: DictConfig) -> Batches:
    """Images (B, C, H, W) in [0, 1]."""
    if _is_path(given) or (isinstance(given, Sequence) and len(given) > 0 and all(map(_is_path, given))):
        return _files([given] if _is_path(given) else given, spec, cfg)
    parts = given if isinstance(given, Sequence) else [given]
    if not len(parts):
        raise UserError("there are no images: give at least one")
    return _numbered(np.concatenate([_pixels(part, spec, cfg) for part in parts]))


def recordings(given: Any, spec: AudioSpec) -> Batches:
    """Recordings (B, 1, L): of files or folders, or arrays of samples at the rate of the model, also of several lengths
    in a list."""
    if _is_path(given) or (isinstance(given, Sequence) and len(given) > 0 and all(map(_is_path, given))):
        return _sound_files([given] if _is_path(given) else given, spec)
    from dlzoo.data.audio.decode import Decode

    is_list = isinstance(given, list | tuple) and not (given and all(isinstance(x, numbers.Real) for x in given))
    parts = given if is_list else [given]
    if not len(parts):
        raise UserError("there are no recordings: give at least one")
    decode, found = Decode.of(spec), []
    for part in parts:
        x, _ = _array(part, "a recording")
        if x.dtype.kind != "f" or x.ndim > 3 or (x.ndim == 3 and x.shape[1] != 1):
            raise UserError(
                f"an array of {x.dtype} of shape {x.shape} is no recording: give floating-point samples from -1 to 1 "
                f"at {spec.sample_rate:,} Hz, (L,), (N, L) or a list of (L,), or files"
            )
        for row in x.reshape(-1, x.shape[-1]).astype(np.float64):
            try:
                found.append(decode.fitted(row, spec.sample_rate))
            except ValueError as error:
                raise UserError(f"recording {len(found)} cannot be used: {error}") from None
    if not found:
        raise UserError("there are no recordings: give at least one")
    return _numbered(np.stack(found)[:, None])


def _files_of(given: Sequence[str | Path], media: Media) -> list[File]:
    return [file for path in given for file in batching.files_of(paths.existing(str(path), "inputs"), media, "inputs")]


def _sound_files(given: Sequence[str | Path], spec: AudioSpec) -> Batches:
    from dlzoo.data.audio.decode import RECORDINGS

    files = _files_of(given, RECORDINGS)
    problems: list[str] = []
    yield from batching.audio_batches(files, spec, problems)
    batching.check_readable(problems)


def _files(given: Sequence[str | Path], spec: ImageSpec, cfg: DictConfig) -> Batches:
    from dlzoo.data.images.decode import IMAGES

    files = _files_of(given, IMAGES)
    problems: list[str] = []
    yield from batching.image_batches(files, batching.decoder_of(spec, cfg), problems)
    batching.check_readable(problems)


def _pixels(given: Any, spec: ImageSpec, cfg: DictConfig) -> np.ndarray:
    """An image, or several in one array, as (N, C, H, W) float32 in [0, 1]."""
    from PIL import Image

    if isinstance(given, Image.Image):
        return batching.decoder_of(spec, cfg).fitted(given)[None].astype(np.float32) / 255
    x, is_tensor = _array(given, "an image")
    if spec.channels == 1 and x.ndim == 3 and x.shape[2] in (3, 4) and x.shape[2] != spec.width:
        raise UserError(
            f"an array of shape {x.shape} is an image in colour, but the model takes one channel: give it as a "
            "PIL image, which is converted"
        )
    x = _channels_first(x, spec.channels, is_tensor)
    if x.dtype == np.uint8:
        if x.shape[2:] == (spec.height, spec.width):
            return x.astype(np.float32) / 255
        decode, rows = batching.decoder_of(spec, cfg), x.transpose(0, 2, 3, 1)
        grey = rows[..., 0] if spec.channels == 1 else rows
        return np.stack([decode.fitted(Image.fromarray(image)) for image in grey]).astype(np.float32) / 255
    x = x.astype(np.float32)
    if not (np.isfinite(x).all() and x.min(initial=0) >= 0 and x.max(initial=0) <= 1):
        raise UserError("images of floating-point numbers must lie in [0, 1]; integers from 0 to 255 have dtype uint8")
    if x.shape[2:] != (spec.height, spec.width):
        raise UserError(
            f"these images are {x.shape[2]}x{x.shape[3]}, but the model takes {spec.height}x{spec.width}: give them as "
            "uint8 or as PIL images, which are resized as in training"
        )
    return x


def _channels_first(x: np.ndarray, channels: int, is_tensor: bool) -> np.ndarray:
    """(H, W), (N, H, W) and images with their channels first or last -> (N, C, H, W)."""
    if x.ndim == 2 or (x.ndim == 3 and channels not in (x.shape[0], x.shape[2])):
        x = x.reshape(-1, *x.shape[-2:])[:, None]
    elif x.ndim == 3:
        x = x[None]
    if x.ndim == 4:
        is_first, is_last = x.shape[1] == channels, x.shape[3] == channels
        if is_last and not (is_first and is_tensor) and not (is_first and x.shape[1] == x.shape[3] == x.shape[2]):
            return x.transpose(0, 3, 1, 2)
        if is_first:
            return x
    raise UserError(
        f"an array of shape {x.shape} holds no images of {channels} channel{'s' * (channels > 1)}: give (H, W), "
        "(H, W, C), (C, H, W) or several of these"
    )


def sequences(given: Any, spec: SequenceSpec, cfg: DictConfig) -> Batches:
    """Sequences (B, T, D): of a CSV file or a frame as in training, or arrays (T, D), (N, T, D) or a list of (T, D)."""
    import pandas as pd

    from dlzoo.data.csv_reader import read_table

    style: Any = batching.csv_style_of(cfg)
    if isinstance(given, pd.DataFrame):
        frame = given.set_axis([str(name) for name in given.columns], axis=1)
        return batching.sequence_batches(frame, "the table", spec, cfg, style)
    if _is_path(given):
        path = paths.existing_file(str(given), "inputs")
        return batching.sequence_batches(read_table(path, **style), path.name, spec, cfg, style)
    parts = given if isinstance(given, list | tuple) else [given]
    if not len(parts):
        raise UserError("there are no sequences: give at least one")
    arrays = [_array(part, "a sequence")[0] for part in parts]
    for x in arrays:
        if x.ndim not in (2, 3) or x.shape[-1] != spec.num_inputs or not (spec.is_padded or x.shape[-2] == spec.length):
            raise UserError(f"an array of shape {x.shape} does not fit: the model takes {spec.describe()}")
    rows = [row for x in arrays for row in x.reshape(-1, *x.shape[-2:]).astype(np.float32)]
    filled = np.full((len(rows), max(map(len, rows)), spec.num_inputs), np.nan, np.float32)
    for place, row in zip(filled, rows, strict=True):
        place[: len(row)] = row
    return _numbered(filled)


def table(given: Any, spec: Spec, cfg: DictConfig) -> pd.DataFrame:
    """Rows as a frame with the columns of training: from a frame, a dict, a list of dicts, an array or a CSV file."""
    import pandas as pd

    from dlzoo.data.csv_reader import read_table
    from dlzoo.data.tables.encoding import tables_by_name

    if isinstance(given, pd.DataFrame):
        return given
    if _is_path(given):
        return read_table(paths.existing_file(str(given), "inputs"), **batching.csv_style_of(cfg))
    if isinstance(given, Mapping):
        is_row = not any(
            isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) for value in given.values()
        )
        return pd.DataFrame([given] if is_row else dict(given))
    if isinstance(given, Sequence) and given and all(isinstance(row, Mapping) for row in given):
        return pd.DataFrame([*given])
    names = [column.name for part in tables_by_name(spec).values() for column in part.columns]
    rows, _ = _array(given, "a table")
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise UserError(
            f"an array of shape {rows.shape} does not fit: the model takes {len(names)} columns, "
            f"{short(', '.join(names), 200)}"
        )
    return pd.DataFrame(rows, columns=names)


def history(given: Any, spec: SeriesSpec, cfg: DictConfig) -> Series:
    """The values of a series so far, from a frame, a series with times as index, or a CSV file."""
    import pandas as pd

    from dlzoo.data.csv_reader import read_table
    from dlzoo.data.series.csv import series_of

    source: object = "the series"
    if _is_path(given):
        path = paths.existing_file(str(given), "history")
        frame, source = read_table(path, **batching.csv_style_of(cfg)), path.name
    elif isinstance(given, pd.Series):
        frame = given.to_frame(given.name if len(spec.target.names) > 1 else spec.target.names[0]).reset_index()
    elif isinstance(given, pd.DataFrame):
        known = cfg.data.get("time")
        has_times = (known or str(given.columns[0])) in given.columns and not {*spec.target.names} >= {*given.columns}
        frame = given if has_times else given.reset_index()
    else:
        raise UserError(
            f"{short(repr(given))} is no series: give a CSV file, a pandas Series with its times as index, or a "
            "DataFrame"
        )
    names = [str(name) for name in frame.columns]
    time = cfg.data.get("time") if cfg.data.get("time") in names else names[0]
    series = series_of(
        frame.set_axis(names, axis=1),
        source,
        time=time,
        **batching.series_columns(spec, cfg),
        known=spec.known,
        frequency=spec.frequency,
        date_format=cfg.data.get("date_format") if _is_path(given) else None,
    )
    batching.check_history(series, spec, source)
    return series


def observations(given: Any) -> np.ndarray:
    """Observations of an environment, (N, …)."""
    return _array(given, "observations")[0]


def _texts(given: Any, spec: VocabularySpec, cfg: DictConfig) -> list[str]:
    """A text, several, or a file: one in each line, or as in training."""
    if isinstance(given, Path):
        from dlzoo.data.text_reader import read_text, with_line_feeds

        path = paths.existing_file(str(given), "inputs")
        found = texts_of(path, spec, cfg)
        if found is None:
            text = with_line_feeds(read_text(path, "utf-8-sig", "encoding"))
            found = [line.strip() for line in text.split("\n") if line.strip()]
        texts: list[Any] = [*found]
    else:
        texts = [given] if not isinstance(given, Iterable) or isinstance(given, str) else [*given]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{short(repr(given))}: give a text, or a list of texts; a file as pathlib.Path")
    return texts


def _numbered(x: np.ndarray | Tensor) -> Iterator[tuple[list[Any], Any]]:
    import torch

    whole = torch.as_tensor(x)
    for start in range(0, len(whole), BATCH_SIZE):
        part = whole[start : start + BATCH_SIZE]
        yield [*range(start, start + len(part))], part


def _array(given: Any, what: str) -> tuple[np.ndarray, bool]:
    """An array, and whether it was a tensor."""
    import torch

    if isinstance(given, torch.Tensor):
        return given.detach().cpu().numpy(), True
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise UserError(f"{what} cannot be made of this {type(given).__name__}: {error}") from None
    if array.dtype.kind not in "buif" or array.ndim == 0:
        raise UserError(f"{short(repr(given))} is not {what}")
    return array, False


def _is_path(given: object) -> bool:
    return isinstance(given, str | os.PathLike)
