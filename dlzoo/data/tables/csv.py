"""The user's own table: any CSV file with a header.

The type of a column (numeric or categorical), its categories and its fill value are determined from the training rows
only; validation and test rows are then encoded like new rows. The features are all columns except the target, the
weight and those in ``drop``. A file of test rows is read only when they are needed and affects nothing else; before
that, only its first line is read, so that missing columns are reported early.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

import torch
from torch import Tensor

from dlzoo.data import typed_tables
from dlzoo.data.csv_reader import (
    MISSING_MARKS,
    CsvFormat,
    check_unique,
    missing_header_hint,
    read_header,
    read_table,
)
from dlzoo.data.loaders import Arrays
from dlzoo.data.options import TableOptions
from dlzoo.data.tables.base import TableData
from dlzoo.data.tables.columns import ColumnRules, FittedColumns, id_reason, listed
from dlzoo.data.tables.csv_targets import Problem, TargetReader, columns_by_target, finite_numbers
from dlzoo.data.tables.encoding import encode_inputs, tables_by_name
from dlzoo.data.tables.row_names import RowNames
from dlzoo.errors import UserError, nearest, short
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.batch import part_of
from dlzoo.specs.inputs import TableSpec
from dlzoo.specs.named import NamedSpec, Targets, check_names
from dlzoo.specs.targets import Classes, Unlabelled

if TYPE_CHECKING:
    import pandas as pd


class CsvTable(TableData):
    """Rows of a CSV file with numeric and categorical columns, for classification or regression.

    Args:
        path: the file, which may be compressed as .gz, .bz2 or .xz; or a Parquet file, arrays of NumPy in .npz, or a
            folder that Hugging Face's Dataset.save_to_disk has written, whose columns keep their types.
        target: the column to predict, or several columns, either all yes/no labels or all numbers. Several targets of
            any kind are given by name, each with its column or columns: {price: median_price, tags: [old, new]}.
            null: none, for models that find structure without one.
        inputs: several inputs of the net by name, each with its columns: {left: [a, b], right: [c, d]}. A column may
            be in several inputs; others are ignored. None: a single input with all columns.
        problem: auto treats text as classes, and integers too if they have at most 20 distinct values and at most
            half as many as rows; other numbers are regression targets. Several columns are labels if all their cells
            are answers such as yes and no, true and false, 1 and 0, and values otherwise. For named targets, it may
            be given by name, {price: regression}; auto for the others.
        drop: columns to ignore.
        categorical: numeric columns to encode as categories (codes), like text: one feature per category.
        numeric: columns of numbers to keep although they look like ids, such as the number of the row.
        weight: a column of sample weights, factors on the loss.
        names: a column that names the rows of a table without a target, for pictures; it is no feature.
        missing: refuse, impute (the median of a numeric column, the most frequent category of another), or drop the
            rows.
        missing_marks: cells that mark a missing value, besides empty ones.
        max_categories: a column with more categories is rejected as an id.
        test_path: a file of test rows with the same columns, in place of ``test_fraction``; its rows are read when
            the test begins.
        separator: between cells; ``\\t`` is a tab.
        decimal: the decimal separator.
        encoding: Python's name of the file's encoding, such as latin-1.
        header: whether the first line names the columns; otherwise they are named column_1, column_2, ….
        quotes: whether quotation marks enclose cells; false for files in which they are ordinary characters. null
            means true, but a file that may be meant otherwise is refused.
    """

    def __init__(
        self,
        *,
        path: str,
        target: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None,
        inputs: Mapping[str, Sequence[str]] | None = None,
        problem: Problem | Mapping[str, Problem] = "auto",
        drop: Sequence[str] = (),
        categorical: Sequence[str] = (),
        numeric: Sequence[str] = (),
        weight: str | None = None,
        names: str | None = None,
        missing: Literal["refuse", "impute", "drop"] = "refuse",
        missing_marks: Sequence[str] = MISSING_MARKS,
        max_categories: int = 100,
        test_path: str | None = None,
        separator: str = ",",
        decimal: Literal[".", ","] = ".",
        encoding: str = "utf-8-sig",
        header: bool = True,
        quotes: bool | None = None,
        **common: Unpack[TableOptions],
    ) -> None:
        super().__init__(**common)
        self.path = path
        self.target_columns = {} if target is None else columns_by_target(target)
        """The columns of each target by name, or of a single target under the empty name."""
        self.named_targets = target is not None and "" not in self.target_columns
        self.inputs = None if inputs is None else {name: list(columns) for name, columns in inputs.items()}
        self.targets = [column for columns in self.target_columns.values() for column in columns]
        self.problems = self._problems(problem)
        self.drop = list(drop)
        may_have_names = target is None and names is None
        self.rules = ColumnRules(
            list(categorical), list(numeric), missing == "impute", max_categories, may_have_names=may_have_names
        )
        self.weight = weight
        self.names = names
        self._row_names = RowNames()
        self.missing = missing
        self.test_path = test_path
        self.format: CsvFormat = {
            "separator": separator,
            "decimal": decimal,
            "encoding": encoding,
            "missing_marks": tuple(missing_marks),
            "header": header,
            "quotes": quotes,
        }
        self._adopted: TableSpec | NamedSpec | None = None
        self._notes: list[str] = []
        if target is not None and not (self.targets and all(self.target_columns.values())):
            raise UserError(f"data.target={target} is empty; give the column to predict")
        if self.named_targets:
            check_names("data.target", tuple(self.target_columns), len(self.target_columns))
        if self.inputs is not None:
            check_names("data.inputs", tuple(self.inputs), len(self.inputs))

    def adopt(self, spec: Spec) -> None:
        """Use the columns, categories, fill values and classes of a trained model."""
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
        """The rows of ``path`` as text, without the dropped columns and those without a name."""
        frame = read_table(typed_tables.existing(self.path, "data.path"), **self.format)
        self._check_names(frame)
        texts = [name for name in frame.attrs.get(typed_tables.TEXTS, ()) if name not in self.rules.numeric]
        self.rules = dataclasses.replace(self.rules, categorical=[*dict.fromkeys([*self.rules.categorical, *texts])])
        frame = frame.drop(columns=self.drop)
        if self.inputs is not None:
            return self._complete(frame[[*dict.fromkeys([*self._features(frame), *self._answers])]])
        return self._complete(self._named_columns(frame))

    def _complete(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows to use; without those with missing values if these are to be dropped."""
        complete = frame.dropna() if self.missing == "drop" else frame
        if complete.empty:
            counts = ", ".join(f"{name} ({num})" for name, num in frame.isna().sum().items() if num)
            raise UserError(f"data.missing=drop leaves no rows: missing values in {counts}")
        return complete

    @property
    def _answers(self) -> list[str]:
        """The columns of the targets, the weights and the names."""
        return [*self.targets, *(name for name in (self.weight, self.names) if name is not None)]

    @property
    def row_names(self) -> tuple[str, ...]:
        return self._row_names.known

    def _named_columns(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A frame without columns that have no name and no content, or count the rows, as pandas writes them.

        Raises:
            UserError: another column has no name, or none is left as an input.
        """
        for number in [i for i, name in enumerate(frame.columns) if not name]:
            values = frame.iloc[:, number]
            if values.notna().any() and not id_reason(values, ""):
                raise UserError(
                    f"{self.path}: column {number + 1} has no name: name it, or drop all columns without a name with "
                    "data.drop=['']"
                )
        named = frame.loc[:, frame.columns != ""]
        if not {*named.columns} - {*self._answers}:
            raise UserError(
                f"{self.path} has no columns left as inputs besides {', '.join(self._answers)}: those without a name "
                "are not used"
            )
        return named

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        splits = (self.test_path is None, "data.test_path=null")
        names = (not self.target_columns, "data.target=null")
        return super().option_uses() | {"test_fraction": splits, "test_seed": splits, "names": names}

    def _check_header(self, test_path: str) -> None:
        """Reject a file of test rows that does not exist or lacks columns, without reading its rows."""
        path = typed_tables.existing(test_path, "data.test_path")
        names = read_header(path, self.format)
        if absent := [name for name in self._frame.columns if name not in names]:
            raise UserError(f"data.test_path={test_path} lacks columns of data.path: {', '.join(absent)}")

    def _test_rows(self, test_path: str) -> Arrays:
        """The rows of a separate test file, encoded like new rows."""
        self._check_header(test_path)
        spec = self.declare()
        try:
            frame = read_table(typed_tables.existing(test_path, "data.test_path"), **self.format)
            check_unique(frame.columns, self._frame.columns, "the file")
            return self._encoded(self._complete(frame[self._frame.columns]), spec)
        except UserError as error:
            raise UserError(f"data.test_path={test_path}: {error}") from None

    @cached_property
    def _fitted(self) -> tuple[TableSpec | NamedSpec, Arrays]:
        """The spec, fitted on the training rows or adopted from a model, and all rows of ``path``."""
        frame = self._frame
        if self._adopted is not None:
            spec = without_statistics(self._adopted).with_target(self._target(frame))
            return spec, self._encoded(frame, spec)
        features = self._features(frame)
        self._check_missing(frame, features, impute=self.missing == "impute")
        target = self._target(frame)
        y = self._encoded_target(frame, target)
        rows = Arrays(torch.empty(len(frame), 0), y, self._weights(frame))
        fit_rows = self.split_test(rows, target)[0] if self.test_path is None else torch.arange(len(frame))
        train = fit_rows[self.split(rows.take(fit_rows), target)[0]]
        for name, part in target.by_name.items():
            if classes := part.classes:
                _check_all_present(classes, part_of(y, name)[train])
        train_frame = frame.iloc[train.numpy()]
        ids = {} if self.inputs is not None else self.rules.ids(train_frame, features)
        features = [name for name in features if name not in ids]
        fitted = self.rules.fit(train_frame, features)
        tables = {
            name: TableSpec(tuple(fitted.columns[column] for column in input_columns), target)
            for name, input_columns in (self.inputs or {"": features}).items()
        }
        spec = tables[""] if self.inputs is None else NamedSpec.of(tables, target)
        self._notes = self._summary(frame, target, dataclasses.replace(fitted, dropped=ids))
        return spec, rows._replace(x=encode_inputs(frame, spec))

    def notes(self) -> list[str]:
        """The columns by kind, and those that are not used."""
        return self._notes

    def _summary(self, frame: pd.DataFrame, target: Target, fitted: FittedColumns) -> list[str]:
        readers = [self._reader(name).describe(frame, target.by_name[name]) for name in self.target_columns] or ["none"]
        dropped = fitted.dropped | dict.fromkeys(self.drop, "data.drop")
        lines = dataclasses.replace(fitted, dropped=dropped).summary()
        num_rows = f"{len(frame):,} rows" + ", others with missing values are dropped" * (self.missing == "drop")
        return [f"{short(Path(self.path).name)}: {num_rows}", *lines, f"  target: {listed(readers)}"]

    def _features(self, frame: pd.DataFrame) -> list[str]:
        """The input columns of the net."""
        if self.inputs is not None:
            return list(dict.fromkeys(column for columns in self.inputs.values() for column in columns))
        return [name for name in frame.columns if name not in self._answers]

    def _encoded(self, frame: pd.DataFrame, spec: Spec) -> Arrays:
        """Rows encoded for a model with this spec."""
        used = {column.name for table in tables_by_name(spec).values() for column in table.columns}
        self._check_missing(frame, [name for name in frame.columns if name in used], impute=True)  # see encode()
        return Arrays(encode_inputs(frame, spec), self._encoded_target(frame, spec.target), self._weights(frame))

    def _target(self, frame: pd.DataFrame) -> Target:
        """The target of the rows of ``path``."""
        if not self.target_columns:
            return Unlabelled()
        known = self._adopted.target.by_name if self._adopted is not None else {}
        readers = {name: self._reader(name) for name in self.target_columns}
        targets = {name: reader.target(frame, known.get(name)) for name, reader in readers.items()}
        return Targets.of(targets) if self.named_targets else targets[""]

    def _encoded_target(self, frame: pd.DataFrame, target: Target) -> Tensor | dict[str, Tensor]:
        """(N,) int64 labels, or (N, D) float32 values; for several targets a dict of these by name; without a target
        (N,) int64 numbers of the rows' names."""
        if not self.target_columns:
            no_names = torch.zeros(len(frame), dtype=torch.long)
            return no_names if self.names is None else self._row_names.numbers(frame[self.names])
        encoded = {
            name: self._reader(name).encoded(frame, part)
            for name, part in target.by_name.items()
            if name in self.target_columns
        }
        return encoded if target.named is not None else encoded[""]

    def _reader(self, name: str) -> TargetReader:
        if not name:
            return TargetReader(self.target_columns[name], self.problems[name])
        return TargetReader(
            self.target_columns[name], self.problems[name], f"data.target.{name}", f"data.problem.{name}"
        )

    def _problems(self, problem: Problem | Mapping[str, Problem]) -> dict[str, Problem]:
        """The problem of each target."""
        if not isinstance(problem, Mapping):
            return dict.fromkeys(self.target_columns, problem)
        if unknown := [name for name in problem if name not in self.target_columns or not self.named_targets]:
            hint = (
                nearest(unknown[0], self.target_columns) if self.named_targets else "give data.target by name as well"
            )
            raise UserError(f"data.problem={dict(problem)}: there is no target {unknown[0]}; {hint}")
        return {name: problem.get(name, "auto") for name in self.target_columns}

    def _weights(self, frame: pd.DataFrame) -> Tensor | None:
        if self.weight is None:
            return None
        weights = finite_numbers(frame[self.weight], "data.weight")
        if (weights < 0).any() or not weights.any():
            raise UserError(f"data.weight={self.weight} must contain numbers of at least 0, not all of them 0")
        return torch.from_numpy(weights)

    def _check_names(self, frame: pd.DataFrame) -> None:
        names = list(frame.columns)
        keys = {"target": self.targets, "drop": self.drop, "categorical": self.rules.categorical}
        keys["numeric"] = self.rules.numeric
        keys |= {key: [] if name is None else [name] for key, name in (("weight", self.weight), ("names", self.names))}
        keys |= {f"inputs.{name}": columns for name, columns in (self.inputs or {}).items()}
        for key, columns in keys.items():
            for name in columns:
                if name not in names:
                    hint = "" if len(names) > 1 else f"; if {names[0]!r} is several columns, change data.separator"
                    hint += missing_header_hint(names) if self.format["header"] else ""
                    raise UserError(f"data.{key}={name}: {self.path} has no such column; {nearest(name, names)}{hint}")
        used = [*self._answers, *self.drop]
        repeated = sorted({name for name in used if used.count(name) > 1})
        if repeated:
            raise UserError(
                f"column {repeated[0]} occurs twice in data.target, data.weight, data.names and data.drop: give it once"
            )
        for key, columns in (self.inputs or {}).items():
            if not columns or len({*columns}) < len(columns) or {*columns} & {*used}:
                raise UserError(
                    f"data.inputs.{key}={columns} must name at least one column, none twice and none of data.target, "
                    "data.weight, data.names or data.drop"
                )
        features = self._features(frame.drop(columns=self.drop)) if self.inputs else [n for n in names if n not in used]
        if not features:
            raise UserError(f"{self.path} has no columns left as inputs besides {', '.join(used)}")
        check_unique(names, [name for name in (*features, *used) if name and name not in self.drop], self.path)

    def _check_missing(self, frame: pd.DataFrame, features: Sequence[str], *, impute: bool) -> None:
        counts = frame.isna().sum()
        for name in self._answers:
            if counts[name]:
                rows = [str(row + 1) for row in frame.index[frame[name].isna()][:6]]
                rows[5:] = ["…"] * bool(rows[5:])
                raise UserError(
                    f"{counts[name]} rows have no {name} (row {', '.join(rows)}): remove these rows with "
                    f"data.missing=drop (they cannot be imputed){self._mark_hint([name])}"
                )
        incomplete = [f"{name} ({counts[name]})" for name in features if counts[name]]
        if incomplete and not impute:
            raise UserError(
                f"missing values in {', '.join(incomplete)}: set data.missing=impute (median or most frequent value of "
                "the training rows) or data.missing=drop (the rows), or drop the columns with data.drop=[…]"
                f"{self._mark_hint([name for name in features if counts[name]])}"
            )

    def _mark_hint(self, names: Sequence[str]) -> str:
        """The end of a message on missing values that are marks, such as None, which may be a class or category."""
        as_written = self.format | {"missing_marks": ()}
        cells = read_table(typed_tables.existing(self.path, "data.path"), **as_written)[[*names]]
        words = [word for word in self.format["missing_marks"] if word.isalpha() and (cells == word).any(axis=None)]
        listed_words = " and ".join(map(repr, words))
        return f"; if {listed_words} is a value like others, set data.missing_marks=[]" if words else ""


def without_statistics(spec: TableSpec | NamedSpec) -> TableSpec | NamedSpec:
    """A trained model's spec without its statistics, which the model itself applies."""
    if spec.named is None:
        return spec.with_statistics((), ())
    return spec.named.with_parts({name: part.with_statistics((), ()) for name, part in spec.named.by_name.items()})


def _check_all_present(target: Classes, labels: Tensor) -> None:
    counts = torch.bincount(labels, minlength=target.num_outputs).tolist()
    absent = [name for name, count in zip(target.names, counts, strict=True) if not count]
    if absent:
        raise UserError(
            f"there are no training rows of class {', '.join(map(repr, absent))}: add some, lower "
            "data.val_fraction, or set data.val_last=false"
        )
