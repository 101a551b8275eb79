"""Labelled text of the user's own: a CSV file with a column of texts and a column of labels.

A file of test rows is read when they are asked for and decides nothing: before, its first line is looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from dlzoo.data.csv_reader import read_header, read_table
from dlzoo.data.splits import holdout
from dlzoo.data.text.base import TextData
from dlzoo.data.text.loaders import Texts
from dlzoo.data.text_reader import content_of
from dlzoo.errors import UserError, nearest
from dlzoo.specs.base import Spec
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import Classes
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    import pandas as pd


class TextCsv(TextData):
    """Texts and labels from a CSV file with a header; each different label is a class.

    Args:
        path: the file; .gz, .bz2 and .xz are read as they are.
        text: the column of texts.
        target: the column of labels.
        test_path: a file of test rows, with the same columns, instead of ``test_fraction``; its rows are read when the
            test begins.
        test_fraction: share of the rows that is the test set, stratified.
        test_seed: chooses the test rows; not the run's seed, so that runs can be compared.
        separator: between cells; ``\\t`` is a tab.
        encoding: of the file, by Python's name, such as latin-1.
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
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if not 0 < test_fraction < 1:
            raise UserError(f"data.test_fraction={test_fraction} must lie between 0 and 1")
        if text == target:
            raise UserError(f"data.text={text} and data.target={target} must be two columns")
        self.paths = {"path": path} | ({"test_path": test_path} if test_path else {})
        self.columns = {"text": text, "target": target}
        self.test_fraction = test_fraction
        self.test_seed = test_seed
        self.separator = separator
        self.encoding = encoding
        self._frames: dict[str, pd.DataFrame] = {}

    def target(self) -> Classes:
        return self._target

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        splits = ("test_path" not in self.paths, "data.test_path=null")
        return super().option_uses() | {"test_fraction": splits, "test_seed": splits}

    def adopt(self, spec: Spec) -> None:
        """The classes, too, are the trained model's."""
        super().adopt(spec)
        if spec.target.classes is not None:
            self._target = spec.target.classes  # what a cached_property would find

    def declare(self) -> TextSpec:
        if "test_path" in self.paths:
            path = _file(self.paths["test_path"], "data.test_path")
            self._check_columns(read_header(path, separator=self.separator, encoding=self.encoding), path)
        return super().declare()

    def place(self, split: Literal["train", "test"]) -> tuple[str, Tensor]:
        part = "test_path" if split == "test" and "test_path" in self.paths else "path"
        labels = torch.tensor(self.read_texts(part)[1])
        if "test_path" in self.paths:
            return part, torch.arange(len(labels))
        rows = Texts(torch.empty(0), torch.empty(0), labels)
        own, test = holdout(rows, self._target, self.test_fraction, seed=self.test_seed)
        return part, own if split == "train" else test

    def read_texts(self, part: str) -> tuple[list[str], list[int]]:
        frame, names = self._frame(part), self._target.names
        strange = frame.index[~frame["target"].isin(names)]
        if len(strange):
            raise UserError(
                f"data.{part}={self.paths[part]}: row {strange[0] + 1} has the label "
                f"{frame['target'][strange[0]]!r} in {self.columns['target']}, which the training rows do not know; "
                f"they know: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}"
            )
        number = {name: i for i, name in enumerate(names)}
        return frame["text"].tolist(), [number[label] for label in frame["target"]]

    def fingerprint(self, part: str) -> str:
        content = hashlib.blake2b(content_of(_file(self.paths[part], f"data.{part}")), digest_size=16).hexdigest()
        return f"{content} {self.columns} {self.separator!r} {self.encoding} {self._target.names}"

    @cached_property
    def _target(self) -> Classes:
        """The labels of the training file, in order; numbers by their value."""
        counts = self._frame("path")["target"].value_counts()
        names = sorted(counts.index, key=_by_value)
        key = f"data.target={self.columns['target']}"
        if len(names) == 1:
            raise UserError(f"{key} has one class only, {names[0]!r}: there is nothing to learn")
        alone = [name for name in names if counts[name] == 1]
        if alone:
            few = f"{len(alone)} of {len(names)} classes have a single row, such as {alone[0]!r}"
            raise UserError(f"{key}: {few}; add rows or remove these, or name the column that holds the labels")
        return Classes(tuple(names))

    def _frame(self, part: str) -> pd.DataFrame:
        """The columns "text" and "target" of a file, complete; read once."""
        if part not in self._frames:
            self._frames[part] = self._read(part)
        return self._frames[part]

    def _read(self, part: str) -> pd.DataFrame:
        path = _file(self.paths[part], f"data.{part}")
        frame = read_table(path, separator=self.separator, encoding=self.encoding, missing_marks=())
        self._check_columns(list(frame.columns), path)
        for name in self.columns.values():
            empty = frame.index[frame[name].isna()]
            if len(empty):
                rows = ", ".join(str(row + 1) for row in empty[:5]) + (", …" if len(empty) > 5 else "")
                raise UserError(
                    f"{path}: {name} is empty in {len(empty)} of {len(frame)} rows ({rows}): complete or remove them"
                )
        return frame[list(self.columns.values())].set_axis(list(self.columns), axis=1)

    def _check_columns(self, names: Sequence[str], path: Path) -> None:
        for key, name in self.columns.items():
            if name not in names:
                hint = "" if len(names) > 1 else "; if it is several columns, change data.separator"
                raise UserError(f"data.{key}={name}: {path} has no such column; {nearest(name, names)}{hint}")


def _file(path: str, key: str) -> Path:
    return paths.existing_file(path, key)


def _by_value(label: str) -> tuple[float, str]:
    try:
        return float(label), label
    except ValueError:
        return float("inf"), label
