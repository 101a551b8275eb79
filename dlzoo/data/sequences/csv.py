"""The user's own labelled sequences: a CSV file with a row for each step, or a row for each sequence."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Unpack

import torch
from torch import Tensor

from dlzoo.data import typed_tables
from dlzoo.data.base import InMemoryData
from dlzoo.data.categories import category_indices, classes_of
from dlzoo.data.csv_reader import MISSING_MARKS, CsvFormat, read_header, read_table
from dlzoo.data.loaders import Arrays
from dlzoo.data.options import InMemoryOptions
from dlzoo.data.sequences.table import Sequences, Source, read_long, read_wide
from dlzoo.data.splits import holdout
from dlzoo.errors import UserError, between
from dlzoo.layers.padding import is_real
from dlzoo.specs.base import Spec
from dlzoo.specs.inputs import SequenceSpec
from dlzoo.specs.targets import Classes

if TYPE_CHECKING:
    import pandas as pd


class SequenceCsv(InMemoryData):
    """Sequences with a label each, from a CSV file; each distinct label is a class.

    Without ``id`` each row is a sequence, whose columns are its steps; with it each row is a step.

    Args:
        path: the file, which may be compressed as .gz, .bz2 or .xz.
        target: the column of labels; None is the last.
        id: the column that says which sequence a row belongs to; None: each row is a sequence.
        time: the column of numbers or dates that orders the steps of a sequence; None: they are in the order of the
            rows.
        values: the columns of values, or of steps; None is all others.
        test_fraction: fraction of the sequences in the test set, stratified by class.
        test_seed: selects the test sequences; independent of the run's seed, so that runs are comparable.
        separator, decimal, encoding, missing_marks, header, quotes: as for data=csv.
    """

    kind: ClassVar[type[Spec]] = SequenceSpec

    def __init__(
        self,
        *,
        path: str,
        target: str | None = None,
        id: str | None = None,
        time: str | None = None,
        values: Sequence[str] | None = None,
        test_fraction: float = 0.2,
        test_seed: int = 0,
        separator: str = ",",
        decimal: Literal[".", ","] = ".",
        encoding: str = "utf-8-sig",
        missing_marks: Sequence[str] = MISSING_MARKS,
        header: bool = True,
        quotes: bool | None = None,
        **common: Unpack[InMemoryOptions],
    ) -> None:
        common.setdefault("standardize", True)
        super().__init__(**common)
        between(0, 1, "data", test_fraction=test_fraction, exclusive=True)
        if time is not None and id is None:
            raise UserError(f"data.time={time} orders the rows of a sequence: give data.id, the column that names it")
        self.path = path
        self.target = target
        self.id = id
        self.time = time
        self.values = values
        self.test_fraction = test_fraction
        self.test_seed = test_seed
        self.format: CsvFormat = {
            "separator": separator,
            "decimal": decimal,
            "encoding": encoding,
            "missing_marks": tuple(missing_marks),
            "header": header,
            "quotes": quotes,
        }
        self._classes: tuple[str, ...] | None = None

    def adopt(self, spec: Spec) -> None:
        """Use the classes of a trained model."""
        super().adopt(spec)
        if spec.target.classes is not None:
            self._classes = spec.target.classes.names

    @cached_property
    def _label(self) -> str:
        """The column of labels."""
        path = typed_tables.existing(self.path, "data.path")
        return read_header(path, self.format)[-1] if self.target is None else self.target

    @cached_property
    def sequences(self) -> Sequences:
        path = typed_tables.existing(self.path, "data.path")
        return read_sequences(path, target=self._label, key=self.id, time=self.time, values=self.values, **self.format)

    @cached_property
    def classes(self) -> Classes:
        labels = self.sequences.labels
        assert labels is not None
        import pandas as pd

        if self._classes is None:
            note = "; if each row is one step, name the column of sequences with data.id" if self.id is None else ""
            remedy = "add sequences, or remove these"
            return classes_of(pd.Series(labels), f"data.target={self._label}", remedy, unit="sequence", note=note)
        unknown = category_indices(pd.Series(labels), self._classes) < 0
        if unknown.any():
            i = int(unknown.argmax())
            raise UserError(
                f"{self.path}: sequence {self.sequences.keys[i]} has the label {labels[i]!r}, but the model's classes "
                f"are {', '.join(self._classes[:20])}"
            )
        return Classes(self._classes)

    def declare(self) -> SequenceSpec:
        sequences = self.sequences
        lengths = {len(values) for values in sequences.values}
        return SequenceSpec(
            max(lengths), len(sequences.names), self.classes, names=sequences.names, is_padded=len(lengths) > 1
        )

    def load(self, split: Literal["train", "test"]) -> Arrays:
        import pandas as pd

        indices = category_indices(pd.Series(self.sequences.labels), self.classes.names)
        rows = Arrays(self.sequences.padded(), torch.from_numpy(indices).long())
        train, test = holdout(rows, self.classes, self.test_fraction, seed=self.test_seed)
        return rows.take(train if split == "train" else test)

    def fit_parts(self, train: Arrays) -> Iterable[Tensor]:
        """The values of all steps, (n, D), without padding."""
        return [train.x[is_real(train.x)]]


def read_sequences(
    path: Path | str | io.BytesIO,
    *,
    target: str | None,
    key: str | None = None,
    time: str | None = None,
    values: Sequence[str] | None = None,
    **csv_format: Unpack[CsvFormat],
) -> Sequences:
    """Sequences of a CSV file; ``csv_format`` as for `read_table`.

    Args:
        target: the column of labels; None: without.
        key: the column of sequences; None: each row is one.

    Raises:
        UserError: a column is missing, or as `read_long` and `read_wide`.
    """
    name = path.name if isinstance(path, Path) else path
    return of_frame(read_table(path, **csv_format), name, csv_format, target=target, key=key, time=time, values=values)


def of_frame(
    frame: pd.DataFrame,
    name: object,
    csv_format: CsvFormat,
    *,
    target: str | None,
    key: str | None,
    time: str | None,
    values: Sequence[str] | None,
) -> Sequences:
    """Sequences of the cells of a file of this name."""
    source = Source(name, 1 if csv_format.get("header", True) else 0)
    if key is None:
        return read_wide(frame, source, target=target, values=values)
    return read_long(frame, source, key=key, time=time, target=target, values=values)
