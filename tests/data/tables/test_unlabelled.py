"""Tables without a target: names of rows, scaling, and what models say that need one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dlzoo.config import compose as config
from dlzoo.config import instantiate as build
from dlzoo.config.run_config import RunConfig
from dlzoo.data.tables.csv import CsvTable
from dlzoo.errors import SpecError, UserError
from dlzoo.specs.targets import Unlabelled


def table(folder: Path, **options: Any) -> CsvTable:
    path = folder / "table.csv"
    lines = [f"{i},{i * 2},5,name {i}" for i in range(26)]
    path.write_text("\n".join(["﻿a,b,same,who", *lines]), encoding="utf-8")
    data = CsvTable(path=str(path), **{"target": None, **options})
    data.setup()
    return data


def test_rows_have_the_numbers_of_their_names(tmp_path: Path) -> None:
    data = table(tmp_path, names="who")
    assert isinstance(data.spec.target, Unlabelled)
    assert [column.name for column in data.spec.table.columns] == ["a", "b", "same"]  # type: ignore[union-attr]
    assert data.row_names == tuple(f"name {i}" for i in range(26))
    for split in ("train", "val", "test"):
        rows = data.arrays(split)  # type: ignore[arg-type]
        assert [data.row_names[k] for k in rows.y] == [f"name {int(a)}" for a in rows.x[:, 0]]
    assert data.notes()[-1].strip() == "target: none"
    without = table(tmp_path, drop=["who"])
    assert without.row_names == ()
    assert not without.arrays("train").y.any()


def test_a_file_of_test_rows_may_have_new_names(tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("a,b,same,who\n1,2,5,stranger\n2,4,5,name 2\n")
    data = table(tmp_path, names="who", test_path=str(tmp_path / "more.csv"))
    assert [data.row_names[k] for k in data.arrays("test").y] == ["stranger", "name 2"]


def test_minmax_takes_the_range_of_the_training_rows(tmp_path: Path) -> None:
    """A constant column becomes 0, not a division by 0; categories stay as they are."""
    data = table(tmp_path, drop=["who"], standardize=True, scaling="minmax", categorical=["same"])
    x = data.arrays("train").x
    mean, std = torch.tensor(data.spec.mean), torch.tensor(data.spec.std)
    scaled = (x - mean) / std
    assert scaled[:, :2].amin(0).tolist() == [0, 0]
    assert scaled[:, :2].amax(0).tolist() == [1, 1]
    assert (mean[2], std[2]) == (0, 1)
    constant = table(tmp_path, drop=["who"], standardize=True, scaling="minmax")
    assert (constant.spec.mean[2], constant.spec.std[2]) == (5, 1)
    standard = table(tmp_path, drop=["who"], standardize=True)
    assert standard.spec.mean[0] == pytest.approx(float(x[:, 0].mean()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"if it names the rows, set data\.names=who; else drop it"),
        ({"names": "whom"}, r"data\.names=whom: .* has no such column; did you mean 'who'"),
        ({"names": "who", "drop": ["who"]}, "column who occurs twice in data.target, data.weight, data.names"),
        ({"names": "who", "target": []}, r"data\.target=\[\] is empty"),
        ({"names": "who", "train_per_class": 1}, "requires classes, but this data gives no target"),
    ],
)
def test_mistakes_are_one_sentence(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        table(tmp_path, **options)


def test_a_model_that_needs_a_target_says_so() -> None:
    cfg = RunConfig.from_hydra(config.compose(["model=mlp", "data=colors"]))
    message = r"mlp learns .*, but data=colors gives no target \(data\.target=null\); models .*: kmeans.*som"
    with pytest.raises(SpecError, match=message):
        build.check_fit(cfg, build.build_data(cfg.data))


def test_the_scaling_and_the_names_need_what_they_apply_to(tmp_path: Path) -> None:
    path = table(tmp_path, names="who").path
    for words, message in (
        (["data.standardize=false", "data.scaling=minmax", "data.target=b", "data.drop=[who]"], r"data\.scaling"),
        (["data.names=who", "data.target=b"], r"data\.names"),
    ):
        words = ["model=mlp", "data=csv", f"data.path={path}", *words]
        cfg = RunConfig.from_hydra(config.compose(words))
        with pytest.raises(UserError, match=message):
            build.check_fit(cfg, build.build_data(cfg.data), words)
