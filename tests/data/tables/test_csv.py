"""A user's CSV: what is read off which rows, how new rows are encoded, and the style of the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from house_tables import CITIES, Make, houses, maker, split_rows

from dlzoo.data.tables.csv import CsvTable, read_table
from dlzoo.data.tables.encoding import encode
from dlzoo.errors import UserError
from dlzoo.specs.inputs import Column
from dlzoo.specs.plain import from_plain, to_plain
from dlzoo.specs.targets import Values


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return maker(tmp_path)


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
