"""The user's own labelled text: a CSV file with a column of texts and a column of labels.

A file of test rows is read only when they are needed and affects nothing else; before that, only its first line is
read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

import torch
from torch import Tensor

from dlzoo.data import typed_tables
from dlzoo.data.categories import category_indices, classes_of
from dlzoo.data.csv_reader import CsvFormat, check_unique, missing_header_hint, read_header, read_table
from dlzoo.data.options import TextOptions
from dlzoo.data.splits import holdout
from dlzoo.data.text.base import TextData
from dlzoo.data.text.loaders import Texts
from dlzoo.errors import UserError, between, nearest, short
from dlzoo.specs.base import Spec
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import Classes

if TYPE_CHECKING:
    import pandas as pd


class TextCsv(TextData):
    """Texts and labels from a CSV file with a header; each distinct label is a class.

    Args:
        path: the file, which may be compressed as .gz, .bz2 or .xz.
        text: the column of texts.
        target: the column of labels.
        test_path: a file of test rows with the same columns, in place of ``test_fraction``; its rows are read when
            the test begins.
        test_fraction: fraction of the rows in the test set, stratified.
        test_seed: selects the test rows; independent of the run's seed, so that runs are comparable.
        separator: between cells; ``\\t`` is a tab.
        encoding: Python's name of the file's encoding, such as latin-1.
        header, quotes: as for data=csv.
        missing: refuse rows without a text or a label, or drop them.
    """

    def __init__(
        self,
        *,
        path: str,
        text: str,
        target: str,
        test_path: str | None = None,
        test_fraction: float = 0.2,
        test_seed: int = 0,
        separator: str = ",",
        encoding: str = "utf-8-sig",
        header: bool = True,
        quotes: bool | None = None,
        missing: Literal["refuse", "drop"] = "refuse",
        **common: Unpack[TextOptions],
    ) -> None:
        super().__init__(**common)
        between(0, 1, "data", test_fraction=test_fraction, exclusive=True)
        if text == target:
            raise UserError(f"data.text={text} and data.target={target} must be different columns")
        self.paths = {"path": path} | ({"test_path": test_path} if test_path else {})
        self.columns = {"text": text, "target": target}
        self.test_fraction = test_fraction
        self.test_seed = test_seed
        self.format: CsvFormat = {
            "separator": separator,
            "encoding": encoding,
            "missing_marks": (),
            "header": header,
            "quotes": quotes,
        }
        self.missing = missing
        self._frames: dict[str, pd.DataFrame] = {}
        self._notes: list[str] = []

    def target(self) -> Classes:
        return self._target

    def notes(self) -> list[str]:
        return self._notes

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        splits = ("test_path" not in self.paths, "data.test_path=null")
        return super().option_uses() | {"test_fraction": splits, "test_seed": splits}

    def adopt(self, spec: Spec) -> None:
        """Use the classes of a trained model, too."""
        super().adopt(spec)
        if spec.target.classes is not None:
            self._target = spec.target.classes  # overrides the cached_property

    def declare(self) -> TextSpec:
        if "test_path" in self.paths:
            path = _file(self.paths["test_path"], "data.test_path")
            self._check_columns(read_header(path, self.format), path)
        return super().declare()

    def locate(self, split: Literal["train", "test"]) -> tuple[str, Tensor]:
        part = "test_path" if split == "test" and "test_path" in self.paths else "path"
        labels = torch.tensor(self.read_texts(part)[1])
        if "test_path" in self.paths:
            return part, torch.arange(len(labels))
        rows = Texts(torch.empty(0), torch.empty(0), labels)
        train, test = holdout(rows, self._target, self.test_fraction, seed=self.test_seed)
        return part, train if split == "train" else test

    def read_texts(self, part: str) -> tuple[list[str], list[int]]:
        frame, names = self._frame(part), self._target.names
        indices = category_indices(frame["target"], names)
        unknown = frame.index[indices < 0]
        if len(unknown):
            raise UserError(
                f"data.{part}={self.paths[part]}: row {unknown[0] + 1} has the label "
                f"{frame['target'][unknown[0]]!r} in {self.columns['target']}, which does not occur in the training "
                f"rows; their labels are: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}"
            )
        return frame["text"].tolist(), indices.tolist()

    def fingerprint(self, part: str) -> str:
        content = hashlib.blake2b(
            typed_tables.bytes_of(_file(self.paths[part], f"data.{part}")), digest_size=16
        ).hexdigest()
        return f"{content} {self.columns} {self.format} {self.missing} {self._target.names}"

    @cached_property
    def _target(self) -> Classes:
        """The sorted labels of the training file; numbers are sorted by value."""
        remedy = "add rows or remove these, or give the column that contains the labels"
        return classes_of(self._frame("path")["target"], f"data.target={self.columns['target']}", remedy)

    def _frame(self, part: str) -> pd.DataFrame:
        """The columns "text" and "target" of a file without missing values; read once."""
        if part not in self._frames:
            self._frames[part] = self._read(part)
        return self._frames[part]

    def _read(self, part: str) -> pd.DataFrame:
        path = _file(self.paths[part], f"data.{part}")
        frame = read_table(path, **self.format)
        self._check_columns(list(frame.columns), path)
        is_empty = frame[list(self.columns.values())].isna()
        for name in self.columns.values() if self.missing == "refuse" else ():
            empty = frame.index[is_empty[name]]
            if len(empty):
                rows = ", ".join(str(row + 1) for row in empty[:5]) + (", …" if len(empty) > 5 else "")
                raise UserError(
                    f"{path}: {name} is empty in {len(empty)} of {len(frame)} rows ({rows}): complete these rows, or "
                    "set data.missing=drop"
                )
        dropped = is_empty.any(axis=1)
        if dropped.all():
            raise UserError(f"{path}: no row has both {' and '.join(self.columns.values())}")
        if dropped.any():
            self._notes.append(
                f"{short(path.name)}: {dropped.sum()} of {len(frame)} rows without a text or a label are dropped"
            )
        frame = frame[~dropped]
        return frame[list(self.columns.values())].set_axis(list(self.columns), axis=1)

    def _check_columns(self, names: Sequence[str], path: Path) -> None:
        for key, name in self.columns.items():
            if name not in names:
                hint = "" if len(names) > 1 else "; if it is several columns, change data.separator"
                hint += missing_header_hint(names) if self.format["header"] else ""
                raise UserError(f"data.{key}={name}: {path} has no such column; {nearest(name, names)}{hint}")
        check_unique(names, self.columns.values(), path)


def _file(path: str, key: str) -> Path:
    return typed_tables.existing(path, key)
