"""An error for each thing that can be wrong with a user's CSV file, and with new rows."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from house_tables import CITIES, Make, houses, maker

from dlzoo.data.tables.csv import CsvTable
from dlzoo.data.tables.encoding import encode
from dlzoo.errors import UserError
from dlzoo.specs.inputs import Column


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return maker(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"areas": 3.0, "city": "Lima"}, r"lacks area \(did you mean 'areas'"),
        ({"area": None, "city": "Lima"}, "column area has 1 missing values"),
        ({"area": "big", "city": "Lima"}, "column area is numeric in training rows, but 'big' is not a number"),
        ({"area": math.inf, "city": "Lima"}, "column area contains inf, which is not finite"),
        ({"area": "1e39", "city": "Lima"}, "column area contains 1e39, which is not finite"),
        ({"area": 1.0, "city": None}, "column city has 1 missing values"),
    ],
)
def test_errors_of_new_rows(row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        encode(pd.DataFrame([row]), [Column("area"), Column("city", categories=CITIES)])


ROWS = "\n".join(f"{i},x{i % 2},{i % 3 + 0.5}" for i in range(30))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        ("a,b,y\n", {}, "has a header but no rows"),
        (f"a,a,y\n{ROWS}", {}, "several columns have the name 'a'"),
        (f"a,b,price\n{ROWS}", {"target": "prize"}, "data.target=prize: .* did you mean 'price'"),
        (f"a;b;y\n{ROWS}".replace(",", ";"), {}, "data.target=y: .* change data.separator"),
        (
            f"a,b,y\n{ROWS}\n1,2,3,4",
            {},
            r"line 32 \(1,2,3,4\) has 4 cells, but the first line has 3 cells \(a,b,y\): fix",
        ),
        (f"a,b,y\n{ROWS}", {"drop": ["c"]}, "data.drop=c: .* no such column"),
        (f"a,b,y\n{ROWS}", {"weight": "c"}, "data.weight=c: .* no such column"),
        (f"a,b,y\n{ROWS}", {"categorical": ["c"]}, "data.categorical=c: .* no such column"),
        (f"a,b,y\n{ROWS}", {"drop": ["y"]}, "column y occurs twice"),
        (f"a,b,y\n{ROWS}", {"drop": ["a", "b"]}, "has no columns left as inputs besides"),
        (f"a,b,y\n{ROWS}", {"target": []}, "data.target=.. is empty"),
        (f"b,,y\n{ROWS}", {}, r"column 2 has no name.*data.drop=\[''\]"),
        (f"a,b,y\n,,1\n,z,2\n{ROWS}", {}, r"missing values in a \(2\), b \(1\): set data.missing=impute"),
        (f"a,b,y\n1,z,NA\n{ROWS}", {"missing": "impute"}, "1 rows have no y"),
        (f"a,b,y\n?,z,1\n{ROWS}", {}, r"missing values in a \(1\)"),
        ("a,b,y\n" + "\n".join(f",x,{i}.5" for i in range(30)), {"missing": "impute"}, r"data.drop=\[a\]"),
        (f"a,b,y\n{ROWS}\n3,x1,inf", {}, "data.target=y must contain numbers, but 'inf' is not a finite number"),
        (f"a,b,y\n{ROWS}\ninf,x1,2.5", {}, "column a contains inf"),
        (f"a,b,y\n{ROWS}", {"weight": "b"}, "data.weight=b must contain numbers, but 'x0'"),
        (f"a,b,y\n{ROWS}\n-1,x1,2", {"weight": "a"}, "data.weight=a must contain numbers of at least 0"),
        (f"a,b,y\n{ROWS}", {"target": "b", "problem": "regression"}, "data.target=b must contain numbers, but 'x0'"),
        (f"a,b,y\n{ROWS}", {"target": ["y", "b"]}, "data.target=b must contain numbers, but 'x0'"),
        (f"a,b,y\n{ROWS}", {"target": ["y", "a"], "problem": "classification"}, "give columns of one kind"),
        ("a,b,y\n" + "\n".join(f"{i},x,z" for i in range(9)), {}, "only one class, 'z'"),
        ("a,b,y\n" + "\n".join(f"{i},x,0.5" for i in range(9)), {}, "data.target=y is 0.5 in all rows"),
        (f"a,b,y\n{ROWS}\n3,x9,1", {"target": "b"}, "1 of 3 classes have a single row, such as 'x9'"),
        (
            f"a,b,y\n{ROWS}\n3,x9,1\n4,x9,2",
            {"target": "b", "val_last": True, "val_size": 25},
            "no training rows of class 'x1', 'x9'",
        ),
        ("a,b,y\n" + "\n".join(f"{i},id{i},{i}.5" for i in range(30)), {}, r"like an id: drop it with data.drop=\[b\]"),
        (f"a,b,y\n{ROWS}", {"max_categories": 1}, "raise data.max_categories=1"),
        (f"a,b,y\n{ROWS}", {"categorical": ["a"]}, r"column a is text with 2\d different values"),
        (f"a,b,y\n{ROWS}", {"separator": "::"}, "data.separator='::' must be one character"),
        (
            "a,b,y\n" + ROWS.replace("5", "ü"),
            {"encoding": "ascii"},
            r"is not ascii text \(line 2, .*\); set data.encoding=utf-8",
        ),
        (f"a,b,y\n{ROWS}", {"encoding": "ütf"}, "data.encoding=ütf"),
        (f"a,b,y\n1.500,z,3\n{ROWS}".replace(",", ";"), {"separator": ";", "decimal": ","}, "contains '0.5', but"),
    ],
)
def test_errors_of_a_file(make: Make, text: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(text, **({"target": "y"} | options)).declare()


def test_a_stray_mark_is_named(make: Make) -> None:
    text = "a,y\n" + "\n".join(f"{i if i % 9 else '-'},{i}.5" for i in range(200))
    with pytest.raises(UserError, match=r"if '-' marks a missing value, add it to data.missing_marks"):
        make(text, target="y").declare()
    data = make(text, target="y", missing="impute", missing_marks=["-"])
    assert data.declare().columns[0].categories == ()


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    houses().to_csv(tmp_path / "houses.csv.gz", index=False)
    data = CsvTable(path=str(tmp_path / "houses.csv.gz"), target="kind", drop=["label"])
    assert data.table().num_rows == 60
    (tmp_path / "houses.csv.gz").write_bytes((tmp_path / "houses.csv.gz").read_bytes()[:-20])
    with pytest.raises(UserError, match=r"houses.csv.gz cannot be read"):
        CsvTable(path=str(tmp_path / "houses.csv.gz"), target="kind").declare()


def test_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "houses.csv").write_text("a,y\n")
    with pytest.raises(UserError, match=r"data.path=.*hoses.csv: there is no such file .* 'houses.csv'"):
        CsvTable(path=str(tmp_path / "hoses.csv"), target="y").declare()
    (tmp_path / "houses.csv").write_text("a,y\n1,2\n")
    with pytest.raises(UserError, match=r"data.test_path=.*no folder"):
        CsvTable(path=str(tmp_path / "houses.csv"), target="y", test_path=str(tmp_path / "x" / "y.csv")).declare()
