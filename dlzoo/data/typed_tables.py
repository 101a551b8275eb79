"""Tables whose files know the type of each column: Parquet, NumPy's .npz, and saved data sets of Hugging Face.

They become text cells like those of a CSV file, so that one code decides what a column is; columns of texts that look
like numbers are marked as categories.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlzoo.data import arrow_tables
from dlzoo.data.arrow_tables import SAVED, SAVED_SPLITS, splits_of
from dlzoo.data.text_reader import content_of
from dlzoo.errors import UserError, one_line, short
from dlzoo.utils import files as paths
from dlzoo.utils.archives import HEADER_FAILURES, ZIP_FAILURES
from dlzoo.utils.files import open_regular

if TYPE_CHECKING:
    import pandas as pd

PARQUET = (".parquet", ".pq")
SUFFIXES = (*PARQUET, ".npz")
TEXTS = "texts"
"""The key of `DataFrame.attrs` under which `read` names the columns of texts."""


def existing(text: str, key: str) -> Path:
    """The path of a table: a file, or the folder of a saved data set; `UserError` if it is neither."""
    path = paths.existing(text, key)
    if not path.is_dir() or (path / SAVED).is_file():
        return path if path.is_dir() else paths.existing_file(text, key)
    if (path / SAVED_SPLITS).is_file():
        splits = sorted(splits_of(path), key=lambda name: name != "train")
        raise UserError(
            f"{key}={text}: this folder holds a data set of several splits, {', '.join(splits)}: give that of the "
            f"training rows, {key}={path / splits[0] if splits else '…'}, and those of the test as data.test_path"
        )
    return paths.existing_file(text, key)


def is_typed(path: object) -> bool:
    """Whether this is a file or folder that `read` reads."""
    return isinstance(path, Path) and (path.suffix.lower() in SUFFIXES or path.is_dir())


def bytes_of(path: Path) -> bytes:
    """What identifies the content of a table."""
    return b"".join(map(content_of, sorted(path.glob("*.arrow")))) if path.is_dir() else content_of(path)


FAILURES = (
    TypeError, LookupError, AttributeError, ArithmeticError, MemoryError, *ZIP_FAILURES, *HEADER_FAILURES,
)  # fmt: skip
"""The errors of the libraries for a damaged file; those of pyarrow derive from these."""


def read(path: Path) -> pd.DataFrame:
    """The cells as text, missing ones as NaN.

    Raises:
        UserError: a package is missing, the file is damaged, would take far more memory than it has bytes, or a cell is
            neither a number nor a text nor a date.
    """
    import pandas as pd

    reader, what = _reader(path)
    try:
        columns = reader(path)
        frame = pd.DataFrame({name: _as_text(column, f"{path}: column {name}") for name, column in columns.items()})
    except UserError:
        raise
    except FAILURES as error:
        raise UserError(f"{path} cannot be read as {what}: {one_line(error, 200) or type(error).__name__}") from None
    if frame.empty:
        raise UserError(f"{path} has no rows")
    texts = [name for name, column in columns.items() if column.dtype.kind not in "iufbM"]
    frame.attrs[TEXTS] = texts
    return frame


def _reader(path: Path) -> tuple[Callable[[Path], Mapping[str, pd.Series]], str]:
    """What reads a file or folder, and what that must be."""
    if path.is_dir():
        return arrow_tables.read_saved, "a saved data set"
    return (_from_npz, "arrays of NumPy") if path.suffix.lower() == ".npz" else (arrow_tables.read_parquet, "Parquet")


NPZ_KINDS = "biufSUmM"
"""Of the arrays' types: numbers, texts, times."""


def _from_npz(path: Path) -> Mapping[str, pd.Series]:
    """The arrays of a file: (N,) is a column, (N, D) are D columns, x_1 to x_D."""
    import pandas as pd

    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        left = arrow_tables.max_size(os.fstat(file.fileno()).st_size)
        arrays: dict[str, np.ndarray] = {}
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            left -= _check_header(archive, member, f"{path}: {short(name)}")
            if left < 0:
                raise UserError(f"{path} would take more than {arrow_tables.max_size(path.stat().st_size):,} bytes")
            with archive.open(member) as content:
                arrays[name] = np.lib.format.read_array(content, allow_pickle=False)
    arrow_tables.check_columns(sum(math.prod(array.shape[1:]) for array in arrays.values()), path)
    columns: dict[str, pd.Series] = {}
    for name, array in arrays.items():
        if array.ndim not in (1, 2) or len(array) != len(next(iter(arrays.values()))):
            shapes = ", ".join(f"{short(other)} {values.shape}" for other, values in arrays.items())
            raise UserError(f"{path}: columns are arrays (N,) or (N, D) with the same N; this file has {shapes}")
        if array.ndim == 1:
            columns[name] = pd.Series(array)
        else:
            columns |= {f"{name}_{i}": pd.Series(values) for i, values in enumerate(array.T, 1)}
    return columns


def _check_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, place: str) -> int:
    """What an array will take, according to its header, which NumPy believes.

    Raises:
        UserError: its type is that of no column, or there are fewer bytes than it claims.
    """
    with archive.open(member) as content:
        version = np.lib.format.read_magic(content)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(content)
        start = content.tell()
    if dtype.kind not in NPZ_KINDS or not dtype.itemsize:
        raise UserError(f"{place} contains {short(dtype)}: write one number or text a cell")
    num_cells = math.prod(shape)
    if num_cells * dtype.itemsize > member.file_size - start:
        raise UserError(
            f"{place} is said to be {short(shape)} of {dtype}, more than the {member.file_size:,} bytes of it"
        )
    return max(member.file_size, arrow_tables.MIN_CELL_BYTES * num_cells)


def _as_text(values: pd.Series, place: str) -> pd.Series:
    """Cells as CSV files write them."""
    present = values.dropna()
    kind = values.dtype.kind
    if kind == "M":
        text = present.map(lambda time: time.isoformat().removesuffix("T00:00:00"))
    elif kind in "iuf":
        text = present.map(lambda number: repr(number.item() if hasattr(number, "item") else number))
    else:
        if len(present) and isinstance(present.iloc[0], list | dict | bytes | np.ndarray):
            raise UserError(f"{place} contains {short(present.iloc[0])}: write one number or text a cell")
        text = present.map(lambda value: str(value).strip())
    text = text[text != ""]
    return text.astype(object).reindex(values.index)
