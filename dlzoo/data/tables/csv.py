"""A table of the user's own: any CSV file with a header.

What a column is (numbers or names), its categories and its fill value are read off the training rows only; validation
and test rows are then encoded as new rows would be. The features are all columns but the target, the weight and those
in ``drop``. A file of test rows is read when they are asked for and decides nothing: before, its first line is looked
at, so that columns that it lacks are told of early.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.csv_reader import MISSING_MARKS, read_header, read_table
from dlzoo.data.loaders import Arrays
from dlzoo.data.tables.base import TableData, as_numbers, as_text, encode
from dlzoo.errors import UserError, nearest
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.targets import Classes, Labels, Values
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

FEW_VALUES = 20
"""A target of whole numbers is taken as classes up to this many different ones."""


ANSWERS = {"yes": 1, "no": 0, "true": 1, "false": 0, "1": 1, "0": 0, "1.0": 1, "0.0": 0}
"""What cells of a yes/no label hold, in upper or lower case."""


class CsvTable(TableData):
    """Rows of a CSV file: classes or values from numbers and names.

    Args:
        path: the file; .gz, .bz2 and .xz are read as they are.
        target: the column to predict, or several columns: all yes/no labels, or all numbers.
        problem: auto takes text as classes, and also whole numbers where there are at most 20 different ones and at
            most half as many as rows; other numbers are values. Several columns are labels where each holds answers
            such as yes and no, true and false, 1 and 0, else values.
        drop: columns to leave out.
        categorical: columns of numbers that are names (codes): one feature for each, as for text.
        weight: a column of sample weights, factors on the loss.
        missing: refuse, or impute (median of a column of numbers, most frequent name of another).
        missing_marks: what stands for a missing value, beside an empty cell.
        max_categories: a column of more different names is refused as an id.
        test_path: a file of test rows, with the same columns, instead of ``test_fraction``; its rows are read when the
            test begins.
        separator: between cells; ``\\t`` is a tab.
        decimal: the sign before decimals.
        encoding: of the file, by Python's name, such as latin-1.
    """

    def __init__(
        self,
        *,
        path: str,
        target: str | Sequence[str],
        problem: Literal["auto", "classification", "regression"] = "auto",
        drop: Sequence[str] = (),
        categorical: Sequence[str] = (),
        weight: str | None = None,
        missing: Literal["refuse", "impute"] = "refuse",
        missing_marks: Sequence[str] = MISSING_MARKS,
        max_categories: int = 100,
        test_path: str | None = None,
        separator: str = ",",
        decimal: Literal[".", ","] = ".",
        encoding: str = "utf-8-sig",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.path = path
        self.targets = [target] if isinstance(target, str) else list(target)
        self.problem = problem
        self.drop = list(drop)
        self.categorical = list(categorical)
        self.weight = weight
        self.missing = missing
        self.max_categories = max_categories
        self.test_path = test_path
        self.format: dict[str, Any] = {
            "separator": separator,
            "decimal": decimal,
            "encoding": encoding,
            "missing_marks": tuple(missing_marks),
        }
        self._adopted: TableSpec | None = None
        if not self.targets:
            raise UserError("data.target=[] is empty; name the column to predict")

    def adopt(self, spec: Spec) -> None:
        """Columns, categories, fill values and classes are the trained model's."""
        self._adopted = spec.table

    def declare(self) -> TableSpec:
        if self.test_path is not None:
            self._check_header(self.test_path)
        return self._fitted[0]

    def table(self) -> Arrays:
        """The rows of ``path``."""
        return self._fitted[1]

    def load(self, split: Literal["train", "test"]) -> Arrays:
        if self.test_path is None:
            return super().load(split)
        return self.table() if split == "train" else self._test_rows(self.test_path)

    @cached_property
    def _frame(self) -> pd.DataFrame:
        """The rows of ``path``, as text, without the dropped columns."""
        frame = read_table(paths.existing_file(self.path, "data.path"), **self.format)
        self._check_names(frame)
        return frame.drop(columns=self.drop)

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        splits = (self.test_path is None, "data.test_path=null")
        return super().option_uses() | {"test_fraction": splits, "test_seed": splits}

    def _check_header(self, test_path: str) -> None:
        """Refuse a file of test rows that is not there or lacks columns, without a look at its rows."""
        style = {key: self.format[key] for key in ("separator", "encoding")}
        names = read_header(paths.existing_file(test_path, "data.test_path"), **style)
        if absent := [name for name in self._frame.columns if name not in names]:
            raise UserError(f"data.test_path={test_path} lacks columns of data.path: {', '.join(absent)}")

    def _test_rows(self, test_path: str) -> Arrays:
        """The rows of a file of their own, encoded as those that the model predicts."""
        self._check_header(test_path)
        spec = self.declare()
        try:
            frame = read_table(paths.existing_file(test_path, "data.test_path"), **self.format)
            return self._encoded(frame[self._frame.columns], spec)
        except UserError as error:
            raise UserError(f"data.test_path={test_path}: {error}") from None

    @cached_property
    def _fitted(self) -> tuple[TableSpec, Arrays]:
        """What is fitted on the training rows, unless it was adopted, and all rows of ``path``."""
        frame = self._frame
        if self._adopted is not None:
            spec = dataclasses.replace(self._adopted, target=self._target(frame), mean=(), std=())
            return spec, self._encoded(frame, spec)
        features = [name for name in frame.columns if name not in (*self.targets, self.weight)]
        self._check_missing(frame, features, impute=self.missing == "impute")
        target = self._target(frame)
        y = self._encoded_target(frame, target)
        rows = Arrays(torch.empty(len(frame), 0), y, self._weights(frame))
        own = self.split_test(rows, target)[0] if self.test_path is None else torch.arange(len(frame))
        train = own[self.split(rows.take(own), target)[0]]
        if classes := target.classes:
            _check_all_present(classes, y[train])
        seen = frame.iloc[train.numpy()]
        columns = tuple(self._fit_column(seen[name]) for name in features)
        return TableSpec(columns, target), rows._replace(x=encode(frame[features], columns))

    def _encoded(self, frame: pd.DataFrame, spec: TableSpec) -> Arrays:
        """Rows as a model of this spec wants them."""
        columns = [column.name for column in spec.columns if column.name in frame.columns]
        self._check_missing(frame, columns, impute=True)  # encode() says which column has nothing to impute
        return Arrays(encode(frame, spec.columns), self._encoded_target(frame, spec.target), self._weights(frame))

    def _fit_column(self, values: pd.Series) -> Column:
        name, impute = str(values.name), self.missing == "impute"
        numbers, present = as_numbers(values), values.notna()
        if not present.any():
            raise UserError(f"column {name} has no value in any training row: data.drop=[{name}]")
        if name not in self.categorical and numbers[present].notna().all():
            return Column(name, fill=float(numbers.median()) if impute else None)
        text = as_text(values[present])
        categories = sorted(set(text))
        if len(categories) > self.max_categories or (len(categories) == len(text) > 10):
            strays = sorted(set(text[numbers[present].isna()]))
            hint = f"; if {strays[0]!r} marks a missing value, add it to data.missing_marks" if len(strays) == 1 else ""
            raise UserError(
                f"column {name} is text with {len(categories)} different values in {len(text)} training rows, like an "
                f"id: data.drop=[{name}], or raise data.max_categories={self.max_categories}{hint}"
            )
        return Column(name, categories=tuple(categories), fill=text.mode()[0] if impute else None)

    def _has_classes(self, frame: pd.DataFrame) -> bool:
        if self.problem != "auto":
            return self.problem == "classification"
        numbers = as_numbers(frame[self.targets[0]])
        if numbers.isna().any():
            return True
        num_different = numbers.nunique()
        few = bool((numbers % 1 == 0).all()) and num_different <= min(FEW_VALUES, len(numbers) / 2)
        found, other = ("classes", "regression") if few else ("values", "classification")
        log.info("data.target=%s has %d different numbers, taken as %s; to change it: data.problem=%s",
                 self.targets[0], num_different, found, other)  # fmt: skip
        return few

    def _target(self, frame: pd.DataFrame) -> Target:
        """What is to be predicted, as the rows of ``path`` say."""
        known = self._adopted.target if self._adopted is not None else None
        if known is not None and self.problem == "auto" and len(self.targets) == 1:
            return known.classes or Values(tuple(self.targets))
        if len(self.targets) > 1 and self.problem != "regression":
            return (known and known.labels) or self._labels(frame) or self._values(frame)
        if not self._has_classes(frame):
            return self._values(frame)
        return (known and known.classes) or self._classes(frame)

    def _encoded_target(self, frame: pd.DataFrame, target: Target) -> Tensor:
        """(N,) int64 labels, or (N, D) float32 values."""
        if target.labels is not None:
            return torch.from_numpy(np.stack([_answers(frame[name]) for name in self.targets], axis=1))
        if target.values is not None:
            columns = [_finite(frame[name], "data.target") for name in self.targets]
            return torch.from_numpy(np.stack(columns, axis=1))
        label, text = {name: i for i, name in enumerate(target.names)}, frame[self.targets[0]]
        strange = np.flatnonzero(~text.isin(target.names))
        if len(strange):
            raise UserError(
                f"row {strange[0] + 1} has the label {text.iloc[strange[0]]!r} in {text.name}, which the training rows "
                f"do not know; they know: {', '.join(target.names[:20])}{', …' if len(target.names) > 20 else ''}"
            )
        return torch.tensor([label[name] for name in text])

    def _classes(self, frame: pd.DataFrame) -> Classes:
        text = frame[self.targets[0]]
        counts = text.value_counts()
        names = sorted(counts.index, key=float) if as_numbers(text).notna().all() else sorted(counts.index)
        if len(names) == 1:
            raise UserError(f"data.target={text.name} has one class only, {names[0]!r}: there is nothing to learn")
        alone = [name for name in names if counts[name] == 1]
        if alone:
            raise UserError(
                f"data.target={text.name}: {len(alone)} of {len(names)} classes have a single row, such as "
                f"{alone[0]!r}; add rows or remove these, or if they are values write plain numbers and set "
                "data.problem=regression"
            )
        return Classes(tuple(names))

    def _labels(self, frame: pd.DataFrame) -> Labels | None:
        """Labels where all target columns hold yes or no; None where none does.

        Raises:
            UserError: some do, or one says the same in all rows.
        """
        are_labels = {name: frame[name].str.lower().isin(ANSWERS).all() for name in self.targets}
        if not any(are_labels.values()) and self.problem == "auto":
            return None
        for name, is_label in are_labels.items():
            if not is_label:
                first = next(name for name, yes in are_labels.items() if yes) if any(are_labels.values()) else None
                other = f"{first} holds yes/no labels, but " if first else ""
                raise UserError(
                    f"data.target={self.targets}: {other}{name} holds {_other_answer(frame[name])!r}; give columns of "
                    f"one kind, yes/no labels ({', '.join(ANSWERS)}) or numbers; to take labels as numbers write them "
                    "as 0 and 1 and set data.problem=regression"
                )
            if len(set(_answers(frame[name]))) == 1:
                raise UserError(f"data.target={name} is {frame[name].iloc[0]} in all rows: there is nothing to learn")
        return Labels(tuple(self.targets))

    def _values(self, frame: pd.DataFrame) -> Values:
        for name in self.targets:
            column = _finite(frame[name], "data.target")
            if np.all(column == column[0]):
                raise UserError(f"data.target={name} is {column[0]:g} in all rows: there is nothing to learn")
        return Values(tuple(self.targets))

    def _weights(self, frame: pd.DataFrame) -> Tensor | None:
        if self.weight is None:
            return None
        weights = _finite(frame[self.weight], "data.weight")
        if (weights < 0).any() or not weights.any():
            raise UserError(f"data.weight={self.weight} must hold numbers of at least 0, and not only zeros")
        return torch.from_numpy(weights)

    def _check_names(self, frame: pd.DataFrame) -> None:
        names = list(frame.columns)
        keys = {"target": self.targets, "drop": self.drop, "categorical": self.categorical}
        keys["weight"] = [] if self.weight is None else [self.weight]
        for key, wanted in keys.items():
            for name in wanted:
                if name not in names:
                    hint = "" if len(names) > 1 else f"; if {names[0]!r} is several columns, change data.separator"
                    raise UserError(f"data.{key}={name}: {self.path} has no such column; {nearest(name, names)}{hint}")
        taken = [*self.targets, *keys["weight"], *self.drop]
        double = sorted({name for name in taken if taken.count(name) > 1})
        if double:
            raise UserError(f"column {double[0]} stands twice in data.target, data.weight and data.drop: once only")
        left = [name for name in names if name not in taken]
        if not left:
            raise UserError(f"{self.path} has no column left to learn from beside {', '.join(taken)}")
        for number, name in enumerate(names):
            if name in left and not name:
                raise UserError(
                    f"{self.path}: column {number + 1} has no name, like the row numbers that pandas writes; "
                    "data.drop=[''] leaves it out"
                )

    def _check_missing(self, frame: pd.DataFrame, features: Sequence[str], *, impute: bool) -> None:
        counts = frame.isna().sum()
        for name in [*self.targets, *([self.weight] if self.weight else [])]:
            if counts[name]:
                rows = [str(row + 1) for row in frame.index[frame[name].isna()][:6]]
                rows[5:] = ["…"] * bool(rows[5:])
                raise UserError(
                    f"{counts[name]} rows have no {name} (row {', '.join(rows)}): remove these rows (they cannot be "
                    "imputed)"
                )
        holes = [f"{name} ({counts[name]})" for name in features if counts[name]]
        if holes and not impute:
            raise UserError(
                f"missing values in {', '.join(holes)}: set data.missing=impute (median or most frequent value of the "
                "training rows), drop the columns with data.drop=[…], or complete the file"
            )


def _answers(values: pd.Series) -> np.ndarray:
    """(N,) float32 ones and zeros from yes and no."""
    strange = ~values.str.lower().isin(ANSWERS)
    if strange.any():
        raise UserError(
            f"data.target={values.name} holds {values[strange].iloc[0]!r} (row {strange.to_numpy().argmax() + 1}), but "
            f"a label is one of {', '.join(ANSWERS)}"
        )
    return values.str.lower().map(ANSWERS).to_numpy(dtype=np.float32)


def _other_answer(values: pd.Series) -> str:
    return str(values[~values.str.lower().isin(ANSWERS)].iloc[0])


def _finite(values: pd.Series, key: str) -> np.ndarray:
    """(N,) float32."""
    numbers = as_numbers(values)
    with np.errstate(over="ignore"):
        ready = numbers.to_numpy(dtype=np.float32)
    wrong = ~np.isfinite(ready)
    if wrong.any():
        raise UserError(f"{key}={values.name} must hold numbers; {values[wrong].iloc[0]!r} is none, or not finite")
    return ready


def _check_all_present(target: Classes, labels: Tensor) -> None:
    counts = torch.bincount(labels, minlength=target.num_outputs).tolist()
    absent = [name for name, count in zip(target.names, counts, strict=True) if not count]
    if absent:
        raise UserError(
            f"the training rows hold no row of class {', '.join(map(repr, absent))}: add rows of it, lower "
            "data.val_fraction, or set data.val_last=false"
        )
