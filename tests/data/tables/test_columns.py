"""What the columns of a user's table are: numbers with units, categories, ids, dates; and what is doubtful."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from small_runs import Outcome

from dlzoo.data.csv_reader import read_table
from dlzoo.data.tables.columns import ColumnRules
from dlzoo.data.tables.csv import CsvTable
from dlzoo.data.tables.encoding import encode
from dlzoo.errors import UserError
from dlzoo.specs.inputs import Column
from dlzoo.specs.targets import Classes, Values

NUM = 60


def fit(cells: Sequence[object], name: str = "a", **rules: Any) -> Column:
    return ColumnRules(**rules).fit(pd.DataFrame({name: pd.Series(cells, dtype=object)}), [name]).columns[name]


def table(path: Path, **columns: Sequence[object]) -> Path:
    pd.DataFrame({**columns, "y": [f"{i / 7:.3f}" for i in range(NUM)]}).to_csv(path, index=False)
    return path


def spread(*cells: object) -> list[object]:
    return [cells[i % len(cells)] for i in range(NUM)]


@pytest.mark.parametrize(
    ("cells", "values", "unit"),
    [
        (["1,200", "950", "-1,234,567.5"], [1200, 950, -1234567.5], ""),
        (["1 200", "12", "3'400"], [1200, 12, 3400], ""),
        (["37%", "4.5 %"], [37, 4.5], "%"),
        (["$5", "-$1,200.50", "$ .5"], [5, -1200.5, 0.5], "$"),
        (["5 €", "1e3 €"], [5, 1000], "€"),
        (["12 kg", "1,200kg", "3 Kgs."], [12, 1200, 3], "kg"),
        (["90 km/h", "100 km/h"], [90, 100], "km/h"),
        ([1, 2.5, True], [1, 2.5, 1], ""),
    ],
)
def test_numbers_as_people_write_them(cells: list[object], values: list[float], unit: str) -> None:
    column = fit(cells)
    assert (column.categories, column.unit) == ((), unit)
    frame = pd.DataFrame({"a": pd.Series(cells, dtype=object)})
    assert encode(frame, [column]).flatten().tolist() == pytest.approx(values)


@pytest.mark.parametrize(
    "cells",
    [spread("1st", "2nd", "3rd"), spread("10-19", "20-29"), spread("A4", "7", "B"), spread("4WD", "front", "rear")],
)
def test_words_with_digits_are_categories(cells: list[object]) -> None:
    assert fit(cells).categories == tuple(sorted({str(cell) for cell in cells}))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([*range(30), "unknown"], r"numbers in 30 of 31 .*'unknown' marks a missing value.*data.drop=\[a\]$"),
        (spread(2, 4, "more"), r"numbers in 40 of 60 .*'more'.*data.categorical=\[a\]"),
        (spread("1,5", "2", "3,25"), r"contains '1,5': for decimal commas set data.decimal=','"),
        (spread("$5", "€6"), r"numbers of different units, such as '\$5', '€6'"),
        (spread("12 kg", "7"), "different units, such as '7', '12 kg'"),
        ([f"{i} kg" for i in range(30)] + [f"{i} g" for i in range(30)], "different units, such as '0 kg', '0 g'"),
        (spread("37%", "0.4"), "different units, such as '0.4', '37%'"),
        (spread("2024-01-31", "2024-02-01"), r"contains dates such as '2024-01-31'.*data.drop=\[a\]"),
        (spread("31/01/24 18:00", "1.2.2024"), "contains dates such as"),
        ([pd.Timestamp("2024-01-31"), pd.Timestamp("2024-02-01")] * 9, "contains dates such as"),
    ],
)
def test_what_is_doubtful_names_the_option_to_set(cells: list[object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit(cells)
    if len({*cells}) < len(cells):
        assert fit(cells, categorical=["a"]).categories


def test_a_number_that_is_too_large_is_refused_as_such() -> None:
    cells = [*range(30), "9" * 400]
    with pytest.raises(UserError, match=r"column a contains 9+, which is not finite"):
        encode(pd.DataFrame({"a": pd.Series(cells, dtype=object)}), [fit(cells)])


def test_several_doubtful_columns_are_named_at_once() -> None:
    frame = pd.DataFrame({"a": [1, 2, "x"], "b": ["1,5", "2,5", "3,5"]})
    with pytest.raises(UserError, match=r"column a has numbers .*; column b contains '1,5'"):
        ColumnRules().fit(frame, ["a", "b"])


def test_new_rows_may_omit_the_unit_but_not_change_it() -> None:
    column = Column("a", unit="kg")
    assert encode(pd.DataFrame({"a": ["3", "4 kgs", 5]}), [column]).flatten().tolist() == [3, 4, 5]
    with pytest.raises(UserError, match=r"column a has numbers in kg in training rows, but '3 g' is not one"):
        encode(pd.DataFrame({"a": ["3 g"]}), [column])
    with pytest.raises(UserError, match=r"column a is numeric in training rows, but '3 g' is not a number"):
        encode(pd.DataFrame({"a": ["3 g"]}), [Column("a")])


def test_equal_numbers_are_one_category_and_one_class(tmp_path: Path) -> None:
    assert fit(spread("1", "1.0", "2.50", "01"), categorical=["a"]).categories == ("01", "1", "2.50")
    pd.DataFrame({"x": range(NUM), "y": spread("1", "1.0", "2")}).to_csv(tmp_path / "t.csv", index=False)
    data = CsvTable(path=str(tmp_path / "t.csv"), target="y")
    assert data.declare().target == Classes(("1", "2"))
    assert data.table().y.tolist() == spread(0, 0, 1)


def test_categories_of_an_earlier_version_keep_their_spelling() -> None:
    column = Column("a", categories=("1", "1.0", "37%", "5,5 kg"))
    frame = pd.DataFrame({"a": ["1.0", "1", "37%", "5.5 kg"]})
    assert torch.equal(encode(frame, [column]), torch.eye(4)[[1, 0, 2, 3]])


def test_ids_are_dropped_unless_they_are_asked_for(tmp_path: Path) -> None:
    ids = [7 * i % 61 for i in range(NUM)]
    path = table(tmp_path / "t.csv", Id=[*range(5, NUM + 5)], customer_id=ids, day=[*range(NUM)], area=ids)
    data = CsvTable(path=str(path), target="y")
    assert data.declare().feature_names == ("day", "area")
    assert "  dropped: Id (the number of the row), customer_id (a different integer in each row)" in data.notes()
    assert "  numbers: day (counts the rows; if it is an id: data.drop=[day]), area" in data.notes()
    kept = CsvTable(path=str(path), target="y", numeric=["Id"]).declare()
    assert kept.feature_names == ("Id", "day", "area")
    assert CsvTable(path=str(path), target="y", inputs={"a": ["Id"], "b": ["area"]}).declare().by_name["a"].table


def test_columns_without_a_name_alone_are_no_inputs(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", **{"": [*range(NUM)]})
    with pytest.raises(UserError, match="no columns left as inputs besides y: those without a name are not used"):
        CsvTable(path=str(path), target="y").declare()


def test_an_earlier_model_keeps_the_columns_that_are_dropped_today(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", Id=[*range(NUM)], share=[f"{i % 5}%" for i in range(NUM)])
    trained = CsvTable(path=str(path), target="y", numeric=["Id"], categorical=["share"])
    again = CsvTable(path=str(path), target="y")
    again.adopt(trained.declare())
    assert again.declare() == trained.declare()
    assert torch.equal(again.table().x, trained.table().x)  # type: ignore[arg-type]


def test_a_target_with_a_unit(tmp_path: Path) -> None:
    cells = [f"${i},{i % 10}00" for i in range(1, NUM + 1)]
    pd.DataFrame({"x": spread(1.5, 2), "y": cells}).to_csv(tmp_path / "t.csv", index=False)
    data = CsvTable(path=str(tmp_path / "t.csv"), target="y")
    assert data.declare().target == Values(("y",), units=("$",))
    assert data.table().y.flatten().tolist() == [i * 1000 + i % 10 * 100 for i in range(1, NUM + 1)]
    pd.DataFrame({"x": spread(1.5, 2), "y": [*cells[1:], "€7"]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=r"data.target=y must contain numbers in \$, but '€7' is not"):
        CsvTable(path=str(tmp_path / "t.csv"), target="y").declare()
    pd.DataFrame({"x": spread(1.5, 2), "y": [*cells[1:], "7"]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=r"numbers of one unit, but has '\$2,200' and '7'"):
        CsvTable(path=str(tmp_path / "t.csv"), target="y").declare()


def test_a_target_of_numbers_with_a_word_among_them(tmp_path: Path) -> None:
    pd.DataFrame({"x": spread(1.5, 2), "y": [*range(NUM - 1), "sold"]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=r"numbers in 59 of 60 rows, but 'sold' in row 60 .*data.problem=classificat"):
        CsvTable(path=str(tmp_path / "t.csv"), target="y").declare()


@pytest.mark.parametrize("mark", ["None", "NA"])
def test_a_class_that_is_named_like_a_missing_value(tmp_path: Path, mark: str) -> None:
    pd.DataFrame({"x": range(NUM), "y": spread("low", mark, "high")}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=rf"20 rows have no y .*if '{mark}' is a value .* data.missing_marks=\[\]"):
        CsvTable(path=str(tmp_path / "t.csv"), target="y").declare()
    data = CsvTable(path=str(tmp_path / "t.csv"), target="y", missing_marks=[])
    assert set(data.declare().target.names) == {"low", mark, "high"}


def test_decimal_commas_with_points_between_thousands_and_units(tmp_path: Path) -> None:
    rows = "\n".join(f"{i}.200;{i},5 kg;{i % 28 + 1:02d}.01.2024;{i},5" for i in range(1, 40))
    (tmp_path / "t.csv").write_text("a;b;day;y\n" + rows)
    frame = read_table(tmp_path / "t.csv", separator=";", decimal=",")
    assert frame.iloc[0].tolist() == ["1,200", "1.5 kg", "02.01.2024", "1.5"]
    data = CsvTable(path=str(tmp_path / "t.csv"), target="y", separator=";", decimal=",", drop=["day"])
    assert data.declare().columns == (Column("a"), Column("b", unit="kg"))


def test_the_columns_are_printed_once(train: Callable[..., Outcome], tmp_path: Path) -> None:
    path = table(
        tmp_path / "t.csv", price=[f"${i}" for i in range(NUM)], city=spread("A", "B"), id=[*range(NUM)],
        area=[f"1,{i:03d}" for i in range(NUM)],
    )  # fmt: skip
    done = train("data=csv", f"data.path={path}", "data.target=y", "model=linear", "trainer.max_epochs=1")
    assert done.code == 0, done.err
    for line in (
        "t.csv: 60 rows\n",
        "  numbers: price ($), area (written like '1,000')\n",
        "  categories: city (2)\n",
        "  dropped: id (the number of the row)\n",
        "  target: y (values)\n",
    ):
        assert done.out.count(line) == 1, done.out
