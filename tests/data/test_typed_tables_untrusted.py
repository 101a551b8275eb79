"""Parquet, .npz and saved data sets of a stranger: read within limits or refused with a message, and nothing else."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from audit import audited

from dlzoo.data import typed_tables
from dlzoo.errors import UserError

pa = pytest.importorskip("pyarrow")
ipc = pytest.importorskip("pyarrow.ipc")
parquet = pytest.importorskip("pyarrow.parquet")

HEADER = "{'descr': %s, 'fortran_order': False, 'shape': %s, }\n"
PANDAS = {"index_columns": ["i"], "column_indexes": [], "columns": [], "creator": {}, "pandas_version": "3"}


def npz(folder: Path, descr: str, shape: str, cells: bytes = b"") -> Path:
    header = (HEADER % (descr, shape)).encode()
    path = folder / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("y.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + cells)
    return path


@pytest.mark.parametrize(
    ("descr", "shape", "cells"),
    [
        ("'<f8'", "(1000000000000000,)", b""),  # more than any memory
        ("'<f8'", "(12500000000,)", b"\0" * 80),
        ("'<f8'", f"(1{'0' * 30},)", b""),
        ("'<U0'", "(1000000000,)", b""),  # texts of no length need no bytes
        ("'|V8'", "(3,)", b"\0" * 24),
        ("[('a', '<f8'), ('b', '<i4')]", "(3,)", b"\0" * 36),
        ("'<c16'", "(3,)", b"\0" * 48),
        ("'|O'", "(3,)", b"cos\nsystem\n(S'exit 1'\ntR."),
        ("'<M8'", "(3,)", b"\1" * 24),
        ("'<M8[D]'", "(3,)", struct.pack("<3q", 1, 2, 2**62)),
        ("'<U2'", "(3,)", b"\xff" * 24),  # no characters
        ("'<U1'", "(3,)", struct.pack("<3I", 0xD800, 97, 98)),
        ("'<f8'", "(True,)", b"\0" * 8),
        ("'<f8'", "(0, 1000000000)", b""),
        ("'|S1'", "(1, 200000)", b"1" * 200000),  # columns
    ],
)
def test_an_array_that_is_no_column(descr: str, shape: str, cells: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.npz"):
        typed_tables.read(npz(tmp_path, descr, shape, cells))


def test_bytes_that_unpack_to_more_than_memory(tmp_path: Path) -> None:
    """Each byte would become an object."""
    with pytest.raises(UserError, match="would take more than"):
        typed_tables.read(npz(tmp_path, "'|u1'", "(100000000,)", bytes(100_000_000)))


@pytest.mark.parametrize(("offset", "value"), [(8, 1), (10, 99), (6, 99)], ids=["encrypted", "method", "version"])
def test_an_archive_of_another_kind(offset: int, value: int, tmp_path: Path) -> None:
    path = npz(tmp_path, "'<f8'", "(3,)", b"\0" * 24)
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, content.index(b"PK\1\2") + offset, value)
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as arrays of NumPy"):
        typed_tables.read(path)


@pytest.mark.parametrize(
    "metadata",
    [
        b"[]", b"{}", b"null", b"{", b"\xff", b"[" * 100_000, b"1" * 5000,
        *(
            json.dumps(PANDAS | changed).encode()
            for changed in (
                {"columns": None}, {"index_columns": ["nowhere"]}, {"index_columns": [1]}, {"column_indexes": [{}]},
                {"index_columns": [{"kind": "range"}]},
            )
        ),
    ],
)  # fmt: skip
def test_metadata_for_pandas_are_not_followed(metadata: bytes, tmp_path: Path) -> None:
    table = pa.table({"x": [1.5, None], "y": [1, None], "i": [7, 8]})
    parquet.write_table(table.replace_schema_metadata({b"pandas": metadata}), tmp_path / "a.parquet")
    cells = typed_tables.read(tmp_path / "a.parquet").fillna("-")
    assert cells[["x", "y"]].to_numpy().tolist() == [["1.5", "1"], ["-", "-"]]
    assert ("i" in cells) == (b'["i"]' not in metadata)


def test_an_index_is_no_column(tmp_path: Path) -> None:
    metadata = {b"pandas": json.dumps(PANDAS).encode()}
    parquet.write_table(pa.table({"y": [1], "i": [7]}).replace_schema_metadata(metadata), tmp_path / "a.parquet")
    assert [*typed_tables.read(tmp_path / "a.parquet")] == ["y"]


@pytest.mark.parametrize("kind", ["ints", "texts", "lists"])
def test_a_small_file_of_many_values(kind: str, tmp_path: Path) -> None:
    """A value that is repeated is stored once."""
    columns = {
        "ints": lambda: pa.array(np.zeros(100_000_000, np.int8)),
        "texts": lambda: pa.DictionaryArray.from_arrays(np.zeros(20_000, np.int32), ["A" * 100_000]),
        "lists": lambda: pa.array([[[0] * 1000] * 1000]),
    }
    parquet.write_table(pa.table({"y": columns[kind]()}), path := tmp_path / "a.parquet")
    assert path.stat().st_size < 2_000_000
    with pytest.raises(UserError, match=r"would take more than|contains list"):
        typed_tables.read(path)


def test_columns_of_one_name(tmp_path: Path) -> None:
    parquet.write_table(pa.table([[1], [2]], names=["y", "y"]), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="several columns have the name 'y'"):
        typed_tables.read(tmp_path / "a.parquet")


@pytest.mark.parametrize("name", [b"pandas.interval", b"pandas.period", b"arrow.uuid"])
def test_a_type_of_an_extension(name: bytes, tmp_path: Path) -> None:
    """Their own readers fail with errors of any type."""
    metadata = {b"ARROW:extension:name": name, b"ARROW:extension:metadata": b'{"shape": [1]}'}
    schema = pa.schema([pa.field("y", pa.binary(), metadata=metadata)])
    parquet.write_table(pa.table([pa.array([b"a"])], schema=schema), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet"):
        typed_tables.read(tmp_path / "a.parquet")


def saved(
    folder: Path,
    batch: pa.RecordBatch,
    features: Mapping[str, object] | None = None,
    state: object = None,
    options: object = None,
) -> Path:
    """As ``Dataset.save_to_disk`` writes it."""
    folder.mkdir()
    with ipc.new_stream(folder / "data.arrow", batch.schema, options=options) as stream:
        stream.write(batch)
    state = {"_data_files": [{"filename": "data.arrow"}]} if state is None else state
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


def numbers(**columns: object) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({name: pa.array(values) for name, values in columns.items()})


@pytest.mark.parametrize(
    "picture",
    [
        {"bytes": None, "path": "http://127.0.0.1:9/a.png"},
        {"bytes": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n%%EndComments\nshowpage\n", "path": None},
        {"bytes": None, "path": "/etc/passwd"},
    ],
    ids=["address", "program", "file"],
)
def test_pictures_of_a_saved_data_set_are_not_decoded(picture: dict[str, object], tmp_path: Path) -> None:
    """The library datasets would fetch them from the network, and Pillow runs Ghostscript."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    batch = pa.RecordBatch.from_arrays([pa.array([picture], kind), pa.array([1])], names=["x", "y"])
    path = saved(tmp_path / "set", batch, {"x": {"_type": "Image"}})
    with (
        audited(tmp_path) as violations,
        pytest.raises(UserError, match=r"column x contains pictures.* use data=image_folder"),
    ):
        typed_tables.read(path)
    assert violations == []


def test_classes_without_names(tmp_path: Path) -> None:
    for i, (codes, names) in enumerate({(0, 5): ["a", "b"], (-2, 0): ["a"], (0, 1): 7, (0.5, 1.5): ["a", "b"]}.items()):
        path = saved(tmp_path / f"{i}", numbers(y=list(codes)), {"y": {"_type": "ClassLabel", "names": names}})
        with pytest.raises(UserError, match=r"column y (holds class|has classes)"):
            typed_tables.read(path)
    path = saved(tmp_path / "good", numbers(y=[0, -1, 1]), {"y": {"_type": "ClassLabel", "names": ["a", "b"]}})
    assert typed_tables.read(path)["y"].fillna("-").tolist() == ["a", "-", "b"]


@pytest.mark.parametrize("name", ["../elsewhere.arrow", "/proc/self/environ", "http://127.0.0.1:9/x", None, 7])
def test_the_files_of_a_saved_data_set_are_in_its_folder(name: object, tmp_path: Path) -> None:
    saved(tmp_path / "elsewhere", numbers(y=[1]))
    os.link(tmp_path / "elsewhere" / "data.arrow", tmp_path / "elsewhere.arrow")
    path = saved(tmp_path / "set", numbers(y=[1]), state={"_data_files": [{"filename": name}]})
    with pytest.raises(UserError, match=r"state\.json does not name the files"):
        typed_tables.read(path)


def test_rows_in_another_order(tmp_path: Path) -> None:
    state = {"_data_files": [{"filename": "data.arrow"}], "_indices_data_files": [{"filename": "indices.arrow"}]}
    with pytest.raises(UserError, match="save it anew"):
        typed_tables.read(saved(tmp_path / "set", numbers(y=[1, 2]), state=state))


@pytest.mark.parametrize("name", ["data.arrow", "state.json"])
def test_a_pipe_among_the_files_of_a_saved_data_set(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "set", numbers(y=[1]))
    (path / name).unlink()
    os.mkfifo(path / name)
    with pytest.raises(UserError, match="is not a regular file"):
        typed_tables.read(path)
    if name == "data.arrow":
        with pytest.raises(UserError, match="is not a regular file"):
            typed_tables.bytes_of(path)


@pytest.mark.parametrize("kind", ["offsets", "runs", "indices"])
def test_arrays_that_lead_out_of_their_file(kind: str, tmp_path: Path) -> None:
    """pyarrow reads wherever they point to."""
    texts = pa.array(["a", "b"])
    broken = {
        "offsets": lambda: pa.Array.from_buffers(
            pa.string(), 2, [None, pa.py_buffer(struct.pack("<3i", 0, 2**30, 2)), texts.buffers()[2]]
        ),
        "runs": lambda: pa.RunEndEncodedArray.from_arrays([2**31 - 1], [7]),
        "indices": lambda: pa.DictionaryArray.from_arrays(pa.array([0, 10**9], pa.int32()), texts, safe=False),
    }
    path = saved(tmp_path / "set", pa.RecordBatch.from_arrays([broken[kind]()], names=["y"]))
    with pytest.raises(UserError, match=r"cannot be read as a saved data set|contains run_end"):
        typed_tables.read(path)


@pytest.mark.parametrize("kind", ["numbers", "dictionary"])
@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_saved_data_set_that_unpacks_to_more_than_memory(compression: str, kind: str, tmp_path: Path) -> None:
    """pyarrow unpacks all columns of a batch before anything of it is known."""
    column = pa.array(np.zeros(10_000_000))
    if kind == "dictionary":
        column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(3, np.int8)), pa.array(["x" * 1_000_000]))
    batch = pa.RecordBatch.from_arrays([column], ["a"])
    path = saved(tmp_path / "set", batch, options=ipc.IpcWriteOptions(compression=compression))
    assert (path / "data.arrow").stat().st_size < 1_000_000
    before = pa.total_allocated_bytes()
    with pytest.raises(UserError, match="set is compressed: save the data set anew"):
        typed_tables.read(path)
    assert pa.total_allocated_bytes() - before < 10_000_000


@pytest.mark.parametrize("header", ["((((", "{'a': [", "  x\n y"])
def test_a_header_that_is_no_python(header: str, tmp_path: Path) -> None:
    path = npz(tmp_path, "'<f8'", "(3,)", b"\0" * 24)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("y.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
    with pytest.raises(UserError, match=r"a\.npz cannot be read as arrays of NumPy"):
        typed_tables.read(path)
