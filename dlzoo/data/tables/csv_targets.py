"""Targets from the columns of a table: classes, labels or values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.categories import category_indices, classes_of, merge_spellings
from dlzoo.data.numbers import as_numbers, finite_float32, parse_numbers, same_unit
from dlzoo.errors import UserError, short
from dlzoo.specs.base import Target
from dlzoo.specs.targets import Classes, Labels, Values

if TYPE_CHECKING:
    import pandas as pd

Problem = Literal["auto", "classification", "regression"]

FEW_VALUES = 20
"""An integer target with at most this many distinct values is treated as classes."""

YES_NO = {"yes": 1, "no": 0, "true": 1, "false": 0, "1": 1, "0": 0, "1.0": 1, "0.0": 0}
"""Cells of a yes/no label, case-insensitive."""


@dataclass(frozen=True)
class TargetReader:
    """Reads one target from a table of text.

    Args:
        columns: of the target.
        problem: see `CsvTable`.
        key: option name of the columns, for messages.
        problem_key: option name of the problem, for messages.
    """

    columns: list[str]
    problem: Problem
    key: str = "data.target"
    problem_key: str = "data.problem"

    def target(self, frame: pd.DataFrame, known: Target | None = None) -> Target:
        """The target that these rows define.

        Args:
            known: target of a trained model, whose classes and labels are kept.
        """
        if known is not None and self.problem == "auto" and len(self.columns) == 1:
            return known.classes or Values(tuple(self.columns), known.units)
        if len(self.columns) > 1 and self.problem != "regression":
            return (known and known.labels) or self._labels(frame) or self._values(frame)
        if not self.has_classes(frame):
            return self._values(frame)
        return (known and known.classes) or self._classes(frame)

    def encoded(self, frame: pd.DataFrame, target: Target) -> Tensor:
        """(N,) int64 classes, or (N, D) float32 values or labels."""
        if target.labels is not None:
            return torch.from_numpy(np.stack([parse_yes_no(frame[name], self.key) for name in self.columns], axis=1))
        if target.values is not None:
            units = target.units or [""] * len(self.columns)
            columns = [finite_numbers(frame[n], self.key, unit) for n, unit in zip(self.columns, units, strict=True)]
            return torch.from_numpy(np.stack(columns, axis=1))
        text = frame[self.columns[0]]
        indices = category_indices(text, target.names)
        unknown = np.flatnonzero(indices < 0)
        if len(unknown):
            names = ", ".join(target.names[:20]) + ", …" * (len(target.names) > 20)
            raise UserError(
                f"row {text.index[unknown[0]] + 1} has the label {text.iloc[unknown[0]]!r} in {text.name}, which does "
                f"not occur in the training rows; their labels are: {names}"
            )
        return torch.from_numpy(indices)

    def has_classes(self, frame: pd.DataFrame) -> bool:
        if self.problem != "auto":
            return self.problem == "classification"
        numbers = parse_numbers(frame[self.columns[0]]).values
        if numbers.isna().any():
            self._check_mixed(frame[self.columns[0]], numbers)
            return True
        return bool((numbers % 1 == 0).all()) and numbers.nunique() <= min(FEW_VALUES, len(numbers) / 2)

    def describe(self, frame: pd.DataFrame, target: Target) -> str:
        """The columns and what they were taken for, with the option to change it if that was inferred from numbers."""
        kind = f"{target.num_outputs} classes" if target.classes is not None else target.what
        units = f" in {', '.join(target.units)}" if any(target.units) else ""
        is_inferred = self.problem == "auto" and len(self.columns) == 1
        if is_inferred and (parse_numbers(frame[self.columns[0]]).values % 1 == 0).all():
            other = "classification" if target.values is not None else "regression"
            return f"{self.columns[0]} ({kind}{units}; to change this: {self.problem_key}={other})"
        return f"{', '.join(self.columns)} ({kind}{units})"

    def _check_mixed(self, cells: pd.Series, numbers: pd.Series) -> None:
        """Refuse a target that is mostly numbers, and too many different ones to be classes."""
        if numbers.notna().mean() < 0.5 or numbers.nunique() <= FEW_VALUES:
            return
        other = cells[numbers.isna()]
        raise UserError(
            f"{self.key}={cells.name} has numbers in {numbers.notna().sum()} of {len(cells)} rows, but "
            f"{short(other.iloc[0])!r} in row {other.index[0] + 1} is not one: remove such rows, or if these are "
            f"classes, set {self.problem_key}=classification"
        )

    def _classes(self, frame: pd.DataFrame) -> Classes:
        text = merge_spellings(frame[self.columns[0]].map(str))
        numbers = parse_numbers(text).values
        by_value = dict(zip(text, numbers, strict=True))
        remedy = "add rows or remove these, or if they are values, write plain numbers and set "
        return classes_of(
            text,
            f"{self.key}={text.name}",
            f"{remedy}{self.problem_key}=regression",
            sort_key=by_value.__getitem__ if numbers.notna().all() else None,
        )

    def _labels(self, frame: pd.DataFrame) -> Labels | None:
        """Labels if all target columns are yes/no; None if none is.

        Raises:
            UserError: only some are, or one is constant.
        """
        are_labels = {name: frame[name].str.lower().isin(YES_NO).all() for name in self.columns}
        if not any(are_labels.values()) and self.problem == "auto":
            return None
        for name, is_label in are_labels.items():
            if not is_label:
                first = next(name for name, yes in are_labels.items() if yes) if any(are_labels.values()) else None
                other = f"{first} contains yes/no labels, but " if first else ""
                raise UserError(
                    f"{self.key}={self.columns}: {other}{name} contains {_first_other(frame[name])!r}; give columns of "
                    f"one kind, yes/no labels ({', '.join(YES_NO)}) or numbers, or give targets by name, "
                    f"data.target={{{name}: {name}, …}}; to treat labels as numbers, write them as 0 and 1 and set "
                    f"{self.problem_key}=regression"
                )
            if len(set(parse_yes_no(frame[name], self.key))) == 1:
                raise UserError(f"{self.key}={name} is {frame[name].iloc[0]} in all rows: there is nothing to learn")
        return Labels(tuple(self.columns))

    def _values(self, frame: pd.DataFrame) -> Values:
        units = tuple(parse_numbers(frame[name]).unit for name in self.columns)
        for name, unit in zip(self.columns, units, strict=True):
            column = finite_numbers(frame[name], self.key, unit, is_training=True)
            if np.all(column == column[0]):
                raise UserError(f"{self.key}={name} is {column[0]:g} in all rows: there is nothing to learn")
        return Values(tuple(self.columns), units if any(units) else ())


def columns_by_target(given: str | Sequence[str] | Mapping[str, str | Sequence[str]]) -> dict[str, list[str]]:
    """The columns of each target by name, or of a single target under the empty name.

    >>> columns_by_target({"price": "cost", "tags": ["old", "new"]}), columns_by_target("cost")
    ({'price': ['cost'], 'tags': ['old', 'new']}, {'': ['cost']})
    """
    by_name = given if isinstance(given, Mapping) else {"": given}
    return {name: [columns] if isinstance(columns, str) else list(columns) for name, columns in by_name.items()}


def parse_yes_no(values: pd.Series, key: str) -> np.ndarray:
    """(N,) float32, 1 for yes and 0 for no."""
    invalid = ~values.str.lower().isin(YES_NO)
    if invalid.any():
        raise UserError(
            f"{key}={values.name} contains {values[invalid].iloc[0]!r} (row {invalid.to_numpy().argmax() + 1}), but "
            f"labels must be one of {', '.join(YES_NO)}"
        )
    return values.str.lower().map(YES_NO).to_numpy(dtype=np.float32)


def _first_other(values: pd.Series) -> str:
    return str(values[~values.str.lower().isin(YES_NO)].iloc[0])


def finite_numbers(values: pd.Series, key: str, unit: str = "", *, is_training: bool = False) -> np.ndarray:
    """(N,) float32.

    Args:
        unit: of the numbers, which new rows may omit.
        is_training: whether all numbers must have the unit.

    Raises:
        UserError: a cell is not a finite number, or has another unit.
    """
    result = finite_float32(as_numbers(values, unit))
    invalid = ~np.isfinite(result)
    if invalid.any():
        first = short(values[invalid].iloc[0])
        raise UserError(f"{key}={values.name} must contain numbers{_in(unit)}, but {first!r} is not a finite number")
    units = parse_numbers(values).units
    if is_training and unit and len(units) > 1:
        other = next(cell for found, cell in units.items() if not same_unit(found, unit))
        raise UserError(f"{key}={values.name} must contain numbers of one unit, but has {units[unit]!r} and {other!r}")
    return result


def _in(unit: str) -> str:
    return f" in {unit}" if unit else ""
