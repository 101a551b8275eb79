"""Targets: what a net learns to predict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from dlzoo.errors import UserError
from dlzoo.specs.base import Port, Target
from dlzoo.specs.checks import MAX_NUM_STEPS, check_length, check_range
from dlzoo.specs.scaling import AS_IS, Scaling


@dataclass(frozen=True)
class Answer(Target):
    """A target of whole rows, which `dlzoo.tasks.supervised.Supervised` learns by an objective of its class
    (dlzoo/losses/objectives.py)."""

    what: ClassVar[str] = "classes, labels or values"


MAX_CLASSES = 4096
"""Metrics count pairs of true and predicted classes: 64 MiB. A checkpoint of more would be refused."""


def few_enough(num_classes: int, key: str) -> None:
    """`UserError` for more than `MAX_CLASSES`, with the key that names the column or folder they come from."""
    if num_classes > MAX_CLASSES:
        raise UserError(
            f"{key} has {num_classes:,} classes, but at most {MAX_CLASSES:,} can be counted and compared; merge rare "
            "ones into one, or if they are values or names of rows, give another target"
        )


@dataclass(frozen=True)
class Classes(Answer):
    """Target: one of ``num_outputs`` classes, given as (B,) int64, or as (B, K) probabilities after mixing.

    ``counts`` are the classes' numbers of training rows, or empty. Without ``has_probabilities`` a prediction is one
    class and no more, given as a one-hot row: threshold units and clusters only decide.
    """

    what: ClassVar[str] = "classes"
    units: ClassVar[tuple[str, ...]] = ()

    names: tuple[str, ...]
    counts: tuple[int, ...] = ()
    has_probabilities: bool = True

    def check(self) -> None:
        check_range(1, self, names=len(self.names))
        check_range(0, self, counts=self.counts)
        check_length(self, len(self.names), counts=self.counts)

    @property
    def num_outputs(self) -> int:
        return len(self.names)

    def example(self, n: int) -> Tensor:
        return torch.arange(n) % self.num_outputs

    @property
    def classes(self) -> Classes:
        return self

    def ports(self) -> tuple[Port, ...]:
        shape = ("batch", self.num_outputs)
        if not self.has_probabilities:
            return (Port("classes", "float32", shape, "1 for the predicted class, in their order, else 0"),)
        return (Port("probabilities", "float32", shape, "of the classes, in their order"),)

    def metadata(self) -> dict[str, object]:
        return {"classes": list(self.names)}

    def fit(self, y: Tensor) -> Classes:
        return replace(self, counts=tuple(y.bincount(minlength=self.num_outputs).tolist()))

    def strata(self, y: Tensor) -> Tensor:
        return y


@dataclass(frozen=True)
class Labels(Answer):
    """Target: several labels, each of which a row has or has not, given as (B, K) float32 ones and zeros.

    ``counts`` are the numbers of training rows that have each label, or empty.
    """

    what: ClassVar[str] = "labels"
    units: ClassVar[tuple[str, ...]] = ()

    names: tuple[str, ...]
    counts: tuple[int, ...] = ()

    @property
    def num_outputs(self) -> int:
        return len(self.names)

    @property
    def labels(self) -> Labels:
        return self

    def example(self, n: int) -> Tensor:
        return (torch.arange(n)[:, None] // (torch.arange(self.num_outputs) + 1) % 2).float()

    def ports(self) -> tuple[Port, ...]:
        return (Port("probabilities", "float32", ("batch", self.num_outputs), "of each label, in their order"),)

    def metadata(self) -> dict[str, object]:
        return {"labels": list(self.names)}

    def fit(self, y: Tensor) -> Labels:
        return replace(self, counts=tuple(int(count) for count in y.sum(0).tolist()))


@dataclass(frozen=True)
class Values(Answer):
    """Target: real numbers, (B, D) float32, in the units named; a net learns them scaled."""

    what: ClassVar[str] = "values"

    names: tuple[str, ...]
    units: tuple[str, ...] = ()
    scaling: Scaling = AS_IS

    def check(self) -> None:
        check_range(1, self, names=len(self.names))
        check_length(self, len(self.names), units=self.units)
        check_length(self, len(self.names), **{"scaling.mean": self.scaling.mean})

    @property
    def num_outputs(self) -> int:
        return len(self.names)

    def example(self, n: int) -> Tensor:
        return torch.linspace(-1, 1, n * self.num_outputs).view(n, self.num_outputs)

    @property
    def values(self) -> Values:
        return self

    def ports(self) -> tuple[Port, ...]:
        return (Port("values", "float32", ("batch", self.num_outputs), "in the units of the training data"),)

    def metadata(self) -> dict[str, object]:
        return {"values": list(self.names), "units": list(self.units)}

    def scaled(self, y: Tensor, *, log: bool = False) -> Values:
        """The same with the scaling of the training rows y: (N, D).

        Args:
            log: of their logarithms.
        """
        return replace(self, scaling=Scaling(log).fit(y))


@dataclass(frozen=True)
class Unlabelled(Target):
    """No target: a model finds structure in the inputs. In its place, (B,) int64 numbers of the rows' names in the
    data's ``row_names``; zeros if rows have no names."""

    what: ClassVar[str] = "no target"
    remedy: ClassVar[str] = " (data.target=null)"

    num_outputs: ClassVar[int] = 0
    names: ClassVar[tuple[str, ...]] = ()
    units: ClassVar[tuple[str, ...]] = ()

    def example(self, n: int) -> Tensor:
        return torch.zeros(n, dtype=torch.long)


@dataclass(frozen=True)
class NextTokens(Target):
    """Target: for each token of a text the one that follows, (B, L) int64; 0, ``<pad>``, where there is none.

    ``num_steps`` is the length of the pieces of text that are trained on.
    """

    what: ClassVar[str] = "next tokens"

    num_outputs: int
    num_steps: int = 64
    names: ClassVar[tuple[str, ...]] = ()  # the vocabulary is the spec's
    units: ClassVar[tuple[str, ...]] = ()

    def check(self) -> None:
        check_range(1, self, num_outputs=self.num_outputs)
        check_range(1, self, MAX_NUM_STEPS, num_steps=self.num_steps)

    @property
    def next_tokens(self) -> NextTokens:
        return self


@dataclass(frozen=True)
class Actions(Target):
    """Target: one of ``num_outputs`` actions, to be chosen so that the rewards add up to much."""

    what: ClassVar[str] = "actions"
    units: ClassVar[tuple[str, ...]] = ()

    names: tuple[str, ...]

    @property
    def num_outputs(self) -> int:
        return len(self.names)

    def example(self, n: int) -> Tensor:
        return torch.arange(n) % self.num_outputs

    @property
    def actions(self) -> Actions:
        return self

    def metadata(self) -> dict[str, object]:
        return {"actions": list(self.names)}
