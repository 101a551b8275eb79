"""A user's CSV: what is read off which rows, encoding of new rows, and an error for each thing that can be wrong."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dlzoo.data.tables.csv import CsvTable, read_table
from dlzoo.data.tables.encoding import encode
from dlzoo.errors import UserError
from dlzoo.specs.inputs import Column
from dlzoo.specs.plain import from_plain, to_plain
from dlzoo.specs.targets import Classes, Labels, Values

Make = Callable[..., CsvTable]
CITIES = ("Berlin", "Lima", "Quito")


def houses(num_rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "area": rng.permutation(num_rows) * 2.5 + 30,  # each another: a row is known by it
            "rooms": rng.integers(1, 6, num_rows),
            "city": [CITIES[i % 3] for i in range(num_rows)],
            "price": rng.uniform(1e5, 9e5, num_rows).round(2),
            "tax": rng.uniform(1, 9, num_rows).round(3),
            "kind": [("flat", "house")[i % 2] for i in range(num_rows)],
            "label": [str(i % 4) for i in range(num_rows)],
            "trust": rng.uniform(0, 2, num_rows).round(2),
        }
    )


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a frame (or a text) as houses.csv and read it: only the columns area, rooms and city are features."""

    def build(table: pd.DataFrame | str, *, target: Any = "price", **options: Any) -> CsvTable:
        text = table if isinstance(table, str) else table.to_csv(index=False)
        (tmp_path / "houses.csv").write_text(text)
        if not isinstance(table, str):
            taken = [target] if isinstance(target, str) else list(target)
            others = ["price", "tax", "kind", "label", "trust"]
            kept = {*taken, options.get("weight")}
            options["drop"] = [c for c in others if c not in kept and c in table] + options.get("drop", [])
        return CsvTable(path=str(tmp_path / "houses.csv"), target=target, **options)

    return build


def split_rows(data: CsvTable, table: pd.DataFrame, split: Any) -> list[int]:
    """The numbers of a split's rows, found by their area."""
    areas = data.arrays(split).x[:, 0].tolist()
    return [int((table["area"] - area).abs().argmin()) for area in areas]


def test_regression_features_and_splits(make: Make) -> None:
    table = houses()
    data = make(table)
    spec = data.declare()
    assert spec.feature_names == ("area", "rooms", "city=Berlin", "city=Lima", "city=Quito")
    assert spec.target == Values(("price",))
    rows = {split: split_rows(data, table, split) for split in ("train", "val", "test")}
    assert sorted([*rows["train"], *rows["val"], *rows["test"]]) == list(range(60))
    assert len(rows["test"]) == 12
    for split, numbers in rows.items():
        arrays = data.arrays(split)  # type: ignore[arg-type]
        assert arrays.y.flatten().tolist() == pytest.approx(table["price"][numbers].tolist())
        assert arrays.x[:, 1].tolist() == table["rooms"][numbers].tolist()
        assert [CITIES[i] for i in arrays.x[:, 2:].argmax(1)] == table["city"][numbers].tolist()
        assert arrays.x[:, 2:].sum(1).eq(1).all()
    assert data.spec.with_target(spec.target) == spec


@pytest.mark.parametrize("log", [False, True])
def test_values_are_scaled_by_the_training_rows(make: Make, log: bool) -> None:
    table = houses()
    data = make(table, **({"target_transform": "log"} if log else {}))
    data.setup()
    prices = table["price"][split_rows(data, table, "train")]
    prices = np.log(prices) if log else prices
    scaling = data.spec.target.values.scaling
    assert scaling.log is log
    assert scaling.mean == pytest.approx([prices.mean()], rel=1e-6)
    assert scaling.std == pytest.approx([prices.std(ddof=0)], rel=1e-6)
    assert make(table, target_transform="none").declare().target == data.declare().target


def test_a_logarithm_needs_positive_values(make: Make) -> None:
    table = houses()
    table.loc[3, "price"] = 0
    with pytest.raises(UserError, match=r"data\.target_transform=log needs positive values, but price has 0"):
        make(table, target_transform="log").setup()


def test_standardizing_leaves_one_hot_features_alone(make: Make) -> None:
    table = houses()
    data = make(table, standardize=True)
    data.setup()
    area = table["area"][split_rows(data, table, "train")]
    assert data.spec.mean == pytest.approx([area.mean(), data.spec.mean[1], 0, 0, 0])
    assert data.spec.std == pytest.approx([area.std(ddof=0), data.spec.std[1], 1, 1, 1])
    assert data.spec.columns == data.declare().columns


@pytest.mark.parametrize("split", ["val", "test"])
def test_nothing_is_read_off_rows_that_are_held_out(make: Make, split: str) -> None:
    table = houses()
    options: dict[str, Any] = {"missing": "impute", "standardize": True}
    before = make(table, **options)
    before.setup()
    rows = split_rows(before, table, split)
    table.loc[rows, "area"] = 1e6
    table.loc[rows, "city"] = "Atlantis"
    after = make(table, **options)
    with pytest.warns(UserWarning, match="column city: 'Atlantis' not in the training rows"):
        after.setup()
    assert after.spec == before.spec
    assert after.arrays(split).x[:, 2:].eq(0).all()  # type: ignore[arg-type]
    table.loc[split_rows(before, houses(), "train"), "area"] = 1e6
    changed = make(table, **options)
    with pytest.warns(UserWarning, match="Atlantis"):
        changed.setup()
    assert changed.spec != before.spec


def test_rows_with_missing_values_are_dropped(make: Make, tmp_path: Path) -> None:
    table = houses()
    table.loc[[3, 7], "area"] = np.nan
    table.loc[9, "price"] = np.nan
    table.loc[11, "kind"] = np.nan  # not used
    kept = table.drop(index=[3, 7, 9])
    kept.iloc[:20].to_csv(tmp_path / "test.csv", index=False)
    data = make(table, missing="drop", test_path=str(tmp_path / "test.csv"))
    assert data.table().x[:, 0].tolist() == pytest.approx(kept["area"].tolist())
    assert data.arrays("test").num_rows == 20
    table["area"] = np.nan
    with pytest.raises(UserError, match=r"data.missing=drop leaves no rows: missing values in area \(60\), price"):
        make(table, missing="drop").declare()


def test_imputing_takes_median_and_most_frequent_of_train(make: Make) -> None:
    table = houses()
    train = split_rows(make(table), table, "train")
    table["city"] = "Lima"
    table.loc[train[:10], "city"] = "Berlin"
    area = table["area"].copy()
    holes = [*train[:5], *(i for i in range(60) if i not in train)]
    table.loc[holes, ["area", "city"]] = np.nan
    data = make(table, missing="impute")
    median = float(area[train[5:]].median())
    assert data.declare().columns == (
        Column("area", fill=median),
        Column("rooms", fill=float(table["rooms"][train].median())),
        Column("city", categories=("Berlin", "Lima"), fill="Lima"),
    )
    assert data.arrays("test").x[:, 0].tolist() == pytest.approx([median] * 12)
    assert data.arrays("test").x[:, 2:].tolist() == [[0, 1]] * 12


def test_new_rows_are_encoded_as_training_rows(make: Make, tmp_path: Path) -> None:
    table = houses()
    data = make(table, missing="impute", categorical=["rooms"])
    rows = split_rows(data, table, "test")
    columns = from_plain(to_plain(data.declare())).columns  # as a checkpoint gives them back
    mixed = table.iloc[rows][["city", "label", "rooms", "area"]]
    mixed.to_csv(tmp_path / "new.csv", index=False)
    for frame in (mixed, mixed.astype({"rooms": float}), read_table(tmp_path / "new.csv")):
        assert torch.equal(encode(frame, columns), data.arrays("test").x)
    with pytest.warns(UserWarning, match="'Oslo' not in the training rows; 1 of 1 rows"):
        x = encode(pd.DataFrame({"area": [None], "rooms": [3], "city": ["Oslo"]}), columns)
    assert x.tolist() == [[pytest.approx(columns[0].fill), 0, 0, 1, 0, 0, 0, 0, 0]]


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


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("kind", Classes(("flat", "house"))),
        ("label", Classes(("0", "1", "2", "3"))),
        ("price", Values(("price",))),
        (["price", "tax"], Values(("price", "tax"))),
    ],
)
def test_the_target_says_classes_or_values(make: Make, target: Any, expected: Any) -> None:
    data = make(houses(), target=target)
    assert data.declare().target == expected
    rows = split_rows(data, houses(), "train")
    y = houses().loc[rows, target]
    if isinstance(expected, Classes):
        assert [expected.names[i] for i in data.arrays("train").y] == y.tolist()
    else:
        assert np.allclose(data.arrays("train").y.numpy(), y.to_numpy().reshape(len(y), -1))


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([True, False] * 30, ("False", "True")),
        ([10, 9, 100] * 20, ("9", "10", "100")),
        (["10", "9", "x"] * 20, ("10", "9", "x")),
        (["01", "02"] * 30, ("01", "02")),
        (list(range(20)) * 3, tuple(map(str, range(20)))),
        (list(range(21)) * 3, None),
        (list(range(20)), None),
        ([0.5, 1.0] * 30, None),
    ],
)
def test_rule_for_classes(make: Make, values: list[Any], names: tuple[str, ...] | None) -> None:
    text = pd.DataFrame({"a": range(len(values)), "y": values}).to_csv(index=False)
    target = make(text, target="y").declare().target
    assert (target.names if isinstance(target, Classes) else None) == names
    assert isinstance(make(text, target="y", problem="classification" if names else "regression").declare().target,
                      type(target))  # fmt: skip


def test_problem_overrides_the_rule(make: Make) -> None:
    assert make(houses(), target="label", problem="regression").declare().target == Values(("label",))
    table = houses().assign(price=[1.5, 2.5] * 30)
    assert make(table, problem="classification").declare().target == Classes(("1.5", "2.5"))


def test_weights_go_with_their_rows(make: Make) -> None:
    table = houses()
    data = make(table, weight="trust")
    assert "trust" not in data.declare().feature_names
    for split in ("train", "val", "test"):
        weight = data.arrays(split).weight
        assert weight is not None
        assert weight.tolist() == pytest.approx(table["trust"][split_rows(data, table, split)].tolist())
    assert len(next(iter(data.train_dataloader()))) == 3


def test_test_path(make: Make, tmp_path: Path) -> None:
    table = houses()
    table[["tax", *table.columns[:4]]].assign(area=table["area"] + 1000).to_csv(tmp_path / "test.csv", index=False)
    data = make(table, test_path=str(tmp_path / "test.csv"))
    assert data.arrays("test").x[:, 0].tolist() == pytest.approx((table["area"] + 1000).tolist())
    assert data.arrays("train").num_rows + data.arrays("val").num_rows == 60
    assert data.arrays("train").x[:, 0].max() < 1000
    table.drop(columns="city").to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(UserError, match=r"data.test_path=.* lacks columns of data.path: city"):
        make(table, test_path=str(tmp_path / "test.csv")).declare()


@pytest.mark.parametrize(("separator", "sign"), [(";", ";"), ("\\t", "\t"), ("\t", "\t")])
def test_separator_decimal_quotes_spaces_and_encoding(tmp_path: Path, separator: str, sign: str) -> None:
    cells = [
        ["Größe ", " city", "y", "note"],
        *([f'"{i},5" ', " Córdoba ", str(i % 2), f'"a{sign} b"'] for i in range(20)),
    ]
    (tmp_path / "t.csv").write_text("\n".join(map(sign.join, cells)), encoding="latin-1")
    options: dict[str, Any] = {"separator": separator, "decimal": ",", "encoding": "latin-1", "drop": ["note"]}
    data = CsvTable(path=str(tmp_path / "t.csv"), target="y", **options)
    assert data.declare().feature_names == ("Größe", "city=Córdoba")
    assert data.table().x[:, 0].tolist() == [i + 0.5 for i in range(20)]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("y,a\n" + "0,1\n1,2\n" * 9, encoding="utf-8-sig")
    assert CsvTable(path=str(tmp_path / "t.csv"), target="y").declare().target.names == ("0", "1")


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


# Several yes/no labels


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("yes", "no"), ("True", "False"), ("1.0", "0.0"), ("YES", "No")])
def test_several_columns_of_yes_and_no_are_labels(make: Make, yes: str, no: str) -> None:
    table = houses()
    spam, urgent = [i % 3 == 0 for i in range(60)], [i % 5 == 0 for i in range(60)]
    table["tax"], table["kind"] = ([yes if each else no for each in column] for column in (spam, urgent))
    data = make(table, target=["tax", "kind"])
    data.setup()
    rows = split_rows(data, table, "train")
    assert data.arrays("train").y.tolist() == [[float(spam[i]), float(urgent[i])] for i in rows]
    counts = (sum(spam[i] for i in rows), sum(urgent[i] for i in rows))
    assert data.spec.target == Labels(("tax", "kind"), counts=counts)
    assert from_plain(to_plain(data.spec)) == data.spec


def test_labels_may_be_taken_as_numbers(make: Make) -> None:
    table = houses()
    table["tax"], table["kind"] = [i % 2 for i in range(60)], [i % 3 // 2 for i in range(60)]
    assert make(table, target=["tax", "kind"], problem="regression").declare().target == Values(("tax", "kind"))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            [i % 7 / 2 for i in range(60)],
            "tax contains yes/no labels, but kind contains '0.5'; give columns of one kind",
        ),
        (["yes"] * 60, "data.target=kind is yes in all rows: there is nothing to learn"),
    ],
)
def test_columns_that_are_not_all_labels_are_refused(make: Make, column: list[Any], message: str) -> None:
    table = houses()
    table["tax"], table["kind"] = [i % 2 for i in range(60)], column
    with pytest.raises(UserError, match=message):
        make(table, target=["tax", "kind"]).declare()


def test_a_test_row_with_another_answer_is_refused(make: Make, tmp_path: Path) -> None:
    table = houses()
    table["tax"], table["kind"] = [i % 2 for i in range(60)], ["yes", "no"] * 30
    other = table.copy()
    other.loc[4, "kind"] = "perhaps"
    other.to_csv(tmp_path / "test.csv", index=False)
    data = make(table, target=["tax", "kind"], test_path=str(tmp_path / "test.csv"))
    with pytest.raises(
        UserError, match=r"data.target=kind contains 'perhaps' \(row 5\), but labels must be one of yes, no"
    ):
        data.load("test")
