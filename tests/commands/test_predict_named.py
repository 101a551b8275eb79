"""A net of two named inputs and several named targets, trained, tested and asked for predictions."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from small_runs import pair_words, run

from dlzoo.checkpoint.load import load_task
from dlzoo.commands import evaluate, predict
from dlzoo.commands.records import FormatName, render


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The checkpoint, and the file of its rows."""
    folder = tmp_path_factory.mktemp("pairs")
    words = [*pair_words(folder), "data.target={distance: gap, nearer: side}", "task.loss_weights={nearer: 0.5}"]
    results = run(folder, *words)
    metrics = results["metrics"]
    distance = load_task(results["checkpoints"]["best"])[0].spec.target.by_name["distance"].values
    assert distance is not None
    squared_gap = metrics["test/distance/loss"] / distance.scaling.std[0] ** 2  # the sum is of losses without units
    assert metrics["test/loss"] == pytest.approx(squared_gap + 0.5 * metrics["test/nearer/loss"])
    assert {"test/distance/mae", "test/nearer/accuracy"} <= metrics.keys()
    return Path(results["checkpoints"]["best"]), folder / "rows.csv"


def test_evaluate_gives_the_figures_of_the_run(trained: tuple[Path, Path]) -> None:
    found = evaluate.evaluate(trained[0])["metrics"]
    assert {"test/loss", "test/distance/mae", "test/nearer/f1"} <= found.keys()


def test_predict_tells_all_targets(trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    ckpt, rows = trained
    predict.command([f"ckpt={ckpt}", f"input={rows}", "format=json"])
    records = json.loads(capsys.readouterr().out)
    assert len(records) == 120
    frame = pd.read_csv(rows)
    x = {
        name: torch.tensor(frame[own].to_numpy()).float()
        for name, own in {"one": ["a", "b"], "other": ["c", "d"]}.items()
    }
    with torch.inference_mode():
        wanted = load_task(ckpt)[0].predict(x)
    for number in (0, 119):
        said = records[number]["targets"]
        assert said["distance"]["values"]["gap"] == pytest.approx(wanted["distance"][number].item(), abs=1e-5)
        chances = {guess["class"]: guess["probability"] for guess in said["nearer"]["predictions"]}
        assert [chances["left"], chances["right"]] == pytest.approx(wanted["nearer"][number].tolist(), abs=1e-5)


def test_tables_and_csv_name_the_target_of_each_column(
    trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    ckpt, rows = trained
    predict.command([f"ckpt={ckpt}", f"input={rows}", "format=csv", "top_k=1"])
    first, *others = csv.reader(capsys.readouterr().out.splitlines())
    assert first == ["input", "distance gap", "nearer class_1", "nearer probability_1"]
    assert len(others) == 120
    assert {len(row) for row in others} == {4}
    predict.command([f"ckpt={ckpt}", f"input={rows}", "top_k=1"])
    heading, row = capsys.readouterr().out.splitlines()[:2]
    assert heading.split() == ["input", "distance", "gap", "nearer", "#1"]
    assert len(row.split()) == 4


@pytest.mark.parametrize(
    ("format", "headings"),
    [
        ("csv", "input,price,tags old,tags new,kind class_1,kind probability_1"),
        ("table", "input price ($) tags old tags new kind #1"),
    ],
)
def test_a_column_that_is_called_as_its_target_bears_the_name_once(format: FormatName, headings: str) -> None:
    targets = {
        "price": {"values": {"price": 2.0}, "units": {"price": "$"}},
        "tags": {"labels": {"old": 0.25, "new": 0.75}},
        "kind": {"predictions": [{"class": "flat", "probability": 0.5}]},
    }
    heading = render([{"input": 1, "targets": targets}], format).splitlines()[0]
    assert " ".join(heading.split()) == headings
