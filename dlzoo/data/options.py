"""Keyword options that data modules pass on to their base classes (PEP 692).

Each `TypedDict` repeats the keyword arguments of one constructor; a test compares their names and types.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from torch import nn

from dlzoo.specs.resize import Fit
from dlzoo.specs.scaling import FeatureScaling, TargetTransform
from dlzoo.specs.tokenizer import Level, RunningLevel

Placement = Literal["auto", "device", "host", "workers"]


class SplitOptions(TypedDict, total=False):
    """`dlzoo.data.base.DataModule`, except for ``eval_batch_size``."""

    batch_size: int
    seed: int
    val_fraction: float
    val_size: int | None
    val_last: bool
    train_on_val: bool
    train_per_class: int | None
    standardize: bool
    augment: nn.Module | None


class DataOptions(SplitOptions, total=False):
    """`dlzoo.data.base.DataModule`."""

    eval_batch_size: int


class InMemoryOptions(DataOptions, total=False):
    """`dlzoo.data.base.InMemoryData`."""

    placement: Literal["auto", "device", "host"]


class ImageFolderOptions(DataOptions, total=False):
    """`dlzoo.data.images.folder.ImageFolder`, except for ``path``."""

    size: int | Sequence[int] | None
    channels: Literal[1, 3]
    fit: Fit | None
    bits: int | None
    placement: Placement
    memory_mb: float
    num_workers: int | None
    on_error: Literal["refuse", "skip"]
    test_fraction: float
    test_seed: int


class AudioOptions(InMemoryOptions, total=False):
    """`dlzoo.data.audio.base.AudioData`."""

    sample_rate: int | None
    seconds: float | None
    normalize: bool | None


class TableOptions(InMemoryOptions, total=False):
    """`dlzoo.data.tables.base.TableData`."""

    test_fraction: float
    test_seed: int
    scaling: FeatureScaling
    target_transform: TargetTransform | Mapping[str, TargetTransform]


class PublishedTableOptions(TableOptions, total=False):
    """`dlzoo.data.tables.published.PublishedTable`."""

    features: Sequence[str | int] | None


class SeriesOptions(TypedDict, total=False):
    """`dlzoo.data.series.base.SeriesData`."""

    batch_size: int
    seed: int
    placement: Literal["auto", "device", "host"]
    standardize: bool
    window: int | None
    horizon: int | None
    period: int | None
    log: bool
    differences: Sequence[int] | None
    drop_last: int
    consecutive: bool
    steps: int | None
    origins: int
    quantiles: Sequence[float] | None


class VocabularyOptions(TypedDict, total=False):
    """The part of `dlzoo.data.text.base.TokenData` that streams do not redefine."""

    punctuation: bool
    max_vocab: int | None
    min_count: int


class TokenOptions(InMemoryOptions, VocabularyOptions, total=False):
    """`dlzoo.data.text.base.TokenData`."""

    level: Level
    lower: bool


class TextOptions(TokenOptions, total=False):
    """`dlzoo.data.text.base.TextData`."""

    max_length: int | None
    keep: Literal["first", "last"]


class PublishedTextOptions(TextOptions, total=False):
    """`dlzoo.data.text.published.PublishedText`."""

    data_dir: str | os.PathLike[str]
    mirrors: str | Sequence[str] | None


class TaggedOptions(TypedDict, total=False):
    """`dlzoo.data.text.tagged.TaggedData`."""

    batch_size: int
    eval_batch_size: int
    seed: int
    placement: Literal["auto", "device", "host"]
    lower: bool
    min_count: int
    max_vocab: int | None
    max_characters: int
    unseen_tags: Literal["refuse", "wrong"]


class PairBaseOptions(InMemoryOptions, VocabularyOptions, total=False):
    """What `dlzoo.data.pairs.base.PairData` passes on unchanged."""


class PairOptions(PairBaseOptions, total=False):
    """`dlzoo.data.pairs.base.PairData`."""

    level: RunningLevel
    lower: bool
    max_length: int
    shared_vocabulary: bool


class PairFileOptions(PairOptions, total=False):
    """`dlzoo.data.pairs.files.PairFile`."""

    test_fraction: float
    test_seed: int


class StreamBaseOptions(SplitOptions, VocabularyOptions, total=False):
    """What `dlzoo.data.text.stream.StreamData` passes on unchanged."""

    placement: Literal["auto", "device", "host"]


class StreamOptions(StreamBaseOptions, total=False):
    """`dlzoo.data.text.stream.StreamData`."""

    level: RunningLevel
    lower: bool
    num_steps: int
    eval_num_steps: int
    eval_batch_size: int
    test_fraction: float
    line_breaks: bool
