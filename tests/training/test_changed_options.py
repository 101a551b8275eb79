"""A run that is continued with other options: they apply, and it says so."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Outcome, Train, with_experiment

slow = pytest.mark.slow
FIRST = [
    "model=softmax",
    "data=iris",
    "trainer=cpu",
    "logger=none",
    "callbacks=[checkpoint,history]",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
]


@pytest.fixture
def continued(train: Train, tmp_path: Path) -> Callable[..., tuple[Outcome, dict[str, Any]]]:
    """A run of two epochs with some options, continued for two more with others, and its last checkpoint."""

    def run(first: str, *then: str) -> tuple[Outcome, dict[str, Any]]:
        folder = tmp_path / "run"
        assert train(*FIRST, *first.split(), f"hydra.run.dir={folder}").code == 0
        outcome = train(f"ckpt={folder / 'checkpoints' / 'last.ckpt'}", "trainer.max_epochs=4", *then)
        return outcome, torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)

    return run


def group(content: dict[str, Any]) -> dict[str, Any]:
    (found,) = content["optimizer_states"][0]["param_groups"]
    return found


def rates(tmp_path: Path) -> list[float]:
    return [float(row["lr"]) for row in csv.DictReader((tmp_path / "run" / "metrics.csv").open())]


def test_another_rate(continued: Any, tmp_path: Path) -> None:
    outcome, content = continued("optimizer=sgd", "optimizer.lr=0.002")
    assert (outcome.code, outcome.err) == (0, "")
    assert "continuing with optimizer.lr=0.002, previously 0.01" in outcome.out
    assert group(content)["lr"] == 0.002
    assert rates(tmp_path) == pytest.approx([0.01, 0.01, 0.002, 0.002])
    assert "lr: 0.002" in (tmp_path / "run" / ".hydra" / "config.yaml").read_text()


@pytest.mark.parametrize("schedule", ["exponential", pytest.param("plateau", marks=slow)])
def test_another_rate_under_a_schedule(schedule: str, continued: Any, tmp_path: Path) -> None:
    """A schedule multiplies the new rate by its factor at this epoch; a plateau starts from it."""
    outcome, _ = continued(f"optimizer=sgd scheduler={schedule}", "optimizer.lr=0.001")
    assert outcome.code == 0, outcome.err
    factors = [1, 0.9, 0.81, 0.729] if schedule == "exponential" else [1, 1, 1, 1]
    expected = [rate * factor for rate, factor in zip([0.01, 0.01, 0.001, 0.001], factors, strict=True)]
    assert rates(tmp_path) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("first", "then", "option", "value"),
    [
        ("optimizer=momentum", "optimizer.momentum=0.5", "momentum", 0.5),
        ("optimizer=sgd", "optimizer=momentum", "momentum", 0.9),
        pytest.param("optimizer=momentum", "optimizer.momentum=0", "momentum", 0, marks=slow),
        pytest.param("optimizer=adam", "optimizer.betas=[0.8,0.99]", "betas", (0.8, 0.99), marks=slow),
        pytest.param("optimizer=adam", "+optimizer.amsgrad=true", "amsgrad", True, marks=slow),
        pytest.param("optimizer=adamw", "optimizer.weight_decay=0.5", "weight_decay", 0.5, marks=slow),
    ],
)
def test_another_option(first: str, then: str, option: str, value: Any, continued: Any) -> None:
    outcome, content = continued(first, then)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"continuing with optimizer.{option}=" in outcome.out
    stored = group(content)[option]
    assert (tuple(stored) if isinstance(stored, list) else stored) == value


@pytest.mark.parametrize(
    ("first", "then"),
    [("sgd", "adam"), pytest.param("adam", "sgd", marks=slow), pytest.param("adam", "lbfgs", marks=slow)],
)
def test_another_optimizer(first: str, then: str, continued: Any, tmp_path: Path) -> None:
    outcome, content = continued(f"optimizer={first}", f"optimizer={then}")
    assert (outcome.code, outcome.err) == (0, "")
    assert ", without the state of " in outcome.out
    assert content["epoch"] == 3
    assert group(content)["lr"] == pytest.approx({"adam": 1e-3, "sgd": 0.01, "lbfgs": 1.0}[then])


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("exponential", "plateau"),
        pytest.param("plateau", "exponential", marks=slow),
        pytest.param("none", "step", marks=slow),
    ],
)
def test_another_schedule(first: str, then: str, continued: Any, tmp_path: Path) -> None:
    """It starts as if the run had followed it from its beginning; a plateau, from the optimizer's rate."""
    options = ["scheduler.every=1"] if then == "step" else []
    outcome, _ = continued(f"optimizer=sgd scheduler={first}", f"scheduler={then}", *options)
    assert (outcome.code, outcome.err) == (0, "")
    expected = {"plateau": [0.01, 0.01], "exponential": [0.0081, 0.00729], "step": [1e-4, 1e-5]}[then]
    assert rates(tmp_path)[2:] == pytest.approx(expected)


def test_another_optimizer_of_a_task_with_two(train: Train, tmp_path: Path) -> None:
    words = "model=gan data=digits trainer=smoke trainer.accelerator=cpu logger=none callbacks=[checkpoint,history]"
    small = "net.generator=[8] net.discriminator=[8] net.latent_dim=4"
    assert train(*words.split(), *small.split(), f"hydra.run.dir={tmp_path / 'run'}").code == 0
    ckpt = tmp_path / "run" / "checkpoints" / "last.ckpt"
    outcome = train(f"ckpt={ckpt}", "trainer.max_epochs=2", "task.discriminator_lr=0.003", "optimizer.lr=0.001")
    assert (outcome.code, outcome.err) == (0, "")
    states = torch.load(ckpt, weights_only=True)["optimizer_states"]
    assert [state["param_groups"][0]["lr"] for state in states] == pytest.approx([0.003, 0.001])


def test_a_schedule_of_a_longer_run_says_where_the_rate_goes(continued: Any, tmp_path: Path) -> None:
    outcome, _ = continued("optimizer=sgd scheduler=onecycle")
    assert (outcome.code, outcome.err) == (0, "")
    assert "the learning rate is " in outcome.out
    assert "and was 4e-08 in the checkpoint" in outcome.out
    assert rates(tmp_path)[2] > 1e-3


def test_the_same_command_changes_nothing(train: Train, tmp_path: Path) -> None:
    words = (*FIRST, f"hydra.run.dir={tmp_path / 'run'}", "optimizer=adam")
    assert train(*words).code == 0
    outcome = train(*words, f"ckpt={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}")
    assert outcome.code == 0
    assert "continuing with" not in outcome.out
    assert "the learning rate is" not in outcome.out


def test_a_run_of_a_config_dir_is_continued(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    *flags, chosen = with_experiment(tmp_path, "optimizer: {lr: 0.005}")
    folder = tmp_path / "run"
    assert train(*flags, *FIRST, chosen, f"hydra.run.dir={folder}").code == 0
    ckpt = f"ckpt={folder / 'checkpoints' / 'last.ckpt'}"
    outcome = train(*flags, ckpt, "trainer.max_epochs=3")
    assert (outcome.code, outcome.err) == (0, "")
    assert rates(tmp_path) == pytest.approx([0.005] * 3)
    outcome = train(ckpt, "trainer.max_epochs=4")
    assert outcome.code == 2
    assert "if it was started with --config-dir, give that again" in outcome.err
