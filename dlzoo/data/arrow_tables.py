"""Parquet files and saved data sets of Hugging Face, read by pyarrow within limits.

Such a file may come from a stranger. A kilobyte of Parquet can hold a billion rows, since it stores repeated values
once, so what the values take is counted while they are read. Metadata for pandas are not followed. A saved data set is
read as the Arrow files that it is: the library `datasets` would decode pictures and the like, and for that fetch files
from the network and start programs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from dlzoo.data.text_reader import MAX_BYTES
from dlzoo.errors import UserError, short
from dlzoo.utils import extras, untrusted
from dlzoo.utils.files import is_file_name, open_regular

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyarrow import ipc

SAVED, STATE = "dataset_info.json", "state.json"
"""The files beside the Arrow files of a saved data set: what its columns mean, and which files it has."""
SAVED_SPLITS = "dataset_dict.json"
"""The file by which a folder is known that ``DatasetDict.save_to_disk`` has written; `SAVED` that of one split."""
MAX_COLUMNS = 100_000
ROWS_AT_ONCE = 4096
MIN_CELL_BYTES = 16
"""What a cell counts for at least: it becomes an object."""


def max_size(num_bytes: int) -> int:
    """Limit of the bytes that the cells of a file of this size may take."""
    return max(MAX_BYTES, 50 * num_bytes)


def check_columns(number: int, path: Path) -> None:
    """`UserError` for more columns than tables have: each takes a millisecond, and a header can claim any number."""
    if number > MAX_COLUMNS:
        raise UserError(f"{path} has {number:,} columns; at most {MAX_COLUMNS:,} are read")


def read_parquet(path: Path) -> Mapping[str, pd.Series]:
    """The columns of a Parquet file."""
    extras.require(f"data.path={path}", "pyarrow")
    from pyarrow import parquet

    with open_regular(path) as file:
        schema = parquet.read_schema(file)
        texts = [field.name for field in schema if _is_text(field.type)]
        file.seek(0)
        stored = parquet.ParquetFile(file, read_dictionary=texts)  # repeated texts are counted before they are copied
        batches = stored.iter_batches(ROWS_AT_ONCE)
        columns = _columns(batches, schema, path, os.fstat(file.fileno()).st_size)
    return {name: column for name, column in columns.items() if name not in _index_of(schema)}


def _index_of(schema: pa.Schema) -> list[str]:
    """The names of the columns that hold the index of a pandas frame; none if its metadata are not as pandas writes
    them."""
    text = (schema.metadata or {}).get(b"pandas", b"{}").decode(errors="replace")
    try:
        metadata = untrusted.parse_json(text, "the metadata for pandas")
    except UserError:
        return []
    index = metadata.get("index_columns") if isinstance(metadata, dict) else None
    return [name for name in index if isinstance(name, str)] if isinstance(index, list) else []


def read_saved(path: Path) -> Mapping[str, pd.Series]:
    """The columns of the folder of a saved data set; classes by name.

    Raises:
        UserError: its files are not as ``Dataset.save_to_disk`` writes them.
    """
    extras.require(f"data.path={path}", "pyarrow")
    files = [open_regular(file) for file in files_of(path)]
    try:
        size = sum(os.fstat(file.fileno()).st_size for file in files)
        batches = _batches(files, path)
        first = next(batches, None)
        columns = {} if first is None else _columns(_chained(first, batches), first.schema, path, size)
    finally:
        for file in files:
            file.close()
    for name, feature in features_of(path).items():
        if feature.get("_type") == "ClassLabel" and name in columns:
            columns[name] = _named(columns[name], feature.get("names"), f"{path}: column {short(name)}")
    return columns


def is_saved(path: Path) -> bool:
    """Whether a folder holds a saved data set, or one split of it."""
    return any((path / name).is_file() for name in (SAVED, SAVED_SPLITS))


def splits_of(path: Path) -> list[str]:
    """The names of the splits in the folder of a saved data set."""
    return sorted(part.name for part in path.iterdir() if (part / SAVED).is_file())


def files_of(path: Path) -> list[Path]:
    """The Arrow files of a saved data set.

    Raises:
        UserError: they are not in its folder, or hold its rows in another order.
    """
    state = _mapping(untrusted.read_json(path / STATE), path / STATE)
    if state.get("_indices_data_files"):
        raise UserError(f"{path} was saved by an old version of datasets, with its rows in another order: save it anew")
    listed = state.get("_data_files")
    names = [file.get("filename") if isinstance(file, dict) else None for file in listed or []]
    if not isinstance(listed, list) or not names or not all(map(is_file_name, names)):
        raise UserError(f"{path / STATE} does not name the files of a data set")
    return [path / str(name) for name in dict.fromkeys(names)]


def features_of(path: Path) -> dict[str, dict[str, Any]]:
    """What the columns of a saved data set mean, as far as it says."""
    info = _mapping(untrusted.read_json(path / SAVED), path / SAVED)
    return {name: feature for name, feature in (info.get("features") or {}).items() if isinstance(feature, dict)}


def _mapping(value: object, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("features"), dict | None):
        raise UserError(f"{path} is not what Dataset.save_to_disk writes")
    return value


def _batches(files: Iterable[BinaryIO], path: Path) -> Iterator[pa.RecordBatch]:
    from pyarrow import ipc

    for file in files:
        check_uncompressed(ipc.MessageReader.open_stream(file), path)
        file.seek(0)
        yield from ipc.open_stream(file)


def check_uncompressed(messages: Iterable[ipc.Message], path: object) -> None:
    """`UserError` if an Arrow file has compressed parts, which pyarrow decompresses as a whole: a hundred kilobytes of
    zeros to more than a machine's memory. The library `datasets` writes none."""
    if any(_is_compressed(bytes(message.metadata)) for message in messages):
        raise UserError(f"{path} is compressed: save the data set anew with save_to_disk of datasets")


DICTIONARY, RECORDS = 2, 3
"""The kinds of an Arrow message that hold columns."""


def _is_compressed(message: bytes) -> bool:
    """Whether an Arrow message, a FlatBuffer that pyarrow has verified, says that the columns behind it are."""
    root = int.from_bytes(message[:4], "little")
    header = _table_in(message, root, 2)
    kind = message[_field(message, root, 1)] if _field(message, root, 1) else 0
    if kind == DICTIONARY:
        header, kind = _table_in(message, header, 1), RECORDS
    is_old = b"ARROW:experimental_compression" in message  # where version 0.17 of Arrow says so
    return kind == RECORDS and (is_old or _field(message, header, 3) > 0)


def _field(message: bytes, table: int, number: int) -> int:
    """Where a field of a table in a FlatBuffer is; 0 if it is absent."""
    start = table - int.from_bytes(message[table : table + 4], "little", signed=True)
    size = int.from_bytes(message[start : start + 2], "little")
    place = 4 + 2 * number
    offset = int.from_bytes(message[start + place : start + place + 2], "little") if place < size else 0
    return table + offset if offset else 0


def _table_in(message: bytes, table: int, number: int) -> int:
    """Where the table that a field refers to is."""
    place = _field(message, table, number)
    return place + int.from_bytes(message[place : place + 4], "little")


def _chained(first: pa.RecordBatch, others: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from others


def _named(codes: pd.Series, names: object, place: str) -> pd.Series:
    """The names of classes in place of their numbers, of which -1 is a missing one."""
    names = class_names(names, place)
    if codes.dtype.kind not in "iu":
        raise UserError(f"{place} has classes without names")
    present = codes.dropna()
    if len(present) and not (present.min() >= -1 and present.max() < len(names)):
        raise UserError(f"{place} holds class {present.max()}, but names only {len(names)} classes, from 0")
    return codes.map(dict(enumerate(names)) | {-1: None})


def class_names(names: object, place: str) -> list[str]:
    """The names that a saved data set gives its classes.

    Raises:
        UserError: they are not texts.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{place} has classes without names")
    return names


def _columns(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path, num_bytes: int) -> dict[str, pd.Series]:
    """The columns of a table.

    Args:
        num_bytes: size of its files.

    Raises:
        UserError: they take far more memory than the files do, or are not of numbers, texts and dates.
    """
    import pandas as pd
    import pyarrow as pa

    check_columns(len(schema), path)
    if len({*schema.names}) < len(schema.names):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise UserError(f"{path}: several columns have the name {short(twice)!r}; rename them")
    for field in schema:
        if not _is_cell(field.type):
            place = f"{path}: column {short(field.name)}"
            if is_picture(field.type):
                where = f"data.path={path}" if path.is_dir() else "data.path=<folder that Dataset.save_to_disk writes>"
                raise UserError(f"{place} contains pictures, which a table cannot: use data=image_folder {where}")
            raise UserError(f"{place} contains {short(field.type)}: write one number or text a cell")
    parts, used = [], 0
    for batch in batches:
        batch.validate(full=True)  # pyarrow reads beyond what it has otherwise
        used += max(MIN_CELL_BYTES * batch.num_rows * batch.num_columns, sum(map(_num_bytes, batch.columns)))
        if used > max_size(num_bytes):
            raise UserError(f"{path} ({num_bytes:,} bytes) would take more than {max_size(num_bytes):,} of memory")
        parts.append(pa.table([_plain(column) for column in batch.columns], names=batch.schema.names))
    if not parts:
        return {}
    kinds = {pa.bool_(): pd.BooleanDtype()}
    kinds |= {getattr(pa, f"{kind.lower()}")(): getattr(pd, f"{kind}Dtype")() for kind in INTEGERS}
    frame = pa.concat_tables(parts).to_pandas(ignore_metadata=True, types_mapper=kinds.get)
    return {str(name): frame[name] for name in frame.columns}


INTEGERS = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
"""In pandas' types of these names, missing numbers do not make the others fractions."""


def _is_text(type: pa.DataType) -> bool:
    from pyarrow import types

    value = type.value_type if types.is_dictionary(type) else type
    return types.is_string(value) or types.is_large_string(value) or types.is_string_view(value)


def _is_cell(type: pa.DataType) -> bool:
    """Whether a column of this type holds one number, text or date a cell."""
    from pyarrow import types

    value = type.value_type if types.is_dictionary(type) else type
    return _is_text(type) or types.is_primitive(value) or types.is_decimal(value) or types.is_null(value)


def is_picture(type: pa.DataType) -> bool:
    """Whether a column of this type holds encoded pictures, or their paths, as the library `datasets` stores them."""
    from pyarrow import types

    return types.is_struct(type) and {type.field(i).name for i in range(type.num_fields)} == {"bytes", "path"}


def _num_bytes(column: pa.Array) -> int:
    """What the values take, those that are stored once for several rows counted for each of them."""
    from pyarrow import compute, types

    if types.is_dictionary(column.type) and _is_text(column.type):
        lengths = compute.binary_length(_plain(column.dictionary))
        return compute.sum(compute.take(lengths, column.indices).cast("int64")).as_py() or 0
    if types.is_string_view(column.type):
        lengths = np.frombuffer(column.buffers()[1], np.int32)[::4]
        return int(lengths[column.offset : column.offset + len(column)].sum(dtype=np.int64))
    return column.nbytes


def _plain(column: pa.Array) -> pa.Array:
    """A column whose values are stored one after another."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(column.type):
        return _plain(column.dictionary_decode())
    return column.cast(pa.large_string()) if _is_text(column.type) else column
