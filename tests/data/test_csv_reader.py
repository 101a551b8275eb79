"""CSV files without a header, with columns without a name, and with quotation marks that enclose no cells."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from dlzoo.data import csv_reader
from dlzoo.data.csv_reader import read_table
from dlzoo.data.series.csv import read_series
from dlzoo.data.tables.csv import CsvTable
from dlzoo.data.tables.encoding import encode
from dlzoo.data.text.csv import TextCsv
from dlzoo.errors import UserError
from dlzoo.specs.inputs import Column

NUM = 30


def write(path: Path, lines: list[str]) -> str:
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "t.csv"


def test_files_without_a_header(file: Path) -> None:
    path = write(file, [f"{i}.5,{i % 3},{'ab'[i % 2]}" for i in range(NUM)])
    with pytest.raises(UserError, match=r"data.target=y: .*if the file has no header, set data.header=false"):
        CsvTable(path=path, target="y").declare()
    data = CsvTable(path=path, target="column_3", header=False)
    assert data.declare().feature_names == ("column_1", "column_2")
    assert data.table().num_rows == NUM
    tested = CsvTable(path=path, target="column_3", header=False, test_path=path)
    assert tested.arrays("test").num_rows == NUM


def test_texts_and_series_without_a_header(file: Path) -> None:
    path = write(file, [f"{'ab'[i % 2]},film {i}" for i in range(NUM)])
    data = TextCsv(path=path, text="column_2", target="column_1", header=False)
    assert data.read_texts("path")[0][0] == "film 0"
    path = write(file, [f"2020-01-{i + 1:02d},{i}" for i in range(NUM)])
    with pytest.raises(UserError, match=r"first line \(2020-01-01, 0\) does not name the columns.*data.header=false"):
        read_series(file)
    series = read_series(file, header=False)
    assert (series.names, len(series.values)) == (("column_2",), NUM)


def test_columns_that_are_not_used_may_lack_a_name_or_share_it(file: Path) -> None:
    rows = [f"{i + 1},{i % 5},,{i % 7},{i}.5" for i in range(NUM)]
    assert CsvTable(path=write(file, [",a,,b,y", *rows]), target="y").declare().feature_names == ("a", "b")
    path = write(file, ["x,a,x,b,y", *rows])
    assert CsvTable(path=path, target="y", drop=["x"]).declare().feature_names == ("a", "b")
    data = CsvTable(path=path, target="y", inputs={"one": ["a"], "two": ["b"]})
    assert data.declare().named is not None
    with pytest.raises(UserError, match="several columns have the name 'x'"):
        CsvTable(path=path, target="y").declare()
    with pytest.raises(UserError, match="several columns have the name 'x'"):
        encode(read_table(file), [Column("x")])
    assert encode(read_table(file), [Column("b")]).shape == (NUM, 1)


def test_series_and_texts_use_named_columns_alone(file: Path) -> None:
    write(file, ["day,,,v", *(f"2020-01-{i + 1:02d},x,y,{i}" for i in range(NUM))])
    assert read_series(file, values=["v"]).names == ("v",)
    path = write(file, [",,t,y", *(f"1,2,film {i},{'ab'[i % 2]}" for i in range(NUM))])
    assert len(TextCsv(path=path, text="t", target="y").read_texts("path")[0]) == NUM


@pytest.mark.parametrize(
    "lines",
    [
        ["t\ty", *(f'"film {i}\tp' for i in range(60))],
        ["t\ty", *(f'"film {i}" he said\tp' if i % 2 else f'"film {i}\tp' for i in range(60))],
        ["a\tb\tc", *('x\t"y\tz', 'u\tv"\tw')],
    ],
)
def test_quotation_marks_that_join_lines(file: Path, lines: list[str]) -> None:
    write(file, lines)
    with pytest.raises(UserError, match=r"line 2.*data\.quotes=false"):
        read_table(file, separator="\t")
    frame = read_table(file, separator="\t", quotes=False)
    assert len(frame) == len(lines) - 1
    assert frame.iloc[0, :].str.contains('"').any()


def test_quotation_marks_that_enclose_cells(file: Path) -> None:
    write(file, ["t,y", '"two\nlines, and ""more""",p', '"plain",q', "bare,q"])
    frame = read_table(file)
    assert frame["t"].tolist() == ['two\nlines, and "more"', "plain", "bare"]
    write(file, ["t,y", '"a, b\nc",p', "d,q"])  # each of its lines has two cells
    with pytest.raises(UserError, match=r"data\.quotes=false; if they enclose cells, data\.quotes=true"):
        read_table(file)
    assert read_table(file, quotes=True)["t"].tolist() == ["a, b\nc", "d"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['2,"x,p', '3,w" or,q'], r"line 3 joins lines 3 to 4 into one row.*double the quotation marks"),
        (['"2,x,p', '3,"w" or,q'], r"has 2 cells.*a quotation mark in line 3 joins the lines from there on"),
    ],
)
def test_a_quotation_mark_that_is_not_closed_at_the_end_of_its_cell(file: Path, lines: list[str], message: str) -> None:
    write(file, ["a,b,y", '1,"x, y",p', *lines, "4,x,q"])
    with pytest.raises(UserError, match=message):
        read_table(file)


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends(file: Path, end: str) -> None:
    rows: list[Any] = [["t", "y"], ["two\nlines", "p"], ["one", "q"]]
    file.write_bytes(end.join(f'"{a}",{b}'.replace("\n", end) for a, b in rows).encode())
    assert read_table(file)["t"].tolist() == ["two\nlines", "one"]


def test_a_header_is_read_up_to_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line without end may be a few bytes, compressed."""
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a," + b"b" * 1_000_000))
    monkeypatch.setattr(csv_reader, "MAX_HEADER_BYTES", 10)
    assert csv_reader.read_header(tmp_path / "a.csv.gz", {}) == ["a", "b" * 8]
