"""What the columns of a table give to predict: classes, labels or values."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.tables.base import as_numbers
from dlzoo.errors import UserError
from dlzoo.specs.base import Target
from dlzoo.specs.targets import Classes, Labels, Values

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

Problem = Literal["auto", "classification", "regression"]

FEW_VALUES = 20
"""A target of whole numbers is taken as classes up to this many different ones."""


ANSWERS = {"yes": 1, "no": 0, "true": 1, "false": 0, "1": 1, "0": 0, "1.0": 1, "0.0": 0}
"""What cells of a yes/no label hold, in upper or lower case."""


@dataclass(frozen=True)
class TargetReader:
    """One target of a table of text.

    Args:
        columns: that it is made of.
        problem: what they are, as `CsvTable` explains.
        key: of the columns in messages.
        problem_key: of the problem in messages.
    """

    columns: list[str]
    problem: Problem
    key: str = "data.target"
    problem_key: str = "data.problem"

    def target(self, frame: pd.DataFrame, known: Target | None = None) -> Target:
        """What is to be predicted, as these rows say.

        Args:
            known: of a trained model, whose classes and labels are kept.
        """
        if known is not None and self.problem == "auto" and len(self.columns) == 1:
            return known.classes or Values(tuple(self.columns))
        if len(self.columns) > 1 and self.problem != "regression":
            return (known and known.labels) or self._labels(frame) or self._values(frame)
        if not self.has_classes(frame):
            return self._values(frame)
        return (known and known.classes) or self._classes(frame)

    def encoded(self, frame: pd.DataFrame, target: Target) -> Tensor:
        """(N,) int64 classes, or (N, D) float32 values or labels."""
        if target.labels is not None:
            return torch.from_numpy(np.stack([answers(frame[name], self.key) for name in self.columns], axis=1))
        if target.values is not None:
            columns = [finite(frame[name], self.key) for name in self.columns]
            return torch.from_numpy(np.stack(columns, axis=1))
        label, text = {name: i for i, name in enumerate(target.names)}, frame[self.columns[0]]
        strange = np.flatnonzero(~text.isin(target.names))
        if len(strange):
            raise UserError(
                f"row {strange[0] + 1} has the label {text.iloc[strange[0]]!r} in {text.name}, which the training rows "
                f"do not know; they know: {', '.join(target.names[:20])}{', …' if len(target.names) > 20 else ''}"
            )
        return torch.tensor([label[name] for name in text])

    def has_classes(self, frame: pd.DataFrame) -> bool:
        if self.problem != "auto":
            return self.problem == "classification"
        numbers = as_numbers(frame[self.columns[0]])
        if numbers.isna().any():
            return True
        num_different = numbers.nunique()
        few = bool((numbers % 1 == 0).all()) and num_different <= min(FEW_VALUES, len(numbers) / 2)
        found, other = ("classes", "regression") if few else ("values", "classification")
        log.info("%s=%s has %d different numbers, taken as %s; to change it: %s=%s",
                 self.key, self.columns[0], num_different, found, self.problem_key, other)  # fmt: skip
        return few

    def _classes(self, frame: pd.DataFrame) -> Classes:
        text = frame[self.columns[0]]
        counts = text.value_counts()
        names = sorted(counts.index, key=float) if as_numbers(text).notna().all() else sorted(counts.index)
        if len(names) == 1:
            raise UserError(f"{self.key}={text.name} has one class only, {names[0]!r}: there is nothing to learn")
        alone = [name for name in names if counts[name] == 1]
        if alone:
            raise UserError(
                f"{self.key}={text.name}: {len(alone)} of {len(names)} classes have a single row, such as "
                f"{alone[0]!r}; add rows or remove these, or if they are values write plain numbers and set "
                f"{self.problem_key}=regression"
            )
        return Classes(tuple(names))

    def _labels(self, frame: pd.DataFrame) -> Labels | None:
        """Labels where all target columns hold yes or no; None where none does.

        Raises:
            UserError: some do, or one says the same in all rows.
        """
        are_labels = {name: frame[name].str.lower().isin(ANSWERS).all() for name in self.columns}
        if not any(are_labels.values()) and self.problem == "auto":
            return None
        for name, is_label in are_labels.items():
            if not is_label:
                first = next(name for name, yes in are_labels.items() if yes) if any(are_labels.values()) else None
                other = f"{first} holds yes/no labels, but " if first else ""
                raise UserError(
                    f"{self.key}={self.columns}: {other}{name} holds {_other_answer(frame[name])!r}; give columns of "
                    f"one kind, yes/no labels ({', '.join(ANSWERS)}) or numbers, or each target a name of its own, "
                    f"data.target={{{name}: {name}, …}}; to take labels as numbers write them as 0 and 1 and set "
                    f"{self.problem_key}=regression"
                )
            if len(set(answers(frame[name], self.key))) == 1:
                raise UserError(f"{self.key}={name} is {frame[name].iloc[0]} in all rows: there is nothing to learn")
        return Labels(tuple(self.columns))

    def _values(self, frame: pd.DataFrame) -> Values:
        for name in self.columns:
            column = finite(frame[name], self.key)
            if np.all(column == column[0]):
                raise UserError(f"{self.key}={name} is {column[0]:g} in all rows: there is nothing to learn")
        return Values(tuple(self.columns))


def groups_of(given: str | Sequence[str] | Mapping[str, str | Sequence[str]]) -> dict[str, list[str]]:
    """The columns of each target by its name; those of one without a name by an empty one.

    >>> groups_of({"price": "cost", "tags": ["old", "new"]}), groups_of("cost")
    ({'price': ['cost'], 'tags': ['old', 'new']}, {'': ['cost']})
    """
    by_name = given if isinstance(given, Mapping) else {"": given}
    return {name: [columns] if isinstance(columns, str) else list(columns) for name, columns in by_name.items()}


def targets_of(target: Target) -> Mapping[str, Target]:
    """Several targets by name, or one by an empty name.

    >>> targets_of(Values(("y",)))
    {'': Values(names=('y',), units=())}
    """
    return target.named.by_name if target.named is not None else {"": target}


def answers(values: pd.Series, key: str) -> np.ndarray:
    """(N,) float32 ones and zeros from yes and no."""
    strange = ~values.str.lower().isin(ANSWERS)
    if strange.any():
        raise UserError(
            f"{key}={values.name} holds {values[strange].iloc[0]!r} (row {strange.to_numpy().argmax() + 1}), but "
            f"a label is one of {', '.join(ANSWERS)}"
        )
    return values.str.lower().map(ANSWERS).to_numpy(dtype=np.float32)


def _other_answer(values: pd.Series) -> str:
    return str(values[~values.str.lower().isin(ANSWERS)].iloc[0])


def finite(values: pd.Series, key: str) -> np.ndarray:
    """(N,) float32."""
    numbers = as_numbers(values)
    with np.errstate(over="ignore"):
        ready = numbers.to_numpy(dtype=np.float32)
    wrong = ~np.isfinite(ready)
    if wrong.any():
        raise UserError(f"{key}={values.name} must hold numbers; {values[wrong].iloc[0]!r} is none, or not finite")
    return ready
