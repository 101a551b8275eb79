"""Runs on a handful of rows: they finish, or end with a sentence that names the option to change."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_runs import Outcome

from dlzoo.losses.r2 import R2

PLAIN = ("trainer.max_epochs=1", "callbacks=checkpoint", "logger=none", "data=csv")


def table(folder: Path, num_rows: int) -> str:
    draw = random.Random(0)
    rows = [f"{draw.random():.3f},{draw.random():.3f},{10 * draw.random():.3f}" for _ in range(num_rows)]
    path = folder / "small.csv"
    path.write_text("\n".join(["a,b,y", *rows]))
    return f"data.path={path}"


def test_r2_of_one_row_is_undefined() -> None:
    metric = R2()
    metric.update(torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    assert metric.compute().isnan()
    metric.update(torch.tensor([[3.0]]), torch.tensor([[3.0]]))
    assert metric.compute() == pytest.approx(-1)


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("mlp", "data.target=y"),
        ("wide_deep", "data.target=y"),
        pytest.param("linear", "data.target=y", marks=pytest.mark.slow),
        pytest.param("mlp", "data.target=[y,b]", marks=pytest.mark.slow),
        pytest.param("mlp", "data.target={first: y, second: b}", marks=pytest.mark.slow),
        pytest.param("siamese data.inputs={l:[a],r:[b]}", "data.target=y", marks=pytest.mark.slow),
    ],
)
def test_ten_rows_of_a_regression(model: str, target: str, train: Callable[..., Outcome], tmp_path: Path) -> None:
    words = [*PLAIN, table(tmp_path, 10), target, *f"model={model}".split(), f"hydra.run.dir={tmp_path / 'run'}"]
    done = train(*words)
    assert done.code == 0, done.err
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert any(name.endswith("r2") for name in metrics if name.startswith("test/"))  # two rows
    assert not any(name.endswith("r2") for name in metrics if name.startswith("val/"))  # one row


@pytest.mark.parametrize("num_rows", [12, pytest.param(8, marks=pytest.mark.slow)])
def test_batch_norm_with_batches_of_two_of_an_odd_number_of_rows(
    num_rows: int, train: Callable[..., Outcome], tmp_path: Path
) -> None:
    words = ("model=mlp", "net.norm=batch", "data.batch_size=2", "data.target=y", "data.val_size=1")
    done = train(*PLAIN, *words, table(tmp_path, num_rows))
    assert done.code == 0, done.err


def test_batch_norm_with_batches_of_one_row(train: Callable[..., Outcome], tmp_path: Path) -> None:
    words = ("model=mlp", "net.norm=batch", "data.batch_size=1", "data.target=y")
    done = train(*PLAIN, *words, table(tmp_path, 10))
    assert done.code == 2
    assert "BatchNorm cannot be trained on a batch of one row" in done.err
    assert "set data.batch_size to 2 or more (now 1)" in done.err
    assert "Traceback" not in done.err
