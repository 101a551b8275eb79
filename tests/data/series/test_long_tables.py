"""Several series in one file: side by side, forecast each from its own past by the same weights."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from small_runs import Terminal, run

import dlzoo
from dlzoo.commands import forecast
from dlzoo.data.series.csv import CsvSeries
from dlzoo.errors import SpecError, UserError
from dlzoo.nets.nar import NAR
from dlzoo.nets.rnn_forecaster import Forecaster
from dlzoo.nets.window_autoencoder import WindowAutoencoder
from dlzoo.specs.inputs import SeriesSpec
from dlzoo.specs.targets import Values
from dlzoo.tasks.anomaly import AnomalyDetection
from dlzoo.tasks.forecast import Forecast

STORES = ["north", "south", "east", "more"]
LEVELS = (0.1, 0.5, 0.9)


def value(store: int, month: int) -> float:
    return 100 * (1 + store) + 10 * (store + 1) * math.sin(month * math.pi / 6) + month


def write(path: Path, months: dict[str, range], header: str = "month,store,sales") -> Path:
    times = pd.date_range("2015-01", periods=200, freq="MS").strftime("%Y-%m")
    lines = [f"{times[m]},{name},{value(STORES.index(name), m):.4f}" for name, part in months.items() for m in part]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_each_series_becomes_a_column(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "sales.csv", {"north": range(2, 90), "south": range(96), "east": range(1, 92)})
    data = CsvSeries(path=str(path), id="store")
    assert data.whole.names == ("north", "south", "east")
    expected = [[value(i, m) for i in range(3)] for m in range(2, 90)]
    torch.testing.assert_close(data.whole.values, torch.tensor(expected, dtype=torch.double), rtol=0, atol=1e-4)
    assert data.whole.times.iloc[0] == pd.Timestamp("2015-03")
    assert "the 3 series have 88 rows in common, and only these are used; store=south has 96" in caplog.text
    assert data.declare().independent
    assert not CsvSeries(path=str(path), id="store", independent=False).declare().independent


def test_columns_marks_and_what_is_known_ahead(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    rows = [(m, s, m + 10 * i, -m, int(m == 3 and s == "b"), m % 2) for i, s in enumerate("ab") for m in range(60)]
    path.write_text("\n".join(["step,id,u,v,odd,promo", *(",".join(map(str, row)) for row in rows)]))
    data = CsvSeries(path=str(path), id="id", marks="odd", known_ahead="promo")
    assert data.whole.names == ("a u", "a v", "b u", "b v")
    assert data.whole.values[7].tolist() == [7, -7, 17, -7]
    assert data.whole.marks is not None
    assert data.whole.marks.nonzero().flatten().tolist() == [3]
    assert data.whole.known is not None
    assert data.whole.known[:4, 0].tolist() == [0, 1, 0, 1]
    only_u = CsvSeries(path=str(path), id="id", values="u").whole
    assert only_u.names == ("a", "b")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("t,s,y\n1,a,1\n2,a,2\n1,b,3\n2,b,4\n", {}, "set data.id=s"),
        ("t,s,y\n1,a,1\n1,a,2\n1,b,3\n", {"id": "s"}, r"s=a has two rows of t=1; keep one"),
        ("t,s,y\n1,a,1\n2,a,2\n3,b,3\n4,b,4\n", {"id": "s"}, "have no time in common"),
        ("t,s,y\n1,a,1\n2,,2\n", {"id": "s"}, "row 2: s is missing"),
        ("t,s,y\n1,a,1\n2,a,2\n", {"id": "x"}, "data.id=x: .* has no such column"),
        ("t,s,y\n1,a,1\n2,a,2\n", {"id": "t", "time": "t"}, "data.id=t must be a column other than"),
        ("t,s,y,p\n1,a,1,0\n1,b,2,1\n", {"id": "s", "known_ahead": "p"}, "s=b and a differ at 1"),
        ("t,s,y,p\n1,y,1,0\n1,t,2,1\n", {"id": "s", "values": "y"}, "has the name of another column"),
        ("t,s,y\n" + "".join(f"1,s{i},1\n" for i in range(1001)), {"id": "s"}, "1,001 different ones in 1,001 rows"),
    ],
)
def test_tables_that_hold_no_series(text: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        CsvSeries(path=str(path), **options).series()


@pytest.mark.parametrize("quantiles", [(), LEVELS])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_column_is_forecast_from_its_own_past(steps: int, quantiles: tuple[float, ...]) -> None:
    spec = SeriesSpec(
        Values(("a", "b", "c")), window=6, horizon=4, steps=4 if quantiles else steps, quantiles=quantiles,
        independent=True, known=("k",) if steps == 4 else (),
    )  # fmt: skip
    if quantiles and steps == 1:
        spec = SeriesSpec(Values(("a", "b", "c")), window=6, horizon=1, quantiles=quantiles, independent=True)
    task = Forecast(NAR(spec.of_net), spec, steps=spec.steps, quantiles=quantiles or None).eval()
    x, y = spec.example(5)
    assert isinstance(x, torch.Tensor)
    outputs = task(x)
    assert outputs.shape == ((*y.shape[:1], spec.steps, 3, 3) if quantiles else y.shape)
    for d in range(3):
        own = torch.cat([x[..., d : d + 1], x[..., 3:]], dim=2)
        alone = task.net(own)
        torch.testing.assert_close(alone, outputs[..., d : d + 1, :] if quantiles else outputs[..., d : d + 1])
    x[..., 1] = 0
    assert torch.equal(
        task(x)[..., 0, :] if quantiles else task(x)[..., 0], outputs[..., 0, :] if quantiles else outputs[..., 0]
    )
    torch.testing.assert_close(task.loss_of(outputs, y), task.loss_of(task(spec.example(5)[0]), y))


def test_an_autoencoder_sees_one_column_at_a_time() -> None:
    spec = SeriesSpec(Values(("a", "b")), window=6, horizon=4, independent=True)
    task = AnomalyDetection(WindowAutoencoder(spec.of_net), spec).eval()
    values = torch.randn(9, 2, dtype=torch.double)
    each = []
    for d in range(2):
        alone = AnomalyDetection(task.net, SeriesSpec(Values(("value",)), window=6, horizon=4)).eval()
        each.append(alone.step_errors(values[:, d : d + 1]))
    torch.testing.assert_close(task.step_errors(values), torch.stack(each).mean(0))


def test_no_state_is_kept_for_each_column() -> None:
    spec = SeriesSpec(Values(("a", "b")), window=6, horizon=4, independent=True, consecutive=True)
    with pytest.raises(SpecError, match=r"set net\.stateful=false"):
        Forecast(Forecaster(spec.of_net, cell="gru", stateful=True), spec)


def test_train_forecast_and_the_errors_of_each_series(tmp_path: Path, terminal: Terminal) -> None:
    path = write(tmp_path / "sales.csv", {"north": range(120), "south": range(120)})
    folder = tmp_path / "run"
    found = run(
        folder,
        "model=nar",
        "data=series",
        f"data.path={path}",
        "data.id=store",
        "trainer.max_epochs=30",
        "callbacks=default",
    )
    assert found["num_parameters"] == 12 * 8 + 8 + 8 + 1, "of a net for one column"
    with open(folder / "forecast_errors.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "forecast"]
    assert [row["column"] for row in rows] == ["north", "south"]
    squares = [float(row["rmse"]) ** 2 for row in rows]
    assert math.sqrt(sum(squares) / 2) == pytest.approx(found["metrics"]["test/rmse"], rel=1e-4)
    assert found["metrics"]["test/rmse"] < found["metrics"]["baseline/rmse_naive"]

    ckpt, output = found["checkpoints"]["best"], tmp_path / "next.json"
    turned = write(tmp_path / "turned.csv", {"south": range(120), "more": range(120), "north": range(120)})
    terminal(forecast.main, f"ckpt={ckpt}", f"input={turned}", f"output={output}")
    steps = [row["values"] for row in json.loads(output.read_text())]
    expected = dlzoo.load(ckpt).forecast(path)
    for name in ("north", "south"):
        assert [step[name] for step in steps] == pytest.approx(expected[name].tolist(), rel=1e-4)
    assert steps[0]["north"] != pytest.approx(steps[0]["south"], rel=0.1)
    assert "lacks the series 'south' of store" in terminal.mistake(
        forecast.main, f"ckpt={ckpt}", f"input={write(tmp_path / 'one.csv', {'north': range(120)})}"
    )
