"""A table of the user's own: any CSV file with a header.

What a column is (numbers or names), its categories and its fill value are read off the training rows only; validation
and test rows are then encoded as new rows would be. The features are all columns but the target, the weight and those
in ``drop``. A file of test rows is read when they are asked for and decides nothing: before, its first line is looked
at, so that columns that it lacks are told of early.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from dlzoo.data.csv_reader import MISSING_MARKS, read_header, read_table
from dlzoo.data.loaders import Arrays
from dlzoo.data.tables.base import TableData, as_numbers, as_text, encode_inputs, tables_of
from dlzoo.data.tables.csv_targets import Problem, TargetReader, finite, groups_of, targets_of
from dlzoo.errors import UserError, nearest
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.named import NamedSpec, Targets, check_names
from dlzoo.specs.targets import Classes
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    import pandas as pd


class CsvTable(TableData):
    """Rows of a CSV file: classes or values from numbers and names.

    Args:
        path: the file; .gz, .bz2 and .xz are read as they are.
        target: the column to predict, or several columns: all yes/no labels, or all numbers. Several targets of any
            kinds have names of their own, each with its column or columns: {price: median_price, tags: [old, new]}.
        inputs: names of several inputs of the net, each with its columns: {left: [a, b], right: [c, d]}. A column may
            go to several; those that are not named are left out. None: one input of all columns.
        problem: auto takes text as classes, and also whole numbers where there are at most 20 different ones and at
            most half as many as rows; other numbers are values. Several columns are labels where each holds answers
            such as yes and no, true and false, 1 and 0, else values. Of named targets also by name,
            {price: regression}; auto for the others.
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
        target: str | Sequence[str] | Mapping[str, str | Sequence[str]],
        inputs: Mapping[str, Sequence[str]] | None = None,
        problem: Problem | Mapping[str, Problem] = "auto",
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
        self.groups = groups_of(target)
        """The columns of each target; of one without a name, by an empty one."""
        self.named_targets = "" not in self.groups
        self.inputs = None if inputs is None else {name: list(columns) for name, columns in inputs.items()}
        self.targets = [column for columns in self.groups.values() for column in columns]
        self.problems = self._problems(problem)
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
        self._adopted: TableSpec | NamedSpec | None = None
        if not self.targets or not all(self.groups.values()):
            raise UserError(f"data.target={target} is empty; name the column to predict")
        if self.named_targets:
            check_names("data.target", tuple(self.groups), len(self.groups))
        if self.inputs is not None:
            check_names("data.inputs", tuple(self.inputs), len(self.inputs))

    def adopt(self, spec: Spec) -> None:
        """Columns, categories, fill values and classes are the trained model's."""
        self._adopted = spec.named or spec.table

    def declare(self) -> TableSpec | NamedSpec:
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
    def _fitted(self) -> tuple[TableSpec | NamedSpec, Arrays]:
        """What is fitted on the training rows, unless it was adopted, and all rows of ``path``."""
        frame = self._frame
        if self._adopted is not None:
            spec = without_statistics(self._adopted).with_target(self._target(frame))
            return spec, self._encoded(frame, spec)
        features = self._features(frame)
        self._check_missing(frame, features, impute=self.missing == "impute")
        target = self._target(frame)
        y = self._encoded_target(frame, target)
        rows = Arrays(torch.empty(len(frame), 0), y, self._weights(frame))
        own = self.split_test(rows, target)[0] if self.test_path is None else torch.arange(len(frame))
        train = own[self.split(rows.take(own), target)[0]]
        for name, part in targets_of(target).items():
            if classes := part.classes:
                _check_all_present(classes, (y if target.named is None else y[name])[train])
        seen = frame.iloc[train.numpy()]
        columns = {name: self._fit_column(seen[name]) for name in features}
        tables = {
            name: TableSpec(tuple(columns[column] for column in own), target)
            for name, own in (self.inputs or {"": features}).items()
        }
        spec = tables[""] if self.inputs is None else NamedSpec.of(tables, target)
        return spec, rows._replace(x=encode_inputs(frame, spec))

    def _features(self, frame: pd.DataFrame) -> list[str]:
        """The columns that a net is given."""
        if self.inputs is not None:
            return list(dict.fromkeys(column for own in self.inputs.values() for column in own))
        return [name for name in frame.columns if name not in (*self.targets, self.weight)]

    def _encoded(self, frame: pd.DataFrame, spec: Spec) -> Arrays:
        """Rows as a model of this spec wants them."""
        known = {column.name for table in tables_of(spec).values() for column in table.columns}
        self._check_missing(frame, [name for name in frame.columns if name in known], impute=True)  # see encode()
        return Arrays(encode_inputs(frame, spec), self._encoded_target(frame, spec.target), self._weights(frame))

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

    def _target(self, frame: pd.DataFrame) -> Target:
        """What is to be predicted, as the rows of ``path`` say."""
        known = targets_of(self._adopted.target) if self._adopted is not None else {}
        readers = {name: self._reader(name) for name in self.groups}
        found = {name: reader.target(frame, known.get(name)) for name, reader in readers.items()}
        return Targets.of(found) if self.named_targets else found[""]

    def _encoded_target(self, frame: pd.DataFrame, target: Target) -> Any:
        """(N,) int64 labels, or (N, D) float32 values; of several targets a dict of these by name."""
        found = {
            name: self._reader(name).encoded(frame, part)
            for name, part in targets_of(target).items()
            if name in self.groups
        }
        return found if target.named is not None else found[""]

    def _reader(self, name: str) -> TargetReader:
        if not name:
            return TargetReader(self.groups[name], self.problems[name])
        return TargetReader(self.groups[name], self.problems[name], f"data.target.{name}", f"data.problem.{name}")

    def _problems(self, problem: Problem | Mapping[str, Problem]) -> dict[str, Problem]:
        """Of each target."""
        if not isinstance(problem, Mapping):
            return dict.fromkeys(self.groups, problem)
        if strange := [name for name in problem if name not in self.groups or not self.named_targets]:
            known = nearest(strange[0], self.groups) if self.named_targets else "give data.target names as well"
            raise UserError(f"data.problem={dict(problem)}: there is no target {strange[0]}; {known}")
        return {name: problem.get(name, "auto") for name in self.groups}

    def _weights(self, frame: pd.DataFrame) -> Tensor | None:
        if self.weight is None:
            return None
        weights = finite(frame[self.weight], "data.weight")
        if (weights < 0).any() or not weights.any():
            raise UserError(f"data.weight={self.weight} must hold numbers of at least 0, and not only zeros")
        return torch.from_numpy(weights)

    def _check_names(self, frame: pd.DataFrame) -> None:
        names = list(frame.columns)
        keys = {"target": self.targets, "drop": self.drop, "categorical": self.categorical}
        keys["weight"] = [] if self.weight is None else [self.weight]
        keys |= {f"inputs.{name}": columns for name, columns in (self.inputs or {}).items()}
        for key, wanted in keys.items():
            for name in wanted:
                if name not in names:
                    hint = "" if len(names) > 1 else f"; if {names[0]!r} is several columns, change data.separator"
                    raise UserError(f"data.{key}={name}: {self.path} has no such column; {nearest(name, names)}{hint}")
        taken = [*self.targets, *keys["weight"], *self.drop]
        double = sorted({name for name in taken if taken.count(name) > 1})
        if double:
            raise UserError(f"column {double[0]} stands twice in data.target, data.weight and data.drop: once only")
        for key, columns in (self.inputs or {}).items():
            if not columns or len({*columns}) < len(columns) or {*columns} & {*taken}:
                raise UserError(
                    f"data.inputs.{key}={columns}: name columns, none of them twice and none of data.target, "
                    "data.weight or data.drop"
                )
        left = self._features(frame.drop(columns=self.drop)) if self.inputs else [n for n in names if n not in taken]
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


def without_statistics(spec: TableSpec | NamedSpec) -> TableSpec | NamedSpec:
    """A trained model's spec, whose statistics are its own."""
    if spec.named is None:
        return spec.with_statistics((), ())
    return spec.named.with_parts({name: part.with_statistics((), ()) for name, part in spec.named.by_name.items()})


def _check_all_present(target: Classes, labels: Tensor) -> None:
    counts = torch.bincount(labels, minlength=target.num_outputs).tolist()
    absent = [name for name, count in zip(target.names, counts, strict=True) if not count]
    if absent:
        raise UserError(
            f"the training rows hold no row of class {', '.join(map(repr, absent))}: add rows of it, lower "
            "data.val_fraction, or set data.val_last=false"
        )
