"""Runs of an earlier version go on: their checkpoints give the metrics that they gave, and can be continued."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome

from dlzoo.commands.evaluate import evaluate

FOLDER = Path(__file__).parents[1] / "legacy"
RUNS = sorted(path.parent.name for path in FOLDER.glob("*/results.json"))


@pytest.fixture(autouse=True)
def _in_their_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)  # data.path of some is relative


@pytest.mark.parametrize("name", RUNS)
def test_their_metrics(name: str) -> None:
    expected = json.loads((FOLDER / name / "results.json").read_text())["metrics"]
    metrics = evaluate(FOLDER / name / "checkpoints" / "last.ckpt")["metrics"]
    noisy = name in ("autoencoder", "vae")  # their noise in tests is now drawn row by row
    tested = {key: value for key, value in expected.items() if key.startswith("test/")}
    assert tested
    assert {key: metrics[key] for key in tested} == pytest.approx(tested, rel=5e-3 if noisy else 1e-4)


@pytest.mark.parametrize("name", RUNS)
def test_they_are_continued(name: str, tmp_path: Path, train: Callable[..., Outcome]) -> None:
    run = tmp_path / name
    shutil.copytree(FOLDER / name, run)
    done = train(f"ckpt={run / 'checkpoints' / 'last.ckpt'}", "trainer.max_epochs=2")
    assert done.code == 0, done.err
    assert json.loads((run / "results.json").read_text())["epochs"] == 2
    assert len((run / "metrics.csv").read_text().splitlines()) == 3
