"""Parquet, .npz and saved data sets give what the same table in CSV gives, and keep the types of their columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_runs import Outcome, Terminal

from dlzoo.commands import predict
from dlzoo.data import typed_tables
from dlzoo.data.series.csv import CsvSeries
from dlzoo.data.tables.csv import CsvTable
from dlzoo.errors import UserError

FRAME = pd.DataFrame(
    {
        "size": [40 + i / 4 for i in range(60)],
        "side": ["north", "south", "west"] * 20,
        "zip": ["01", "02"] * 30,
        "new": [True, False] * 30,
        "rooms": [i % 5 for i in range(60)],
        "price": [100.5 + 3 * i for i in range(60)],
    }
)


def saved(frame: pd.DataFrame, folder: Path, kind: str) -> Path:
    path = folder / f"table.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False)
    elif kind == "parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path, index=False)
    elif kind == "npz":
        np.savez(path, **{name: np.array(frame[name].tolist()) for name in frame})
    else:
        pytest.importorskip("datasets").Dataset.from_pandas(frame, preserve_index=False).save_to_disk(path)
    return path


@pytest.mark.parametrize("kind", ["parquet", "npz", "folder"])
def test_the_same_table_gives_the_same_rows(kind: str, tmp_path: Path) -> None:
    """But that codes of texts are categories, which a CSV file must say."""

    def loaded(kind: str, **options: object) -> CsvTable:
        data = CsvTable(path=str(saved(FRAME, tmp_path, kind)), target="price", **options)  # type: ignore[arg-type]
        data.setup()
        return data

    ours, csv = loaded(kind), loaded("csv", categorical=["zip"])
    assert ours.spec == csv.spec
    for batch, expected in zip(ours.batches("val"), csv.batches("val"), strict=True):
        torch.testing.assert_close(batch.inputs, expected.inputs)
        torch.testing.assert_close(batch.target, expected.target)


def test_missing_cells_and_dates_are_text_like_in_csv(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    times = pd.to_datetime(["2024-01-01 00:00", "2024-01-02 12:30", None])
    frame = pd.DataFrame({"a": [1.5, None, 1e-7], "b": ["x", None, ""], "t": times, "n": [1, 2, 3]})
    cells = typed_tables.read(saved(frame, tmp_path, "parquet"))
    assert cells.fillna("-").to_numpy().tolist() == [
        ["1.5", "x", "2024-01-01", "1"],
        ["-", "-", "2024-01-02T12:30:00", "2"],
        ["1e-07", "-", "-", "3"],
    ]
    assert cells.attrs[typed_tables.TEXTS] == ["b"]


def test_arrays_of_two_dimensions_are_columns(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(6.0).reshape(3, 2), y=np.array(["u", "v", "u"]))
    cells = typed_tables.read(tmp_path / "a.npz")
    assert cells.to_dict("list") == {"x_1": ["0.0", "2.0", "4.0"], "x_2": ["1.0", "3.0", "5.0"], "y": ["u", "v", "u"]}


def test_a_series(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=50), "sold": np.arange(50.0)})
    data = CsvSeries(path=str(saved(frame, tmp_path, "parquet")), horizon=5)
    assert data.series().values[:3, 0].tolist() == [0, 1, 2]


def test_classes_of_a_saved_data_set_have_names(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"x": datasets.Value("float32"), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"x": [i / 10 for i in range(40)], "label": [i % 2 for i in range(40)]}
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=features)})
    splits.save_to_disk(tmp_path / "all")
    data = CsvTable(path=str(tmp_path / "all" / "train"), target="label")
    data.setup()
    assert data.spec.target.names == ("cat", "dog")
    with pytest.raises(UserError, match=r"data set of several splits, train: .*data.path=.*all/train"):
        CsvTable(path=str(tmp_path / "all"), target="label").declare()


def test_mistakes(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("a,b\n1,2\n")
    np.savez(tmp_path / "b.npz", x=np.zeros((3, 2)), y=np.zeros(4))
    np.savez(tmp_path / "c.npz", x=np.array([{}], dtype=object))
    for name, said in {"a": "cannot be read as arrays", "b": r"x \(3, 2\), y \(4,\)", "c": "x contains object"}.items():
        with pytest.raises(UserError, match=said):
            CsvTable(path=str(tmp_path / f"{name}.npz"), target="y").declare()
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_text("a,b\n1,2\n")
    pd.DataFrame({"y": [1, 2], "x": [[1], [2]]}).to_parquet(tmp_path / "b.parquet")
    for name, said in {"a": "cannot be read as Parquet", "b": "column x contains .*one number or text a cell"}.items():
        with pytest.raises(UserError, match=said):
            CsvTable(path=str(tmp_path / f"{name}.parquet"), target="y").declare()


def test_a_run_and_its_predictions(tmp_path: Path, train: Callable[..., Outcome], terminal: Terminal) -> None:
    pytest.importorskip("pyarrow")
    path = saved(FRAME, tmp_path, "parquet")
    words = ["model=linear", "data=csv", f"data.path={path}", "data.target=price", "trainer=smoke", "logger=none"]
    done = train(*words, "callbacks=checkpoint", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.code == 0, done.err
    predicted = terminal(predict.main, f"ckpt={tmp_path / 'run' / 'checkpoints' / 'best.ckpt'}", f"input={path}")
    assert predicted.code == 0, predicted.err
    assert len(predicted.out.splitlines()) >= len(FRAME)
