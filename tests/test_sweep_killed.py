"""A search whose process is killed, at whatever moment, is the search that was never stopped."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.storages.journal import JournalFileBackend

from dlzoo.sweep import search as searches
from dlzoo.sweep import settings, space
from dlzoo.sweep.search import Search
from dlzoo.sweep.worker import Epoch

SPACE = {
    "optimizer.lr": {"low": 1e-4, "high": 1.0, "log": True},
    "optimizer": ["sgd", "adam"],
    "data.batch_size": {"low": 16, "high": 256},
}
METHODS = {
    "random": (["sweep=random"], 12),
    "tpe": (["sweep=tpe"], 18),
    "bayes": (["sweep=bayes"], 13),
    "hyperband": (["sweep=hyperband"], 24),
    "median": (["sweep=tpe", "sweep.pruner=median"], 18),
    "epochs": (["sweep=random", "sweep.epochs=50"], 12),
}
NUM_EPOCHS = 9


class Killed(BaseException):
    """In place of SIGKILL: nothing is written after it."""


def opened(folder: Path, method: str) -> Search:
    words, trials = METHODS[method]
    told = settings.read([*words, f"sweep.trials={trials}", "sweep.metric=val/loss"])
    return Search(told, space.from_yaml(SPACE), "val/loss", "study", folder, NUM_EPOCHS)


def loss(params: dict[str, Any], epoch: int) -> float:
    """Of a net that learns the faster the nearer its rate is to 0.03."""
    distance = abs(float(params["optimizer.lr"]) - 0.03) + (params["optimizer"] == "sgd") * 0.1
    return distance + float(params["data.batch_size"]) / 1000 + 1 / epoch


def searched(study: Search, kills: Iterator[None]) -> None:
    """As a sweep does it, with made-up losses; killed where the iterator says so."""
    while (trial := study.claim()) is not None:
        for epoch in range(1, NUM_EPOCHS + 1):
            next(kills)
            if not study.goes_on(trial, Epoch(epoch, NUM_EPOCHS, "val/loss", "min", loss(trial.params, epoch))):
                break
        next(kills)
        if trial.state == "running":
            trial.state = "complete"
        study.tell(trial)


def outcome(study: Search) -> list[Any]:
    return [(t.number, t.words, t.state, t.value, t.best_epoch, t.epochs, t.reason) for t in study.trials()]


def never() -> Iterator[None]:
    while True:
        yield


def whole(folder: Path, method: str) -> list[Any]:
    study = opened(folder, method)
    searched(study, never())
    return outcome(study)


@pytest.fixture(autouse=True)
def _all_others_are_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searches, "_is_gone", lambda worker, me: worker != me)


def killed_at(folder: Path, method: str, write: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Search until so many things were written to the study's file; whether the search had ended before."""
    append, left = JournalFileBackend.append_logs, iter(range(write))

    def append_logs(self: Any, logs: Any) -> None:
        if next(left, None) is None:
            raise Killed
        append(self, logs)

    with monkeypatch.context() as patch:
        patch.setattr(JournalFileBackend, "append_logs", append_logs)
        try:
            searched(opened(folder, method), never())
        except Killed:
            return False
    return True


def broken_by_kills(folder: Path, method: str, seed: int, most: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Kill a search again and again until it ends; how often. It must be the undisturbed one."""
    draw, kills = random.Random(seed), 0
    while not killed_at(folder, method, draw.randrange(3, most), monkeypatch):
        kills += 1
    study = opened(folder, method)
    assert study.claim() is None
    assert outcome(study) == whole(folder.with_name(f"{folder.name}-whole"), method)
    return kills


@pytest.mark.parametrize("method", ["random", "hyperband"])
def test_a_search_killed_at_any_moment(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert broken_by_kills(tmp_path / "killed", method, 0, 120, monkeypatch) > 3


@pytest.mark.reliability
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("method", METHODS)
def test_every_method_killed_at_any_moment(
    method: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert broken_by_kills(tmp_path / "killed", method, seed, 60, monkeypatch) > 5


def test_pruning_and_ends_do_happen(tmp_path: Path) -> None:
    """Without them the tests above would say little."""
    states = [trial[2] for trial in whole(tmp_path, "hyperband")]
    assert {*states} == {"complete", "pruned"}
