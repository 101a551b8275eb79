"""Forecasters are trained on files, and come out of a checkpoint unchanged."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_runs import Outcome, Terminal

from dlzoo.checkpoint.load import load_task
from dlzoo.commands import forecast, predict
from dlzoo.config import compose as config
from dlzoo.config import instantiate as build
from dlzoo.data.series.csv import CsvSeries
from dlzoo.training import results

# Runs


def wave_file(folder: Path, num: int = 96) -> Path:
    """Months with a rising season, 20 to 60, and a little noise."""
    path = folder / "sales.csv"
    rows = [
        f"{2000 + t // 12}-{t % 12 + 1:02},{20 + 0.2 * t + 4 * (t * 7 % 12 % 5) + math.sin(t * t):.2f}"
        for t in range(num)
    ]
    path.write_text("\n".join(["month,sales", *rows]) + "\n")
    return path


QUICK = ["callbacks=checkpoint", "logger=none", "trainer=cpu", "trainer.max_epochs=2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Checkpoints of two seeds on a CSV file, and the file, in one folder."""
    from dlzoo.training.run import run as run_training

    folder = tmp_path_factory.mktemp("runs")
    path, ckpts = wave_file(folder), []
    for seed in (0, 1):
        words = [*QUICK, "model=nar", "data=series", f"data.path={path}", f"seed={seed}"]
        ckpts.append(Path(run_training(config.compose(words), folder / f"{seed}", words)["checkpoints"]["best"]))
    return [*ckpts, path]


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(name, marks=[] if name in ("nar", "nbeats") else pytest.mark.slow)
        for name in ("nar", "nbeats", "tcn", "jordan", "rnn", "lstm", "gru", "peephole_lstm")
    ],
)
def test_every_forecaster_trains_on_ones_own_file_with_one_command(
    model: str, train: Callable[..., Outcome], tmp_path: Path
) -> None:
    done = train(f"model={model}", "data=series", f"data.path={wave_file(tmp_path)}", "trainer.max_epochs=2")
    assert (done.code, done.err) == (0, "")
    (folder,) = tmp_path.glob("outputs/*/*")
    metrics = results.read(folder)["metrics"]
    assert {f"{s}/{m}" for s in ("val", "test") for m in ("loss", "rmse", "mae", "mape", "mase")} <= set(metrics)
    assert {"baseline/rmse_naive", "baseline/mape_seasonal_naive_drift"} <= set(metrics)
    rows = list(csv.DictReader((folder / "forecast.csv").open()))
    assert [row["time"] for row in rows] == [f"2007-{month:02}-01" for month in range(1, 13)]
    squares = [(float(row["sales forecast"]) - float(row["sales true"])) ** 2 for row in rows]
    assert metrics["test/rmse"] == pytest.approx((sum(squares) / 12) ** 0.5, rel=1e-4)
    assert (folder / "forecast.png").stat().st_size > 10_000


def test_a_forecaster_learns_a_season(train: Callable[..., Outcome], tmp_path: Path) -> None:
    """The wave is the same each year, but for a trend and noise of 0.7: a forecast of a year comes close to that."""
    words = ["model=nar", "data=series", f"data.path={wave_file(tmp_path, 120)}", "data.differences=[1]", "seed=1"]
    done = train(*words, "callbacks=checkpoint", "logger=none", "trainer.max_epochs=150", "optimizer.lr=5e-3")
    assert done.code == 0, done.err
    reached = results.read(next(tmp_path.glob("outputs/*/*")))["metrics"]
    assert reached["test/rmse"] < reached["baseline/rmse_seasonal_naive"] / 2
    assert reached["test/mase"] < 0.5


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_stateful_run(batch_size: int, train: Callable[..., Outcome], tmp_path: Path) -> None:
    words = [
        "model=lstm",
        "net.stateful=true",
        "data=air_passengers",
        "data.window=12",
        f"data.batch_size={batch_size}",
    ]
    done = train(*words, *QUICK)
    assert done.code == 0, done.err
    assert results.read(next(tmp_path.glob("outputs/*/*")))["steps"] == 2 * ((119 - 1) // (12 * batch_size))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["model=mlp", "data=air_passengers"],
            "mlp takes images and tables, but data=air_passengers gives series; models for",
        ),
        (
            ["model=mlp", "data=air_passengers"],
            "anomaly_autoencoder, anomaly_forecast, gru, jordan, lstm, nar, nbeats, peephole_lstm, rnn, tcn",
        ),
        (["model=lstm", "data=digits"], "lstm takes series, but data=digits gives images; models for images"),
        (["model=lstm", "data=digits"], "reader"),
        (["model=lstm", "data=air_passengers", "net.bidirectional=true"], "would read the future"),
        (["model=lstm", "data=air_passengers", "net.dropout=1"], "net.dropout=1 must be at least 0 and below 1"),
        (["model=nar", "data=air_passengers", "net.stateful=true"], "net.stateful: dlzoo.nets.nar.NAR has no such"),
        (["model=nar", "data=series"], "data.path is missing"),
        (["model=nar", "data=series", "data.path=nowhere.csv"], "data.path=nowhere.csv"),
        (["model=lstm", "data=counting"], "models for sequences: counting_rnn, reader, sequence_cnn"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str, train: Callable[..., Outcome]) -> None:
    done = train(*words)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert message in done.err


def test_quantiles_of_a_run_are_written_and_drawn(
    train: Callable[..., Outcome], terminal: Terminal, tmp_path: Path
) -> None:
    words = ["model=nar", "data=series", f"data.path={wave_file(tmp_path)}", "task.quantiles=[0.1,0.5,0.9]"]
    done = train(*words, "task.steps=null", "callbacks=[checkpoint,forecast]", "logger=none", "trainer=cpu",
                 "trainer.max_epochs=3")  # fmt: skip
    assert done.code == 0, done.err
    (folder,) = tmp_path.glob("outputs/*/*")
    rows = list(csv.DictReader((folder / "forecast.csv").open()))
    inside = [float(r["sales quantile 0.1"]) <= float(r["sales true"]) <= float(r["sales quantile 0.9"]) for r in rows]
    assert results.read(folder)["metrics"]["test/coverage"] == pytest.approx(sum(inside) / 12)
    answer = terminal(forecast.main, f"ckpt={folder}/checkpoints/best.ckpt", "format=json", f"picture={tmp_path}/q.png")
    told = json.loads(answer.out.partition("picture ")[0])
    assert told[0]["values"]["sales quantile 0.9"] == pytest.approx(float(rows[0]["sales quantile 0.9"]), rel=1e-5)
    assert told[0]["values"]["sales"] == pytest.approx(float(rows[0]["sales forecast"]), rel=1e-5)


def promotions(folder: Path, num: int = 90, num_future: int = 0) -> Path:
    """Days whose sales jump by 30 on promotions, which nothing but their column announces."""
    draw = torch.Generator().manual_seed(0)
    on = (torch.rand(num + num_future, generator=draw) < 0.3).int().tolist()
    lines = [
        f"2024-{1 + t // 28:02}-{1 + t % 28:02},{'' if t >= num else 50 + t % 7 + 30 * on[t]},{on[t]}"
        for t in range(num + num_future)
    ]
    path = folder / "promotions.csv"
    path.write_text("\n".join(["day,sold,promotion", *lines]) + "\n")
    return path


KNOWN = ["data=series", "data.known_ahead=promotion", "data.frequency=row", "data.horizon=7", "data.window=14"]


def test_columns_known_ahead_are_those_of_the_steps_to_predict(tmp_path: Path) -> None:
    path = promotions(tmp_path)
    data = CsvSeries(path=str(path), known_ahead="promotion", frequency="row", horizon=7, window=14, steps=None,
                     differences=[], standardize=False)  # fmt: skip
    train = data.arrays("train")
    sold = [float(line.split(",")[1]) for line in path.read_text().splitlines()[1:]]
    on = [float(line.split(",")[2]) for line in path.read_text().splitlines()[1:]]
    assert train.x.shape[1:] == (14, 2)
    assert train.x[3, :, 0].tolist() == sold[3:17]
    assert train.x[3, :, 1].tolist() == on[10:24]
    assert train.y[3, :, 0].tolist() == sold[17:24]
    assert train.y[-1, -1, 0] == sold[-15]
    (batch,) = data.test_dataloader()
    assert batch[0][0, -1].tolist() == [sold[-8], on[-1]]


def test_a_net_uses_what_is_known_ahead(train: Callable[..., Outcome], terminal: Terminal, tmp_path: Path) -> None:
    words = ["model=nar", *KNOWN, f"data.path={promotions(tmp_path)}", "data.differences=[]", "task.steps=null"]
    done = train(*words, "net.skip=true", "callbacks=checkpoint", "logger=none", "trainer=cpu", "optimizer.lr=1e-2",
                 "data.batch_size=8", "data.period=7", "trainer.max_epochs=60")  # fmt: skip
    assert done.code == 0, done.err
    (folder,) = tmp_path.glob("outputs/*/*")
    metrics = results.read(folder)["metrics"]
    assert metrics["test/rmse"] < metrics["baseline/rmse_seasonal_naive"] / 2
    ckpt = f"ckpt={folder}/checkpoints/best.ckpt"
    coming = promotions(tmp_path, 90, 7)
    told = json.loads(terminal(forecast.main, ckpt, f"input={coming}", "format=json").out)
    on = [line.endswith(",1") for line in coming.read_text().splitlines()[-7:]]
    assert [record["values"]["sold"] > 68 for record in told] == on
    message = terminal.mistake(forecast.main, ckpt, f"input={promotions(tmp_path, 90, 3)}")
    assert "needs promotion of all of them, but only 3 rows follow the last value" in message


def test_what_is_known_ahead_is_read_at_once(tmp_path: Path, train: Callable[..., Outcome]) -> None:
    done = train("model=nar", *KNOWN, f"data.path={promotions(tmp_path)}")
    assert "data.known_ahead=['promotion'] is read for the whole horizon at once: set task.steps=null" in done.err
    done = train("model=nar", *KNOWN, f"data.path={promotions(tmp_path)}", "data.known_ahead=promotions")
    assert "data.known_ahead=promotions: promotions.csv has no such column; did you mean 'promotion'" in done.err


# Checkpoints


def recent(folder: Path, *, after: int = 60, drop: str = "") -> Path:
    """The rows of the training file from number ``after`` on."""
    lines = wave_file(folder).read_text().splitlines()
    path = folder / "recent.csv"
    path.write_text("\n".join(line for line in [lines[0], *lines[1 + after :]] if not drop or drop not in line))
    return path


def test_a_checkpoint_forecasts_from_raw_values(runs: list[Path], terminal: Terminal, tmp_path: Path) -> None:
    path = recent(tmp_path)
    answer = terminal(predict.main, f"ckpt={runs[0]}", f"input={path}", "format=json")
    told = json.loads(answer.out)
    task, cfg = load_task(runs[0])
    values = [float(line.split(",")[1]) for line in path.read_text().splitlines()[1:]]
    expected = task.forecast(torch.tensor(values, dtype=torch.double)[:, None], 12)  # type: ignore[operator]
    assert [record["input"] for record in told] == [f"2008-{month:02}-01" for month in range(1, 13)]
    assert [record["values"]["sales"] for record in told] == pytest.approx(expected[:, 0].tolist())
    whole = build.build_data(cfg.data).arrays("test")  # type: ignore[attr-defined]
    known = torch.cat([whole.x[0], whole.y[0]])
    torch.testing.assert_close(task.forecast(known, 12), expected)  # type: ignore[operator]
    piped = terminal(predict.main, f"ckpt={runs[0]}", "input=-", "format=json", stdin=path.read_bytes())
    assert piped.out == answer.out


def test_evaluating_again_gives_the_figures_of_the_run(runs: list[Path], terminal: Terminal) -> None:
    from dlzoo.commands import evaluate

    answer = terminal(evaluate.main, f"ckpt={runs[0]}", "json=true")
    assert answer.code == 0, answer.err
    first = results.read(runs[0].parent.parent)["metrics"]
    again = json.loads(answer.out)["metrics"]
    assert again == {name: value for name, value in first.items() if name.startswith(("test/", "baseline/"))}


def test_the_mean_of_seeds_with_its_deviation_and_a_picture(
    runs: list[Path], terminal: Terminal, tmp_path: Path
) -> None:
    path, picture = recent(tmp_path), tmp_path / "forecast.png"
    words = [f"ckpt={runs[0]},{runs[1]}", f"input={path}", "horizon=3"]
    answer = terminal(forecast.main, *words, "format=json", f"picture={picture}")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out.partition("picture ")[0])
    each = [json.loads(terminal(predict.main, f"ckpt={ckpt}", f"input={path}", "format=json").out) for ckpt in runs[:2]]
    assert len(told) == 3
    for record, a, b in zip(told, *each, strict=False):
        pair = torch.tensor([a["values"]["sales"], b["values"]["sales"]], dtype=torch.double)
        expected = {"sales": pair.mean().item(), "sales std": pair.std().item()}
        assert record["values"] == pytest.approx(expected, rel=1e-5)
    assert picture.stat().st_size > 10_000


def test_without_input_the_test_of_the_run_is_forecast(runs: list[Path], terminal: Terminal) -> None:
    told = json.loads(terminal(forecast.main, f"ckpt={runs[0]}", "format=json").out)
    assert [record["input"] for record in told][::11] == ["2007-01-01", "2007-12-01"]
    values = torch.tensor([record["values"]["sales"] for record in told])
    truth = [float(line.split(",")[1]) for line in runs[-1].read_text().splitlines()[-12:]]
    rmse = (values - torch.tensor(truth)).square().mean().sqrt().item()
    assert rmse == pytest.approx(results.read(runs[0].parent.parent)["metrics"]["test/rmse"], rel=1e-4)


def test_mistakes_about_recent_values(runs: list[Path], terminal: Terminal, tmp_path: Path) -> None:
    known = f"ckpt={runs[0]}"
    says = {
        "has 20 rows, but this checkpoint needs at least 24": recent(tmp_path, after=76).read_text(),
        "1 x month missing between 2006-02-01 (row 14)": recent(tmp_path, drop="2006-03").read_text(),
        "data.values=sales: standard input has no such column": recent(tmp_path).read_text().replace("sales", "sold"),
        "are the same month": recent(tmp_path).read_text().replace("2006-03", "2006-02-27"),
        "standard input is empty": "",
    }
    for message, text in says.items():
        for main in (predict.main, forecast.main):
            assert message in terminal.mistake(main, known, "input=-", stdin=text.encode())
    path = recent(tmp_path)
    for words, message in {
        ("top_k=3",): "top_k does not apply: this checkpoint predicts values (sales)",
        ("invert=true",): "invert does not apply: this checkpoint takes a series of sales",
    }.items():
        assert message in terminal.mistake(predict.main, known, f"input={path}", *words)
    for words, message in {
        ("horizon=0",): "horizon=0 is too small",
        ("picture=x.doc",): "the extension must be .png",
        (f"output={path}",): "would overwrite an input file",
    }.items():
        assert message in terminal.mistake(forecast.main, known, f"input={path}", *words)
    assert "there is no such file" in terminal.mistake(forecast.main, f"ckpt={runs[0]},nothing.ckpt")


def test_checkpoints_of_other_things(runs: list[Path], terminal: Terminal, tmp_path: Path) -> None:
    from small_runs import changed, run

    ckpt = run(tmp_path / "wine", "data=wine")["checkpoints"]["best"]
    other_thing = "takes a table of 13 features, and does not forecast; use dlzoo predict"
    assert other_thing in terminal.mistake(forecast.main, f"ckpt={ckpt}")
    other = changed(runs[1], tmp_path / "x.ckpt", lambda c: c["dlzoo"]["spec"]["target"].update(names=["cost"]))
    assert "has columns ('cost',), but" in terminal.mistake(forecast.main, f"ckpt={runs[0]},{other}")
