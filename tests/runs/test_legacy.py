"""Runs of an earlier version go on: their checkpoints give the metrics that they gave, and can be continued."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_runs import Outcome

from dlzoo.commands.evaluate import evaluate

FOLDER = Path(__file__).parents[1] / "legacy"
RUNS = sorted(path.parent.name for path in FOLDER.glob("*/results.json"))
THIN = ("dqn", "gan", "lstm", "mlp", "perceptron", "stacked")
"""One of each way to step."""


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
    if name == "wide_deep":  # its outputs have metrics of their own now, and the loss is that of both
        tested = {key.replace("test/", "test/main/"): value for key, value in tested.items()}
    if name == "mlp":  # its label smoothing was part of the loss that was reported, and no longer is
        assert metrics["test/loss"] < tested.pop("test/loss")
    assert {key: metrics[key] for key in tested} == pytest.approx(tested, rel=5e-3 if noisy else 1e-4)


def test_the_best_checkpoint_of_an_output_without_a_name_stays_the_best(
    tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    """It was chosen by val/loss, which is now val/main/loss."""
    run = tmp_path / "wide_deep"
    shutil.copytree(FOLDER / "wide_deep", run)
    last = run / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    (state,) = (state for key, state in content["callbacks"].items() if key.startswith("ModelCheckpoint"))
    assert state["monitor"] == "val/loss"
    best = f"{state['dirpath']}/best.ckpt"
    score = torch.tensor(-1.0)  # no epoch is better
    state |= {"best_model_score": score, "best_model_path": best, "best_k_models": {best: score}}
    state |= {"kth_best_model_path": best, "kth_value": score}
    torch.save(content, last)
    shutil.copy(last, run / "checkpoints" / "best.ckpt")
    before = (run / "checkpoints" / "best.ckpt").read_bytes()
    done = train(f"ckpt={last}", "trainer.max_epochs=2")
    assert done.code == 0, done.err
    assert (run / "checkpoints" / "best.ckpt").read_bytes() == before
    rows = (run / "metrics.csv").read_text().splitlines()
    assert "train/main/accuracy" in rows[0]


@pytest.mark.parametrize(
    "name", [name if name in THIN else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]
)
def test_they_are_continued(name: str, tmp_path: Path, train: Callable[..., Outcome]) -> None:
    run = tmp_path / name
    shutil.copytree(FOLDER / name, run)
    done = train(f"ckpt={run / 'checkpoints' / 'last.ckpt'}", "trainer.max_epochs=2")
    assert done.code == 0, done.err
    assert json.loads((run / "results.json").read_text())["epochs"] == 2
    assert len((run / "metrics.csv").read_text().splitlines()) == 3
