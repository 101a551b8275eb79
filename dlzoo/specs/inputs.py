"""Specs: the typed promise that data makes about its batches.

Nets read their shapes from a spec, tasks read their targets, predictions read class names and units, and a
checkpoint stores the whole as plain data. A spec also carries what was fitted on the training split (the mean and
standard deviation of its inputs, categories, fill values), so that a model and its spec can turn raw input into a
prediction without the data that trained it.

A batch is a tuple ``(inputs, target)`` or ``(inputs, target, weight)``, weight: (B,) float, a factor on the loss.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import torch
from torch import Tensor

from dlzoo.errors import short
from dlzoo.specs.base import Difference, Port, Spec, Storable, Target, listed, units_differ
from dlzoo.specs.batch import TensorOrDict
from dlzoo.specs.checks import (
    MAX_HORIZON,
    MAX_SHOWN_LENGTH,
    MAX_TOKEN_LENGTH,
    check_length,
    check_range,
    check_statistics,
)
from dlzoo.specs.resize import Preprocessing, Resize
from dlzoo.specs.series_transform import Transform
from dlzoo.specs.targets import Values
from dlzoo.specs.tokenizer import PAD, SPECIAL, UNKNOWN, Tokenizer


@dataclass(frozen=True)
class ImageSpec(Spec):
    """Pictures: (B, C, H, W) float32 in [0, 1]. ``mean`` and ``std`` are per channel, fitted on train, or empty.

    ``resize`` states how image files were resized, and the interpolation for nets that resize; ``bits`` the significant
    bits of files with 16 bits per pixel. Both are None without image files and in checkpoints of earlier versions.
    """

    what: ClassVar[str] = "images"

    channels: int
    height: int
    width: int
    target: Target
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: Resize | None = None
    bits: int | None = None

    def check(self) -> None:
        check_range(1, self, channels=self.channels, height=self.height, width=self.width)
        check_statistics(self, self.channels, self.mean, self.std)
        check_range(1, self, 16, bits=self.bits)
        if self.resize is not None and self.resize.resize_size is not None:
            tall, wide = self.resize.resize_size
            check_range(self.height, self, resize_size=tall)
            check_range(self.width, self, resize_size=wide)

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.channels, self.height, self.width)

    @property
    def num_features(self) -> int:
        return self.channels * self.height * self.width

    @property
    def images(self) -> ImageSpec:
        return self

    def describe(self) -> str:
        return f"images of {self.channels}x{self.height}x{self.width}"

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing((self.height, self.width), self.resize, bits=self.bits or 16)

    def with_resize(self, resize: Resize) -> ImageSpec:
        return self if self.resize is not None else replace(self, resize=resize)

    def ports(self) -> tuple[Port, ...]:
        made = f"; files {self.resize.describe((self.height, self.width))}" if self.resize is not None else ""
        meaning = f"pixels from 0 to 255, channels first{made}"
        return (Port("pixels", "uint8", ("batch", *self.shape), meaning),)

    def metadata(self) -> dict[str, object]:
        made = {} if self.resize is None else {"preprocessing": asdict(self.resize)}
        return super().metadata() | made

    def example(self, n: int) -> tuple[Tensor, TensorOrDict]:
        x = torch.rand(n, *self.shape, generator=torch.Generator().manual_seed(0))
        return x, self.target.example(n)


@dataclass(frozen=True)
class Column(Storable):
    """One column of a table.

    A numeric column gives one feature; a categorical one gives one feature per category (one-hot; a value not seen
    in training gives all zeros). ``fill`` replaces a missing value; without it a missing value is an error.
    """

    name: str
    unit: str = ""
    categories: tuple[str, ...] = ()
    fill: str | float | None = None

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(f"{self.name}={c}" for c in self.categories) or (self.name,)

    def describe(self) -> str:
        parts = [f"one of {listed(self.categories)}" if self.categories else "a number"]
        parts += [f"in {self.unit}"] if self.unit else []
        parts += [f"missing values filled with {self.fill}"] if self.fill is not None else []
        return f"{self.name} ({', '.join(parts)})"

    def differs(self, other: Column) -> bool:
        """Whether a model of this column cannot take the other; a unit that one does not know is no difference."""
        return (self.name, self.categories, self.fill) != (other.name, other.categories, other.fill) or units_differ(
            self.unit, other.unit
        )


@dataclass(frozen=True)
class TableSpec(Spec):
    """Rows of a table: (B, F) float32. ``mean`` and ``std`` are per feature, fitted on train, or empty."""

    what: ClassVar[str] = "tables"

    columns: tuple[Column, ...]
    target: Target
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def check(self) -> None:
        check_statistics(self, self.num_features, self.mean, self.std)

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def num_features(self) -> int:
        return len(self.feature_names)

    @property
    def shape(self) -> tuple[int]:
        return (self.num_features,)

    @property
    def table(self) -> TableSpec:
        return self

    def describe(self) -> str:
        return f"a table of {self.num_features} features"

    def ports(self) -> tuple[Port, ...]:
        return (Port("x", "float32", ("batch", *self.shape), "features as the columns say, not standardised"),)

    def metadata(self) -> dict[str, object]:
        columns = [asdict(column) for column in self.columns]
        return super().metadata() | {"columns": columns, "features": list(self.feature_names)}

    def input_difference(self, other: Self) -> Difference:
        if sizes := super().input_difference(other):
            return sizes
        for number, (a, b) in enumerate(zip(self.columns, other.columns, strict=False), 1):
            if a.differs(b):
                return f"column {number} {a.describe()}", b.describe()
        return None

    def example(self, n: int) -> tuple[Tensor, TensorOrDict]:
        x = torch.randn(n, self.num_features, generator=torch.Generator().manual_seed(0))
        return x, self.target.example(n)


@dataclass(frozen=True)
class VocabularySpec(Spec):
    """Texts, whose tokens have numbers in a vocabulary that is fitted on train."""

    mean: ClassVar[tuple[float, ...]] = ()  # numbers of tokens are not standardised
    std: ClassVar[tuple[float, ...]] = ()

    if TYPE_CHECKING:

        @property
        def vocabulary(self) -> tuple[str, ...]:
            """Starts with the special tokens; before fitting it holds them alone."""

    @property
    def num_tokens(self) -> int:
        return len(self.vocabulary)

    @property
    def texts(self) -> VocabularySpec:
        return self

    def words(self, text: str) -> list[str]:
        """The tokens of a text, known or not."""
        raise NotImplementedError

    def encode(self, text: str) -> list[int] | list[list[int]]:
        """What a net is given of each token of a text; a text without any is one unknown token."""
        raise NotImplementedError

    def unread(self, texts: Sequence[str]) -> list[str]:
        """What a net that writes a sequence for each text does not see of these texts, in sentences."""
        return []

    @property
    def options(self) -> dict[str, object]:
        """How a text becomes tokens, by the data's options; what is fitted is the checkpoint's, whatever the data."""
        raise NotImplementedError

    def input_difference(self, other: Self) -> Difference:
        differ = self.options.items() - other.options.items()
        if not differ:
            return None
        words = " ".join(f"data.{key}={json.dumps(value)}" for key, value in sorted(differ)).replace('"', "")
        return self.describe(), f"{other.describe()}; set {words}"

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.vocabulary)}


@dataclass(frozen=True)
class TextSpec(VocabularySpec):
    """Texts: (B, L) int64, the tokens' numbers in the vocabulary, filled up with 0, ``<pad>``, behind each text's end.

    ``vocabulary`` is fitted on train; before, it holds the special tokens alone. Of a longer text the ``keep``
    ``max_length`` tokens count.
    """

    what: ClassVar[str] = "texts"
    target: Target
    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    max_length: int | None = None
    keep: Literal["first", "last"] = "first"
    vocabulary: tuple[str, ...] = SPECIAL

    def check(self) -> None:
        check_range(1, self, max_length=self.max_length)
        check_range(len(SPECIAL), self, vocabulary=len(self.vocabulary))
        check_range(0, self, MAX_TOKEN_LENGTH, vocabulary=max(map(len, self.vocabulary)))

    def describe(self) -> str:
        length = "" if self.max_length is None else f", at most {self.max_length}"
        return f"texts of {self.tokenizer.what}{length}"

    def ports(self) -> tuple[Port, ...]:
        return (Port("tokens", "int64", ("batch", "length"), "numbers in the vocabulary, 0 behind a text's end"),)

    def metadata(self) -> dict[str, object]:
        return super().metadata() | {
            "vocabulary": list(self.vocabulary),
            "tokenizer": asdict(self.tokenizer),
            "max_length": self.max_length,
            "keep": self.keep,
        }

    @property
    def options(self) -> dict[str, object]:
        fitted = ("merges",)
        settings = {key: value for key, value in asdict(self.tokenizer).items() if key not in fitted}
        return settings | {"max_length": self.max_length, "keep": self.keep}

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's tokens; a text without any is one unknown token."""
        tokens = self.tokenizer.splitter()(text) or SPECIAL[UNKNOWN : UNKNOWN + 1]
        kept = slice(self.max_length) if self.keep == "first" else slice(-(self.max_length or 0), None)
        return [self._numbers.get(token, UNKNOWN) for token in tokens][kept]

    def words(self, text: str) -> list[str]:
        return [*self.tokenizer.splitter()(text)]

    def unread(self, texts: Sequence[str]) -> list[str]:
        """Tokens beyond the maximum length, and unknown ones."""
        if self.target.token_sequences is None:
            return []
        tokens, most = [self.words(text) for text in texts], self.max_length
        lines = []
        if num := sum(len(part) > (most or len(part)) for part in tokens):
            lines.append(f"{num:,} of {len(texts):,} inputs have more than {most} tokens: the rest is not read")
        unknown = [token for part in tokens for token in part[:most] if token not in self._numbers]
        if unknown:
            total = sum(map(len, tokens))
            lines.append(
                f"{len(unknown):,} of {total:,} tokens are unknown to the model, such as '{short(unknown[0])}'"
            )
        return lines

    def decode(self, numbers: list[int]) -> str:
        """The text of these tokens; of a token of hundreds of characters, only its beginning and an ellipsis.

        >>> len(TextSpec(Target(), vocabulary=(*SPECIAL, "x" * 10_000)).decode([2, 2]))
        201
        """
        tokens = (self.vocabulary[i] for i in numbers)
        return self.tokenizer.join(
            [t if len(t) <= MAX_SHOWN_LENGTH else f"{t[: MAX_SHOWN_LENGTH - 1]}…" for t in tokens]
        )

    def example(self, n: int) -> tuple[Tensor, TensorOrDict]:
        length = min(self.max_length or 12, 12)
        draw = torch.Generator().manual_seed(0)
        x = torch.randint(1, self.num_tokens, (n, length), generator=draw)
        if self.target.next_tokens is not None:
            return x, x.roll(-1, 1)
        ends = torch.randint(1, length + 1, (n, 1), generator=draw)
        return torch.where(torch.arange(length) < ends, x, PAD)[:, : ends.max()], self.target.example(n)


@dataclass(frozen=True)
class SequenceSpec(Spec):
    """Sequences of values: (B, T, D) float32. ``target`` is what is asked about the whole.

    With ``is_padded`` they have several lengths, at most ``length`` in training, and are filled up with NaN behind each
    sequence's end. ``mean`` and ``std`` are per value, fitted on train, or empty; ``names`` those of the values.
    """

    what: ClassVar[str] = "sequences"

    length: int
    num_inputs: int
    target: Target
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    is_padded: bool = False

    def check(self) -> None:
        check_range(1, self, length=self.length, num_inputs=self.num_inputs)
        check_statistics(self, self.num_inputs, self.mean, self.std)
        check_length(self, self.num_inputs, names=self.names)

    @property
    def shape(self) -> tuple[int, int]:
        return (self.length, self.num_inputs)

    @property
    def num_features(self) -> int:
        return self.length * self.num_inputs

    @property
    def sequences(self) -> SequenceSpec:
        return self

    def describe(self) -> str:
        most = "at most " if self.is_padded else ""
        return f"sequences of {most}{self.length}x{self.num_inputs}"

    def ports(self) -> tuple[Port, ...]:
        if not self.is_padded:
            return super().ports()
        return (Port("x", "float32", ("batch", "length", self.num_inputs), "values, NaN behind a sequence's end"),)

    def metadata(self) -> dict[str, object]:
        return super().metadata() | ({"inputs": list(self.names)} if self.names else {})

    def input_difference(self, other: Self) -> Difference:
        if self.is_padded and other.num_inputs == self.num_inputs:
            return None if self.names == other.names else (f"values of {listed(self.names)}", listed(other.names))
        return super().input_difference(other)

    def example(self, n: int) -> tuple[Tensor, TensorOrDict]:
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(n, *self.shape, generator=draw)
        if self.is_padded:
            ends = torch.randint(1, self.length + 1, (n, 1), generator=draw)
            x[torch.arange(self.length) >= ends] = torch.nan
        return x, self.target.example(n)


@dataclass(frozen=True)
class SeriesSpec(Spec):
    """Columns of values over time, at equal steps, to be forecast.

    A training batch holds windows (B, W, D) of past values, as ``transform`` leaves them, and the next value (B, D).
    With ``consecutive`` windows, row i of a batch goes on where row i of the batch before ended, and the target is the
    next value at each step, (B, W, D). A validation or test batch is one forecast: all raw values before its origin
    (1, N, D) float64, and those after it (1, H, D). A net that predicts several ``steps`` at once has a target of
    (B, S, D); of ``quantiles`` it predicts (B, S, D, Q).

    With ``known`` columns, which are known ahead, an input holds these behind the D others, ``steps`` later than they:
    the last row of a window has those of the last step to predict. ``known_scaling`` standardises them.

    Of ``independent`` columns a net sees one at a time, (B, W, 1), and forecasts it by the same weights as the others.

    ``frequency`` is the step of time (dlzoo/specs/frequency.py), ``start`` the time of the first row. ``scales`` are
    the errors of the seasonal naive forecast in the training rows, per column, which MASE divides by.
    """

    what: ClassVar[str] = "series"
    mean: ClassVar[tuple[float, ...]] = ()  # inputs arrive as the transform leaves them
    std: ClassVar[tuple[float, ...]] = ()

    target: Values
    window: int
    horizon: int
    frequency: str = "row"
    period: int = 1
    start: str = ""
    consecutive: bool = False
    transform: Transform = field(default_factory=Transform)
    scales: tuple[float, ...] = ()
    steps: int = 1
    quantiles: tuple[float, ...] = ()
    known: tuple[str, ...] = ()
    known_scaling: Transform = field(default_factory=Transform)
    independent: bool = False

    def check(self) -> None:
        check_range(1, self, window=self.window, period=self.period, differences=self.transform.differences)
        check_range(1, self, MAX_HORIZON, steps=self.steps)
        check_range(1, self, MAX_HORIZON, horizon=self.horizon)
        check_statistics(self, self.num_columns, self.transform.mean, self.transform.std)
        check_length(self, self.num_columns, scales=self.scales)
        check_statistics(self, len(self.known), self.known_scaling.mean, self.known_scaling.std)

    @property
    def num_columns(self) -> int:
        return self.target.num_outputs

    @property
    def shape(self) -> tuple[int, int]:
        return (self.window, self.num_columns + len(self.known))

    @property
    def of_net(self) -> SeriesSpec:
        if not self.independent:
            return self
        transform = replace(self.transform, mean=(), std=())
        return replace(self, target=Values(("value",)), transform=transform, scales=(), independent=False)

    @property
    def num_features(self) -> int:
        return math.prod(self.shape)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of what a net predicts from one window."""
        if self.quantiles:
            return (self.steps, self.num_columns, len(self.quantiles))
        return (self.num_columns,) if self.steps == 1 else (self.steps, self.num_columns)

    @property
    def num_predicted(self) -> int:
        """Numbers that a net predicts from one window."""
        return math.prod(self.output_shape)

    @property
    def num_needed(self) -> int:
        """Raw values that a forecast needs to start from."""
        return self.window + self.transform.num_lost

    def inputs(self, history: Tensor) -> Tensor:
        """Raw rows (N, …, D + K), known columns behind the others -> those of a net, (N - num_lost, …, D + K)."""
        steps = self.transform.apply(history[..., : self.num_columns])
        if not self.known:
            return steps
        ahead = self.known_scaling.apply(history[..., self.num_columns :])
        return torch.cat([steps, ahead[self.transform.num_lost :]], dim=-1)

    def invert(self, steps: Tensor, history: Tensor) -> Tensor:
        """Outputs (H, …, D) of a net -> raw values (H, …, D), given the raw rows (N, …, D + K) before."""
        return self.transform.invert(steps, history[..., : self.num_columns])

    @property
    def series(self) -> SeriesSpec:
        return self

    def describe(self) -> str:
        return f"a series of {', '.join(self.target.names)} by the {self.frequency}, in windows of {self.window}"

    def metadata(self) -> dict[str, object]:
        return super().metadata() | {"frequency": self.frequency}

    def input_difference(self, other: Self) -> Difference:
        if sizes := super().input_difference(other):
            return sizes
        if self.independent != other.independent:
            kinds = ("columns forecast together", "columns forecast each alone")
            return kinds[self.independent], kinds[other.independent]
        if self.known != other.known:
            return f"known columns: {listed(self.known) or 'none'}", listed(other.known) or "none"
        if self.frequency != other.frequency:
            return f"values by the {self.frequency}", f"values by the {other.frequency}"
        return None

    def example(self, n: int) -> tuple[Tensor, TensorOrDict]:
        x = torch.randn(n, *self.shape, generator=torch.Generator().manual_seed(0))
        if self.consecutive:
            return x, torch.cat([x[:, 1:], x[:, :1]], dim=1)[..., : self.num_columns]
        shape = (self.num_columns,) if self.steps == 1 else (self.steps, self.num_columns)
        return x, self.target.example(n * self.steps).view(n, *shape)
