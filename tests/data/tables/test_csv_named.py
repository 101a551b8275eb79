"""A CSV file with several named inputs and targets: which columns go where, and an error for each wrong name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dlzoo.data.tables.csv import CsvTable
from dlzoo.errors import UserError

INPUTS = {"left": ["a", "kind"], "right": ["b", "a"]}
TARGET = {"price": "cost", "coast": "coast", "tags": ["old", "new"], "size": "size"}


def frame(num_rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {name: rng.normal(size=num_rows).round(4) for name in ("a", "b", "cost", "spare")}
    columns |= {"kind": ["flat", "house"] * (num_rows // 2), "coast": ["yes", "no"] * (num_rows // 2)}
    columns |= {"old": rng.integers(0, 2, num_rows), "new": rng.integers(0, 2, num_rows), "size": [1, 2, 3] * 20}
    return pd.DataFrame(columns)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    frame().to_csv(path, index=False)
    return path


def test_columns_go_to_the_inputs_and_targets_that_name_them(table: Path) -> None:
    data = CsvTable(path=str(table), target=TARGET, inputs=INPUTS, problem={"size": "regression"}, standardize=True)
    data.setup("fit")
    named, targets = data.spec.named, data.spec.target.named
    assert named is not None
    assert targets is not None
    columns = {name: [c.name for c in part.table.columns] for name, part in named.by_name.items() if part.table}
    assert columns == INPUTS
    assert [type(part).__name__ for part in targets.parts] == ["Values", "Classes", "Labels", "Values"]
    rows = data.arrays("train")
    assert torch.equal(rows.x["left"][:, 0], rows.x["right"][:, 1])
    assert {name: tuple(y.shape[1:]) for name, y in rows.y.items()} == {
        "price": (1,), "coast": (), "tags": (2,), "size": (1,)
    }  # fmt: skip
    own = frame()
    row = int(np.abs(own["a"].to_numpy() - float(rows.x["left"][0, 0])).argmin())
    assert float(rows.y["price"][0]) == pytest.approx(own["cost"][row])
    assert targets.by_name["coast"].names[int(rows.y["coast"][0])] == own["coast"][row]
    assert rows.y["tags"][0].tolist() == [own["old"][row], own["new"][row]]
    left = named.by_name["left"]
    assert left.mean[0] == pytest.approx(float(rows.x["left"][:, 0].mean()), abs=1e-5)
    assert left.mean[1:] == (0.0, 0.0)
    assert left.std[1:] == (1.0, 1.0)


def test_test_rows_are_encoded_as_the_trained_model_wants_them(table: Path) -> None:
    trained = CsvTable(path=str(table), target=TARGET, inputs=INPUTS, standardize=True)
    trained.setup("fit")
    again = CsvTable(path=str(table), target=TARGET, inputs=INPUTS, standardize=True)
    again.adopt(trained.spec)
    assert trained.spec.difference(again.declare()) is None
    for name, x in again.arrays("test").x.items():
        assert torch.equal(x, trained.arrays("test").x[name])


def test_each_target_of_values_has_a_transform_of_its_own(table: Path) -> None:
    target = {"price": "cost", "coast": "coast", "size": "size"}
    regression = {"size": "regression"}
    data = CsvTable(path=str(table), target=target, problem=regression, target_transform={"size": "log"})
    data.setup("fit")
    parts = data.spec.target.by_name
    price, size = parts["price"].values, parts["size"].values
    assert price is not None
    assert size is not None
    assert (price.scaling.log, size.scaling.log) == (False, True)
    y = data.arrays("train").y
    assert price.scaling.mean == pytest.approx([y["price"].mean().item()], abs=1e-6)
    assert size.scaling.mean == pytest.approx([y["size"].log().mean().item()], abs=1e-6)
    with pytest.raises(UserError, match=r"data\.target_transform=.* there is no target sise; .*size"):
        CsvTable(path=str(table), target=target, problem=regression, target_transform={"sise": "log"}).setup()


def test_rows_are_known_by_all_that_they_hold(table: Path) -> None:
    data = CsvTable(path=str(table), target=TARGET, inputs=INPUTS)
    ids = np.concatenate([*data.fit_ids(), data.test_ids()])
    assert len(set(ids.tolist())) == 60


def test_one_input_of_all_other_columns_may_have_several_targets(table: Path) -> None:
    data = CsvTable(path=str(table), target={"price": "cost", "coast": "coast"}, drop=["spare"])
    assert data.declare().named is None
    assert data.declare().table is not None
    assert data.declare().target.named is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": ["cost", "old"]}, r"data\.target=\{cost: cost, …\}"),
        ({"target": {"price": "cots"}}, r"data\.target=cots: .* no such column"),
        ({"target": {"price": []}}, "is empty"),
        ({"target": {"a/b": "cost"}}, "'a/b' is no name"),
        ({"target": {"price": "cost", "again": "cost"}}, "cost occurs twice"),
        ({"inputs": {"left": ["a"], "right": ["bb"]}}, r"data\.inputs\.right=bb: .* no such column"),
        ({"inputs": {"left": ["a"], "right": []}}, r"data\.inputs\.right=\[\] must name at least one column"),
        ({"inputs": {"left": ["a"], "right": ["cost"]}}, r"data\.inputs\.right=\['cost'\] .* none of data\.target"),
        ({"problem": {"prize": "regression"}}, "there is no target prize"),
        ({"target": "cost", "problem": {"cost": "regression"}}, "give data.target by name as well"),
        ({"target": {"price": "cost", "tags": ["old", "cost"]}}, "cost occurs twice"),
    ],
)
def test_names_that_mean_nothing_are_refused(table: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CsvTable(**({"path": str(table), "target": {"price": "cost"}} | options)).declare()
