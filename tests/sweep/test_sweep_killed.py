"""A search whose process is killed, at whatever moment, is the search that was never stopped."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from optuna.storages.journal import JournalFileBackend

from dlzoo.config import compose as config
from dlzoo.errors import UserError
from dlzoo.sweep import command_line as lines
from dlzoo.sweep import driver as command
from dlzoo.sweep import record as records
from dlzoo.sweep import search as searches
from dlzoo.sweep import settings, space
from dlzoo.sweep.channel import Ended, Epoch
from dlzoo.sweep.record import Record, Trial
from dlzoo.sweep.search import Search

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


def searched(study: Search) -> None:
    """As a sweep does it, with made-up losses."""
    while (trial := study.claim()) is not None:
        for epoch in range(1, NUM_EPOCHS + 1):
            if not study.goes_on(trial, Epoch(epoch, NUM_EPOCHS, "val/loss", "min", loss(trial.params, epoch))):
                break
        if trial.state == "running":
            trial.state = "complete"
        study.tell(trial)


def outcome(study: Search) -> list[Any]:
    return [(t.number, t.words, t.state, t.value, t.best_epoch, t.epochs, t.reason) for t in study.trials()]


def whole(folder: Path, method: str) -> list[Any]:
    study = opened(folder, method)
    searched(study)
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
            searched(opened(folder, method))
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


class Noting:
    """In place of the process that runs trials."""

    def run(self, words: list[str], *_: Any) -> Ended:
        self.words = words
        return Ended("that is all")


def test_the_winner_trains_with_the_options_that_its_trial_found(tmp_path: Path) -> None:
    line = lines.read(["-m", "data=iris", "data.batch_size=auto", "lr_find=use", "sweep=random", "net.dropout=0.1,0.2"])
    study = opened(tmp_path, "random")
    best = Trial(0, ["net.dropout=0.1"], {}, "complete", 0.5, found=["++data.batch_size=64", "++lr_find=false"])
    runner: Any = Noting()
    with pytest.raises(UserError, match="that is all"):
        command.retrain_winner(line, study, Record([], "val/loss", "min", [best]), runner, tmp_path)
    cfg = config.compose([word for word in runner.words if not word.startswith("hydra.run.dir")])
    assert (cfg.data.batch_size, cfg.lr_find, cfg.net.dropout) == (64, False, 0.1)


def test_a_trial_says_what_it_found(tmp_path: Path) -> None:
    trial = Trial(0, [], {}, folder=str(tmp_path))
    told = {"seconds": {"fit": 1.0}, "epochs": 1, "metrics": {}, "found": ["++data.batch_size=64"]}
    (tmp_path / "results.json").write_text(json.dumps(told))
    trial.end("")
    assert trial.found == ["++data.batch_size=64"]


def test_a_sweep_folder_can_be_moved(tmp_path: Path) -> None:
    """Also that of a search, whose study knows the folders of its trials."""
    study = opened(tmp_path / "here", "random")
    trial = study.claim()
    assert trial is not None
    trial.folder, trial.value, trial.state = str(tmp_path / "here" / "0-mlp"), 0.5, "complete"
    study.tell(trial)
    Record([], "val/loss", "min", study.trials()).write(tmp_path / "here")
    assert study.trials()[0].folder == str(tmp_path / "here" / "0-mlp")
    (tmp_path / "here").rename(tmp_path / "there")
    for trials in (records.read(tmp_path / "there").trials, opened(tmp_path / "there", "random").trials()):
        assert [trial.folder for trial in trials] == [str(tmp_path / "there" / "0-mlp")]
    assert str(tmp_path) not in (tmp_path / "there" / "sweep.json").read_text()
