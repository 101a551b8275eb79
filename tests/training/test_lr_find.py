"""The learning-rate range test: what it suggests, and that the run after it is the run without it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from small_runs import Train, newest_run

from dlzoo.training.tuning.lr_finder import HIGHEST, LOWEST, NUM_STEPS, RangeTest
from dlzoo.utils import checkpoint_files

QUICK = ("trainer=cpu", "trainer.max_epochs=2", "callbacks=[history,checkpoint]", "logger=none")
RANDOM = ("augment=shift", "net.dropout=0.2", "task.activity_l2=1e-3", "scheduler=onecycle")
"""Whatever draws random numbers, hooks into the net or moves the rate."""


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint_files.read(newest_run(folder) / "checkpoints" / "last.ckpt")["state_dict"]


def rows(folder: Path) -> list[dict[str, float]]:
    with (newest_run(folder) / "lr_find.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_the_run_after_the_test_is_the_run_without_it(train: Train, tmp_path: Path) -> None:
    assert train(*QUICK, *RANDOM).code == 0
    without = weights(tmp_path)
    done = train(*QUICK, *RANDOM, "lr_find=true")
    assert done.code == 0, done.err
    assert same(without, weights(tmp_path))
    assert "suggested: optimizer.lr=" in done.out
    assert (newest_run(tmp_path) / "lr_find.png").is_file()
    tried = rows(tmp_path)
    assert tried[0]["lr"] == pytest.approx(LOWEST)
    assert tried[1]["lr"] / tried[0]["lr"] == pytest.approx((HIGHEST / LOWEST) ** (1 / (NUM_STEPS - 1)), rel=1e-4)
    assert len(tried) < NUM_STEPS, "it ends where the loss diverges"


def test_the_rate_found_is_used_and_remembered(train: Train, tmp_path: Path) -> None:
    done = train(*QUICK, "lr_find=use", "optimizer=sgd")
    assert done.code == 0, done.err
    used, folder = weights(tmp_path), newest_run(tmp_path)
    rate = done.out.partition("training with optimizer.lr=")[2].split()[0]
    assert train(*QUICK, "optimizer=sgd", f"optimizer.lr={rate}").code == 0
    assert same(used, weights(tmp_path))
    assert train(*QUICK, "optimizer=sgd").code == 0
    assert not same(used, weights(tmp_path))
    manifest = checkpoint_files.read(folder / "checkpoints" / "last.ckpt")["dlzoo"]
    assert f"lr: {rate}" in manifest["config"]
    assert "lr_find=use" not in manifest["overrides"]
    again = train(f"ckpt={folder / 'checkpoints' / 'last.ckpt'}", "trainer.max_epochs=3")
    assert again.code == 0, again.err
    assert "lr_find" not in again.out
    assert json.loads((folder / "results.json").read_text())["epochs"] == 3


@pytest.mark.parametrize(
    "words", [("model=vae", "data=digits"), ("model=mlp", "data=synthetic"), ("model=lstm", "data=air_passengers")]
)
def test_other_tasks_with_one_optimizer(words: tuple[str, ...], train: Train, tmp_path: Path) -> None:
    if "data=air_passengers" in words:
        table = tmp_path / "series.csv"
        table.write_text("day,sales\n" + "".join(f"{i},{i % 7 + 0.1 * i}\n" for i in range(90)))
        words = ("model=lstm", "data=series", f"data.path={table}")
    done = train(*QUICK, *words, "lr_find=true", "trainer.max_epochs=1")
    assert done.code == 0, done.err
    assert "suggested" in done.out


def test_a_task_with_two_optimizers_is_refused(train: Train) -> None:
    done = train(*QUICK, "model=gan", "data=digits", "lr_find=true")
    assert done.code == 2
    assert "one optimizer" in done.err


def test_the_suggestion_is_a_tenth_of_the_rate_with_the_lowest_loss() -> None:
    rates = [LOWEST * (HIGHEST / LOWEST) ** (i / 499) for i in range(500)]
    valley = [2.0 if rate < 1e-3 else 0.5 if rate < 0.1 else 3.0 for rate in rates]
    found = RangeTest(rates, valley)
    assert found.lowest == pytest.approx(0.1, rel=0.05)
    assert found.suggestion == pytest.approx(0.01, rel=0.06)
    assert found.steepest == pytest.approx(1e-3, rel=0.05)
    assert found.suggestion == float(f"{found.suggestion:.2g}")


def test_a_wrong_value_is_refused(train: Train) -> None:
    done = train("lr_find=yes_please")
    assert done.code == 2
    assert "true, false or use" in done.err
