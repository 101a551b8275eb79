"""The base classes of specs and targets.

Both are open: a subclass registers itself under its name, so that checkpoints can store it. What other layers want to
know of a spec or a target they ask by the properties below, never by its class: ``spec.images`` is the `ImageSpec` that
batches can be read as, or None. A spec of another kind may answer too, such as one whose inputs hold an image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from dlzoo.specs.environments import EnvSpec, StatesSpec
    from dlzoo.specs.inputs import ImageSpec, SequenceSpec, SeriesSpec, TableSpec, TextSpec
    from dlzoo.specs.targets import Actions, Classes, NextTokens, Values

REGISTRY: dict[str, type[Plain]] = {}
"""Classes that a stored spec may name; `Plain.__init_subclass__` fills it."""


@dataclass(frozen=True)
class Plain:
    """A frozen dataclass of plain values and other `Plain` objects, which checkpoints store by its class's name."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        known = REGISTRY.setdefault(cls.__name__, cls)
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(
                f"{cls.__module__}.{cls.__name__}: stored specs name their parts, and {known.__module__} already has "
                f"a {cls.__name__}; choose another name"
            )
        REGISTRY[cls.__name__] = cls


@dataclass(frozen=True)
class Target(Plain):
    """What a net learns to predict."""

    what: ClassVar[str]
    """In the plural, for messages: "classes"."""

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
    def next_tokens(self) -> NextTokens | None:
        """For each token of a text the one that follows."""
        return None

    @property
    def actions(self) -> Actions | None:
        """Of an agent."""
        return None

    def example(self, n: int) -> Any:
        """Targets of n rows, the same in each call."""
        raise NotImplementedError


@dataclass(frozen=True)
class Spec(Plain):
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
    def table(self) -> TableSpec | None:
        return None

    @property
    def texts(self) -> TextSpec | None:
        return None

    @property
    def sequences(self) -> SequenceSpec | None:
        return None

    @property
    def series(self) -> SeriesSpec | None:
        return None

    @property
    def environment(self) -> EnvSpec | StatesSpec | None:
        return None

    def with_target(self, target: Target) -> Self:
        """The same inputs with another target."""
        return replace(self, target=target)  # type: ignore[call-arg]  # a field of each spec

    def describe(self) -> str:
        """For messages: "images of 1x28x28"."""
        raise NotImplementedError

    def example(self, n: int) -> tuple[Any, Any]:
        """Inputs and targets of n rows, the same in each call."""
        raise NotImplementedError
