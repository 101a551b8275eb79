"""Tables whose files know the type of each column: Parquet, NumPy's .npz, and saved data sets of Hugging Face.

They become text cells like those of a CSV file, so that one code decides what a column is; columns of texts that look
like numbers are marked as categories.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlzoo.data.text_reader import MAX_BYTES, content_of
from dlzoo.errors import UserError, one_line, short
from dlzoo.utils import extras
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    import pandas as pd

PARQUET = (".parquet", ".pq")
SUFFIXES = (*PARQUET, ".npz")
SAVED, SAVED_SPLITS = "dataset_info.json", "dataset_dict.json"
"""The files by which a folder is known that ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` has written."""
TEXTS = "texts"
"""The key of `DataFrame.attrs` under which `read` names the columns of texts."""


def existing(text: str, key: str) -> Path:
    """The path of a table: a file, or the folder of a saved data set; `UserError` if it is neither."""
    path = paths.existing(text, key)
    if not path.is_dir() or (path / SAVED).is_file():
        return path if path.is_dir() else paths.existing_file(text, key)
    if (path / SAVED_SPLITS).is_file():
        splits = sorted(part.name for part in path.iterdir() if (part / SAVED).is_file())
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


def read(path: Path) -> pd.DataFrame:
    """The cells as text, missing ones as NaN.

    Raises:
        UserError: a package is missing, the file is damaged, or a cell is neither a number nor a text nor a date.
    """
    import pandas as pd

    columns = _from_npz(path) if path.suffix.lower() == ".npz" else _from_arrow(path)
    frame = pd.DataFrame({name: _as_text(column, f"{path}: column {name}") for name, column in columns.items()})
    if frame.empty:
        raise UserError(f"{path} has no rows")
    texts = [name for name, column in columns.items() if column.dtype.kind not in "iufbM"]
    frame.attrs[TEXTS] = texts
    return frame


def _from_arrow(path: Path) -> Mapping[str, pd.Series]:
    """The columns of a Parquet file or a saved data set; classes by name."""
    import pandas as pd

    if path.is_dir():
        extras.require(f"data.path={path}", "datasets")
        import datasets

        try:
            saved = datasets.load_from_disk(str(path))
            frame = pd.DataFrame({name: saved[name] for name in saved.column_names})
        except Exception as error:  # of many types: the folder may contain anything
            raise UserError(f"{path} cannot be read as a saved data set: {one_line(error, 200)}") from None
        for name, feature in saved.features.items():
            if isinstance(feature, datasets.ClassLabel):
                frame[name] = frame[name].map(lambda code, names=feature.names: names[code] if code >= 0 else None)
    else:
        extras.require(f"data.path={path}", "pyarrow")
        import pyarrow

        try:
            frame = pd.read_parquet(path)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as Parquet: {one_line(error, 200)}") from None
    return {str(name): frame[name] for name in frame.columns}


def _from_npz(path: Path) -> Mapping[str, pd.Series]:
    """The arrays of a file: (N,) is a column, (N, D) are D columns, x_1 to x_D."""
    import pandas as pd

    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > max(MAX_BYTES, 50 * path.stat().st_size):
            raise UserError(f"{path} would take {size:,} bytes of memory")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except UserError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as arrays of NumPy: {one_line(error, 200)}") from None
    columns: dict[str, pd.Series] = {}
    for name, array in arrays.items():
        if array.ndim not in (1, 2) or len(array) != len(next(iter(arrays.values()))):
            shapes = ", ".join(f"{other} {values.shape}" for other, values in arrays.items())
            raise UserError(f"{path}: columns are arrays (N,) or (N, D) with the same N; this file has {shapes}")
        if array.ndim == 1:
            columns[name] = pd.Series(array)
        else:
            columns |= {f"{name}_{i}": pd.Series(values) for i, values in enumerate(array.T, 1)}
    return columns


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
