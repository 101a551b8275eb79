"""Images whose labels are columns of a CSV file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack, get_args

import torch

from dlzoo.data import typed_tables
from dlzoo.data.csv_reader import MISSING_MARKS, CsvFormat, check_unique, read_table
from dlzoo.data.folders.layout import Split, split_of
from dlzoo.data.images.listed import ListedImages, Listing, Problems
from dlzoo.data.options import ImageFolderOptions
from dlzoo.data.tables.csv_targets import Problem, TargetReader, columns_by_target
from dlzoo.errors import UserError, nearest, short
from dlzoo.specs.named import Targets


class ImageCsv(ListedImages):
    """Images with a row each in a CSV file: a class, values, yes/no labels, or several of these.

    Args:
        path: the folder of the images, or a zip archive of it.
        table: the file, which may be compressed as .gz, .bz2 or .xz.
        file: the column of the images' names, with or without folders and extension; None is the first.
        target: the column to learn; several of one kind, [smiling, glasses]; or several targets by name, {expression:
            mood, age: years}.
        problem: classification, regression, or auto, as for data=csv; of several targets by name.
        split: a column that says train, val or test; None: images are held out.
        separator, encoding, missing_marks, header, quotes: as for data=csv.
    """

    def __init__(
        self,
        *,
        path: str | os.PathLike[str],
        table: str,
        target: str | Sequence[str] | Mapping[str, str | Sequence[str]],
        file: str | None = None,
        problem: Problem | Mapping[str, Problem] = "auto",
        split: str | None = None,
        separator: str = ",",
        encoding: str = "utf-8-sig",
        missing_marks: Sequence[str] = MISSING_MARKS,
        header: bool = True,
        quotes: bool | None = None,
        **common: Unpack[ImageFolderOptions],
    ) -> None:
        super().__init__(path=path, **common)
        self.table = table
        self.file = file
        self.split_column = split
        self.columns = columns_by_target(target)
        given = problem if isinstance(problem, Mapping) else dict.fromkeys(self.columns, problem)
        for name, kind in given.items():
            if name not in self.columns or kind not in get_args(Problem):
                raise UserError(f"data.problem={problem}: choose from {', '.join(get_args(Problem))}, for each of "
                                f"data.target={target}")  # fmt: skip
        self.problems: dict[str, Problem] = {name: given.get(name, "auto") for name in self.columns}
        self.format: CsvFormat = {
            "separator": separator, "decimal": ".", "encoding": encoding, "missing_marks": tuple(missing_marks),
            "header": header, "quotes": quotes,
        }  # fmt: skip

    def listing(self) -> Listing:
        path = typed_tables.existing(self.table, "data.table")
        frame = read_table(path, **self.format)
        names = [str(name) for name in frame.columns]
        frame = frame.set_axis(names, axis=1)
        file = names[0] if self.file is None else self.file
        used = [column for columns in self.columns.values() for column in columns]
        asked = [("file", file), *(("target", column) for column in used)]
        asked += [("split", self.split_column)] if self.split_column else []
        for key, name in asked:
            if name not in names:
                raise UserError(f"data.{key}={name}: {path.name} has no such column; {nearest(name, names)}")
        check_unique(names, [name for _, name in asked], path.name)
        problems, kept, files = Problems(self.on_error), [], []
        for row, cells in enumerate(frame[[file, *used]].itertuples(index=False)):
            where = f"{path.name}, row {row + 1}"
            try:
                if any(cell != cell or cell is None for cell in cells):  # NaN
                    raise ValueError("a cell of the image's name or target is missing")
                files.append(self.images.find(str(cells[0])))
                kept.append(row)
            except ValueError as error:
                problems.add(where, error)
        if not kept:
            raise UserError(f"data.table={path}: no row names an image below data.path={self.path}; {problems.first}")
        frame = frame.iloc[kept].reset_index(drop=True)
        rows = None if self.split_column is None else self._splits(frame[self.split_column], path)
        readers = {name: self._reader(name) for name in self.columns}
        known: Mapping[str, Any] = {} if self.adopted is None else self.adopted.by_name
        train = frame if rows is None else frame.iloc[rows["train"].tolist()]
        parts = {name: reader.target(train, known.get(name)) for name, reader in readers.items()}
        y = {name: reader.encoded(frame, parts[name]) for name, reader in readers.items()}
        notes = [f"{path.name}: {len(files):,} images", *problems.notes()]
        notes += [f"  target: {reader.describe(frame, parts[name])}" for name, reader in readers.items()]
        is_named = "" not in parts
        return Listing(
            files, Targets.of(parts) if is_named else parts[""], y if is_named else y[""], rows, tuple(notes)
        )

    def _reader(self, name: str) -> TargetReader:
        if not name:
            return TargetReader(self.columns[name], self.problems[name])
        return TargetReader(self.columns[name], self.problems[name], f"data.target.{name}", f"data.problem.{name}")

    def _splits(self, cells: Any, path: Path) -> dict[Split, torch.Tensor]:
        """The indices of each split."""
        splits: dict[Split, list[int]] = {}
        for row, cell in enumerate(cells):
            if (found := split_of(str(cell))) is None:
                raise UserError(
                    f"{path.name}, {short(cell)!r} in {self.split_column} (data.split) is none of train, val and test"
                )
            splits.setdefault(found[0], []).append(row)
        if "train" not in splits:
            raise UserError(f"{path.name}: no row of {self.split_column} says train")
        return {split: torch.tensor(rows) for split, rows in splits.items()}
