"""The options that data modules pass on are those of their base classes."""

import inspect
import typing
from typing import Any

import pytest

from dlzoo.data import options
from dlzoo.data.audio.base import AudioData
from dlzoo.data.audio.folder import AudioFolder
from dlzoo.data.base import DataModule, InMemoryData
from dlzoo.data.images.digits import Digits
from dlzoo.data.images.folder import ImageFolder
from dlzoo.data.images.published import Published
from dlzoo.data.series.base import SeriesData
from dlzoo.data.series.csv import CsvSeries
from dlzoo.data.tables.base import TableData
from dlzoo.data.tables.csv import CsvTable
from dlzoo.data.tables.published import CaliforniaHousing, ClassTable, PublishedTable
from dlzoo.data.tables.synthetic import Synthetic
from dlzoo.data.text.base import TextData, TokenData
from dlzoo.data.text.csv import TextCsv
from dlzoo.data.text.published import PublishedText, SentimentSentences
from dlzoo.data.text.shakespeare import TinyShakespeare
from dlzoo.data.text.stream import SentencesStream, StreamData, TextFile

OPTIONS: dict[type, type] = {
    DataModule: options.DataOptions,
    InMemoryData: options.InMemoryOptions,
    AudioData: options.AudioOptions,
    TableData: options.TableOptions,
    PublishedTable: options.PublishedTableOptions,
    SeriesData: options.SeriesOptions,
    TokenData: options.TokenOptions,
    TextData: options.TextOptions,
    PublishedText: options.PublishedTextOptions,
    StreamData: options.StreamOptions,
}
DERIVED = (
    *(InMemoryData, TableData, TokenData, TextData, StreamData, PublishedTable, PublishedText, Published),
    *(
        Digits,
        ImageFolder,
        AudioFolder,
        ClassTable,
        CaliforniaHousing,
        CsvTable,
        Synthetic,
        CsvSeries,
        TextCsv,
        SentimentSentences,
    ),
    *(SentimentSentences, TextFile, SentencesStream, TinyShakespeare),
)


def arguments(kind: type) -> dict[str, Any]:
    """The keyword arguments of a constructor with their types, those that it passes on included."""
    parameters = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc]
    hints = typing.get_type_hints(kind.__init__)  # type: ignore[misc]
    named = {p.name: hints[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        (passed_on,) = typing.get_args(hints["common"])
        named |= typing.get_type_hints(passed_on)
    return named


@pytest.mark.parametrize("kind", OPTIONS)
def test_options_repeat_the_arguments_of_a_constructor(kind: type) -> None:
    assert typing.get_type_hints(OPTIONS[kind]) == arguments(kind)


@pytest.mark.parametrize("kind", DERIVED)
def test_a_constructor_passes_on_all_arguments_of_its_base(kind: type) -> None:
    base = kind.__mro__[1]
    assert arguments(base).keys() <= arguments(kind).keys()
