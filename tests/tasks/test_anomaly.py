"""Anomalies in series: errors by hand, the threshold of validation, marks, and new values from a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Outcome, Terminal

import dlzoo
from dlzoo.commands import evaluate, forecast, predict
from dlzoo.data.series.anomalies import Anomalies
from dlzoo.data.series.csv import CsvSeries
from dlzoo.errors import UserError
from dlzoo.metrics.anomalies import detection_metrics
from dlzoo.nets.nar import NAR
from dlzoo.nets.window_autoencoder import WindowAutoencoder
from dlzoo.specs.inputs import SeriesSpec
from dlzoo.specs.targets import Values
from dlzoo.tasks.anomaly import AnomalyDetection
from dlzoo.training import results

SPEC = SeriesSpec(Values(("a", "b")), window=5, horizon=8)


@pytest.mark.parametrize("kind", ["forecast", "reconstruction"])
def test_an_error_is_that_of_one_step_given_its_window(kind: Any) -> None:
    net = NAR(SPEC) if kind == "forecast" else WindowAutoencoder(SPEC)
    task = AnomalyDetection(net, SPEC).eval()
    values = torch.randn(12, 2, dtype=torch.double)
    x = values.float()
    with torch.no_grad():
        if kind == "forecast":
            given = torch.cat([net(x[None, t - 5 : t]) for t in range(5, 12)])
        else:
            given = torch.cat([net(x[None, t - 4 : t + 1])[:, -1] for t in range(5, 12)])
    torch.testing.assert_close(task.step_errors(values), (given - x[5:]).square().mean(1))
    view = task.export_views()["model"]()
    torch.testing.assert_close(view(values[None, 6:12])[0], task.step_errors(values)[-1:])


def test_the_threshold_is_a_quantile_of_validation() -> None:
    task = AnomalyDetection(NAR(SPEC), SPEC, quantile=0.75).eval()
    task.log_dict = lambda *args, **options: None  # type: ignore[method-assign]
    values = torch.randn(1, 20, 2, dtype=torch.double)
    with pytest.raises(UserError, match="there was no validation"):
        task.test_step((values[:, :12], values[:, 12:]), 0)  # type: ignore[arg-type]
    task.validation_step((values[:, :12], values[:, 12:]), 0)  # type: ignore[arg-type]
    errors = task.step_errors(values[0])[-8:]
    assert task.threshold == pytest.approx(float(errors.double().quantile(0.75)))
    assert task.predict(values[0])[-8:, 1].sum() == 2


def test_metrics_are_those_of_all_origins_together() -> None:
    """Means of the origins' own metrics would differ: the second has no mark, so no recall."""
    task = AnomalyDetection(NAR(SPEC), SPEC).eval()
    logged: dict[str, float] = {}
    task.log_dict = lambda metrics, **options: logged.update(metrics)  # type: ignore[method-assign]
    values = torch.randn(1, 30, 2, dtype=torch.double)
    marks = torch.zeros(1, 16)
    marks[0, [2, 3, 9]] = 1
    task.validation_step((values[:, :12], values[:, 12:20]), 0)  # type: ignore[arg-type]
    task._threshold.fill_(float(task.step_errors(values[0])[-16:].median()))  # type: ignore[operator]
    for i, start in enumerate((14, 22)):
        batch = values[:, :start], values[:, start : start + 8], marks[:, start - 14 : start - 6]
        task.test_step(batch, i)  # type: ignore[arg-type]
    task.log_split("test")
    error = task.step_errors(values[0])[-16:].double()
    expected = detection_metrics(error, marks[0].bool(), task.threshold)
    assert {name: logged[f"test/{name}"] for name in expected} == pytest.approx(expected)
    assert logged["test/loss"] == pytest.approx(float(error.mean()))
    assert task.tested == []


def test_a_quantile_beyond_one_is_refused() -> None:
    with pytest.raises(UserError, match=r"task\.quantile=1\.5"):
        AnomalyDetection(NAR(SPEC), SPEC, quantile=1.5)


def test_generated_anomalies_lie_in_the_test() -> None:
    whole = Anomalies(horizon=600, window=24).whole
    assert whole.marks is not None
    assert not whole.marks[:-600].any()
    assert 12 <= whole.marks.sum() <= 12 * 6


def test_anomalies_lie_in_the_tests_of_all_origins() -> None:
    data = Anomalies(horizon=60, origins=5, num_events=10, window=24)
    held = [batch.weight for batch in data.test_dataloader()]
    assert [bool(marks.any()) for marks in held if marks is not None] == [True] * 5
    assert data.whole.marks is not None
    assert not data.whole.marks[:-300].any()
    assert data.notes() == []


def test_anomalies_that_do_not_fit_are_said_or_refused() -> None:
    data = Anomalies(horizon=40, window=24)
    assert data.notes() == ["only 3 of data.num_events=12 anomalies fit into the test of 40 steps"]
    with pytest.raises(UserError, match=r"data\.horizon=5 and data\.origins=2 are a test of 10 steps"):
        Anomalies(horizon=5, origins=2, window=24).declare()
    with pytest.raises(UserError, match=r"data\.num_events=0"):
        Anomalies(num_events=0)


def write(path: Path, marks: list[str]) -> Path:
    rows = [f"2024-01-{1 + i // 24:02} {i % 24:02}:00,{i % 12},{mark}" for i, mark in enumerate(marks)]
    path.write_text("\n".join(["time,load,odd", *rows]) + "\n")
    return path


def test_a_column_of_marks(tmp_path: Path) -> None:
    marks = ["0"] * 200
    marks[190], marks[191], marks[192] = "1", "TRUE", ""
    path = write(tmp_path / "load.csv", marks)
    data = CsvSeries(path=str(path), marks="odd", window=12, horizon=24)
    assert data.declare().target.names == ("load",)
    (batch,) = data.test_dataloader()
    assert batch.weight is not None
    assert batch.weight[0].nonzero().flatten().tolist() == [14, 15]
    marks[5] = "maybe"
    with pytest.raises(UserError, match=r"column odd, row 6 .*'maybe' is no mark"):
        CsvSeries(path=str(write(path, marks)), marks="odd", window=12, horizon=24).declare()
    with pytest.raises(UserError, match=r"data\.marks=od: load\.csv has no such column"):
        CsvSeries(path=str(path), marks="od").declare()
    for values, wrong in ((["load", "odd"], "odd"), (None, "time")):
        with pytest.raises(UserError, match=rf"data\.marks={wrong} must be a column other than"):
            CsvSeries(path=str(path), values=values, marks=wrong).declare()
    with pytest.raises(UserError, match=r"data\.known_ahead=\['odd', 'odd'\] must name .* none twice"):
        CsvSeries(path=str(path), known_ahead=["odd", "odd"]).declare()


def test_marks_that_no_task_reads_are_refused(train: Callable[..., Outcome], tmp_path: Path) -> None:
    path = write(tmp_path / "load.csv", ["0"] * 200)
    done = train("model=nar", "data=series", f"data.path={path}", "data.marks=odd", "data.window=12")
    assert done.code == 2
    assert "data.marks=odd would be ignored: it has an effect only with model=anomaly_forecast" in done.err


@pytest.mark.parametrize("model", ["anomaly_autoencoder", pytest.param("anomaly_forecast", marks=pytest.mark.slow)])
def test_anomalies_are_found_reported_and_found_again(
    model: str, train: Callable[..., Outcome], terminal: Terminal, tmp_path: Path
) -> None:
    words = [f"model={model}", "data=anomalies", "data.horizon=300", "data.num_events=6", "data.window=24"]
    done = train(*words, "callbacks=[checkpoint,anomalies]", "logger=none", "trainer=cpu", "trainer.max_epochs=8")
    assert done.code == 0, done.err
    (folder,) = tmp_path.glob("outputs/*/*")
    metrics = results.read(folder)["metrics"]
    assert metrics["test/event_recall"] >= 0.5
    assert metrics["test/average_precision"] >= 0.3  # 0.09 by chance
    rows = list(csv.DictReader((folder / "anomalies.csv").open()))
    assert len(rows) == 300
    hits = sum(row["anomaly"] == row["mark"] == "1" for row in rows)
    assert metrics["test/recall"] == pytest.approx(hits / sum(row["mark"] == "1" for row in rows))
    assert (folder / "anomalies.png").stat().st_size > 10_000
    assert (folder / "precision_recall.png").stat().st_size > 5_000
    ckpt = folder / "checkpoints/best.ckpt"
    again = json.loads(terminal(evaluate.main, f"ckpt={ckpt}", "json=true").out)["metrics"]
    assert again["test/recall"] == metrics["test/recall"]
    recent = tmp_path / "recent.csv"
    recent.write_text("time,load\n" + "".join(f"{row['time']},{row['load']}\n" for row in rows[:100]))
    told = json.loads(terminal(predict.main, f"ckpt={ckpt}", f"input={recent}", "format=json").out)
    assert [record["input"] for record in told] == [row["time"] for row in rows[24:100]]
    assert [record["values"]["anomaly"] for record in told] == [float(row["anomaly"]) for row in rows[24:100]]
    found = dlzoo.load(ckpt).predict(recent)
    assert found["anomaly"].tolist() == [row["anomaly"] == "1" for row in rows[24:100]]
    assert [*found.index] == [row["time"] for row in rows[24:100]]
    assert "does not forecast; use dlzoo predict" in terminal.mistake(forecast.main, f"ckpt={ckpt}")
    assert "top_k does not apply" in terminal.mistake(predict.main, f"ckpt={ckpt}", f"input={recent}", "top_k=2")
