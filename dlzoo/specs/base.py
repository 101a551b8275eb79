"""The base classes of specs and targets.

Both are open: a subclass registers itself under its name, so that checkpoints can store it. What other layers want to
know of a spec or a target they ask by the properties below, never by its class: ``spec.images`` is the `ImageSpec` that
batches can be read as, or None. A spec of another kind may answer too, such as one whose inputs hold an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from torch import Tensor

    from dlzoo.specs.audio import AudioSpec
    from dlzoo.specs.batch import TensorOrDict
    from dlzoo.specs.boxes import Boxes
    from dlzoo.specs.environments import EnvSpec, StatesSpec
    from dlzoo.specs.inputs import ImageSpec, SequenceSpec, SeriesSpec, TableSpec, VocabularySpec
    from dlzoo.specs.named import NamedSpec, Targets
    from dlzoo.specs.ratings import RatingsSpec
    from dlzoo.specs.resize import Resize
    from dlzoo.specs.sentences import Tags
    from dlzoo.specs.targets import Actions, Classes, Labels, NextTokens, Values
    from dlzoo.specs.token_sequences import TokenSequences

Difference = tuple[str, str] | None
"""How two specs differ: what this one describes and what the other one does; None if a model takes both."""

MAX_NAMES = 20
"""That a message lists."""

REGISTRY: dict[str, type[Storable]] = {}
"""Classes that a stored spec may name; `Storable.__init_subclass__` fills it."""


@dataclass(frozen=True)
class Storable:
    """A frozen dataclass of plain values and other `Storable` objects, which checkpoints store by its class's name."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        known = REGISTRY.setdefault(cls.__name__, cls)
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(
                f"{cls.__module__}.{cls.__name__}: stored specs name their parts, and {known.__module__} already has "
                f"a {cls.__name__}; choose another name"
            )
        REGISTRY[cls.__name__] = cls

    def check(self) -> None:
        """`UserError` if the values contradict one another; asked of a spec that was stored, whoever wrote it."""


@dataclass(frozen=True)
class Port:
    """An input or output of an exported model: its name, dtype, shape with names for free sizes, and what it holds."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    meaning: str
    least: int = 1
    """The smallest value of a free size other than the batch's."""


@dataclass(frozen=True)
class Target(Storable):
    """What a net learns to predict."""

    what: ClassVar[str]
    """In the plural, for messages: "classes"."""
    remedy: ClassVar[str] = ""
    """For messages: how the data could give another target."""

    if TYPE_CHECKING:  # not at run time, where a dataclass would take a property of its base for a field's default

        @property
        def names(self) -> tuple[str, ...]:
            """Of the outputs: classes, columns, actions."""

        @property
        def units(self) -> tuple[str, ...]:
            """Of the outputs, or empty."""

        @property
        def num_outputs(self) -> int:
            """Of the net."""

    @property
    def classes(self) -> Classes | None:
        """One class a row."""
        return None

    @property
    def values(self) -> Values | None:
        """Real numbers."""
        return None

    @property
    def labels(self) -> Labels | None:
        """Several yes/no labels a row."""
        return None

    @property
    def boxes(self) -> Boxes | None:
        """A rectangle in an image."""
        return None

    @property
    def box_names(self) -> tuple[str, ...]:
        """The names of the targets that are boxes; of a single target an empty one."""
        return tuple(name for name, part in self.by_name.items() if part.boxes is not None)

    @property
    def next_tokens(self) -> NextTokens | None:
        """For each token of a text the one that follows."""
        return None

    @property
    def tags(self) -> Tags | None:
        """One tag for each word."""
        return None

    @property
    def token_sequences(self) -> TokenSequences | None:
        """A sequence of tokens for each row."""
        return None

    @property
    def actions(self) -> Actions | None:
        """Of an agent."""
        return None

    @property
    def named(self) -> Targets | None:
        """Several targets by name."""
        return None

    @property
    def by_name(self) -> Mapping[str, Target]:
        """Several targets by name; a single one under the empty name."""
        return {"": self}

    def example(self, n: int) -> TensorOrDict:
        """Targets of n rows, the same in each call."""
        raise NotImplementedError

    def ports(self) -> tuple[Port, ...]:
        """What an exported model predicts."""
        raise NotImplementedError

    def metadata(self) -> dict[str, object]:
        """Names and units of the outputs, for readers of an exported model."""
        return {}

    def describe(self, start: int = 0) -> str:
        """For messages: "3 classes: a, b, c"; of more than `MAX_NAMES` names those around the number ``start``."""
        first = max(0, start - 2) if len(self.names) > MAX_NAMES else 0
        return f"{len(self.names)} {self.what}: {'…, ' if first else ''}{listed(self.names[first:])}"

    def difference(self, other: Target) -> Difference:
        """Units that one of the two does not know, and numbers of training rows, are no difference."""
        if type(self) is not type(other) or self.names != other.names:
            pairs = enumerate(zip(self.names, other.names, strict=False))
            start = next((i for i, (a, b) in pairs if a != b), min(len(self.names), len(other.names)))
            return self.describe(start), other.describe(start)
        for name, a, b in zip(self.names, self.units, other.units, strict=False):
            if units_differ(a, b):
                return f"{name} in {a}", f"{name} in {b}"
        return None

    def fit(self, y: Any) -> Target:
        """The same with what is counted in the targets of the training rows."""
        return self

    def strata(self, y: Any) -> Tensor | None:
        """The class of each row, (N,) int64, that splits keep in proportion; None where they are random."""
        return None


@dataclass(frozen=True)
class Spec(Storable):
    """What data promise about their batches."""

    what: ClassVar[str]
    """In the plural, for messages: "images"."""

    if TYPE_CHECKING:

        @property
        def target(self) -> Target: ...

        @property
        def mean(self) -> tuple[float, ...]:
            """Of the inputs in the training rows, per channel or feature; empty if they are not to be standardised."""

        @property
        def std(self) -> tuple[float, ...]: ...

        @property
        def shape(self) -> tuple[int, ...]:
            """Of the inputs of one row, where all rows have the same."""

    @property
    def images(self) -> ImageSpec | None:
        return None

    @property
    def of_net(self) -> Spec:
        """What a net is built for: another spec if the task does not pass the inputs on as they are."""
        return self

    @property
    def table(self) -> TableSpec | None:
        return None

    @property
    def texts(self) -> VocabularySpec | None:
        return None

    @property
    def sequences(self) -> SequenceSpec | None:
        return None

    @property
    def series(self) -> SeriesSpec | None:
        return None

    @property
    def ratings(self) -> RatingsSpec | None:
        """Ratings of items."""
        return None

    @property
    def audio(self) -> AudioSpec | None:
        """Recordings of sound."""
        return None

    @property
    def environment(self) -> EnvSpec | StatesSpec | None:
        return None

    @property
    def states(self) -> StatesSpec | None:
        """An environment of numbered states."""
        return None

    @property
    def named(self) -> NamedSpec | None:
        """Several inputs by name."""
        return None

    @property
    def by_name(self) -> Mapping[str, Spec]:
        """Several inputs by name; one alone by an empty name."""
        return {"": self}

    def with_target(self, target: Target) -> Self:
        """The same inputs with another target."""
        return replace(self, target=target)  # type: ignore[call-arg]  # a field of each spec

    def with_statistics(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Self:
        """The same with mean and standard deviation of the training inputs, per channel or feature."""
        return replace(self, mean=mean, std=std)  # type: ignore[call-arg]  # fields of specs that standardise

    def with_resize(self, resize: Resize) -> Self:
        """The same with this way of resizing images, unless it states one; other inputs are unchanged."""
        return self

    def ports(self) -> tuple[Port, ...]:
        """What an exported model is given, before anything is done to it."""
        return (Port("x", "float32", ("batch", *self.shape), "values"),)

    def metadata(self) -> dict[str, object]:
        """What readers of an exported model need to prepare inputs and to read outputs."""
        return self.target.metadata()

    def difference(self, other: Spec) -> Difference:
        """Why a model of this spec cannot take batches of the other; fitted statistics may differ."""
        cls = type(self)
        if type(other) is not cls:
            return self.describe(), other.describe()
        return self.input_difference(other) or self.target.difference(other.target)

    def input_difference(self, other: Self) -> Difference:
        """`difference` of the inputs alone."""
        return None if self.shape == other.shape else (self.describe(), other.describe())

    def describe(self) -> str:
        """For messages: "images of 1x28x28"."""
        raise NotImplementedError

    def example(self, n: int) -> tuple[TensorOrDict, TensorOrDict]:
        """Inputs and targets of n rows, the same in each call."""
        raise NotImplementedError


def listed(names: tuple[str, ...]) -> str:
    """Names for a message, not too many of them."""
    return ", ".join(names[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")


def units_differ(a: str, b: str) -> bool:
    """Whether two units are known and differ."""
    return bool(a and b and a != b)
