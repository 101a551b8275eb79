"""A search whose process is killed at any moment has the same outcome as an undisturbed one."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from optuna.storages.journal import JournalFileBackend

from dlzoo.config import compose as config
from dlzoo.errors import UserError
from dlzoo.sweep import command_line, driver, settings, space
from dlzoo.sweep import record as records
from dlzoo.sweep import search as search_module
from dlzoo.sweep.channel import EpochReport, TrialEnd
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
    """Stands in for SIGKILL: nothing is written after it."""


def open_search(folder: Path, method: str) -> Search:
    overrides, trials = METHODS[method]
    parsed = settings.read([*overrides, f"sweep.trials={trials}", "sweep.metric=val/loss"])
    return Search(parsed, space.from_yaml(SPACE), "val/loss", "study", folder, NUM_EPOCHS)


def loss(params: dict[str, Any], epoch: int) -> float:
    """The loss of a net that learns faster the closer its learning rate is to 0.03."""
    distance = abs(float(params["optimizer.lr"]) - 0.03) + (params["optimizer"] == "sgd") * 0.1
    return distance + float(params["data.batch_size"]) / 1000 + 1 / epoch


def run_search(study: Search) -> None:
    """Run a search with synthetic losses."""
    while (trial := study.claim()) is not None:
        for epoch in range(1, NUM_EPOCHS + 1):
            if not study.should_continue(
                trial, EpochReport(epoch, NUM_EPOCHS, "val/loss", "min", loss(trial.params, epoch))
            ):
                break
        if trial.state == "running":
            trial.state = "complete"
        study.tell(trial)


def outcome(study: Search) -> list[Any]:
    return [(t.number, t.words, t.state, t.value, t.best_epoch, t.epochs, t.reason) for t in study.trials()]


def undisturbed(folder: Path, method: str) -> list[Any]:
    study = open_search(folder, method)
    run_search(study)
    return outcome(study)


@pytest.fixture(autouse=True)
def _all_other_processes_are_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "_is_gone", lambda worker, me: worker != me)


def killed_at(folder: Path, method: str, write: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Search until a number of writes to the study's file; True if the search ended before that."""
    append, left = JournalFileBackend.append_logs, iter(range(write))

    def append_logs(self: Any, logs: Any) -> None:
        if next(left, None) is None:
            raise Killed
        append(self, logs)

    with monkeypatch.context() as patch:
        patch.setattr(JournalFileBackend, "append_logs", append_logs)
        try:
            run_search(open_search(folder, method))
        except Killed:
            return False
    return True


def kill_repeatedly(folder: Path, method: str, seed: int, max_writes: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Kill a search repeatedly until it completes; returns the number of kills. It must match an undisturbed search."""
    draw, kills = random.Random(seed), 0
    while not killed_at(folder, method, draw.randrange(3, max_writes), monkeypatch):
        kills += 1
    study = open_search(folder, method)
    assert study.claim() is None
    assert outcome(study) == undisturbed(folder.with_name(f"{folder.name}-whole"), method)
    return kills


@pytest.mark.parametrize("method", ["random", "hyperband"])
def test_a_search_killed_at_any_moment(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kill_repeatedly(tmp_path / "killed", method, 0, 120, monkeypatch) > 3


@pytest.mark.reliability
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("method", METHODS)
def test_every_method_killed_at_any_moment(
    method: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kill_repeatedly(tmp_path / "killed", method, seed, 60, monkeypatch) > 5


def test_searches_prune_and_complete_trials(tmp_path: Path) -> None:
    """Otherwise the tests above would cover little."""
    states = [trial[2] for trial in undisturbed(tmp_path, "hyperband")]
    assert {*states} == {"complete", "pruned"}


def test_the_epochs_of_a_search_can_be_limited(tmp_path: Path) -> None:
    epochs = [trial[5] for trial in undisturbed(tmp_path, "epochs")]
    assert epochs == [NUM_EPOCHS] * 5 + [50 - 5 * NUM_EPOCHS]


class RecordingRunner:
    """Stands in for the worker process and records the overrides."""

    def run(self, overrides: list[str], *_: Any) -> TrialEnd:
        self.overrides = overrides
        return TrialEnd("stopped by the test")


def test_the_winner_trains_with_the_options_that_its_trial_determined(tmp_path: Path) -> None:
    line = command_line.read(
        ["-m", "data=iris", "data.batch_size=auto", "lr_find=use", "sweep=random", "net.dropout=0.1,0.2"]
    )
    study = open_search(tmp_path, "random")
    best = Trial(0, ["net.dropout=0.1"], {}, "complete", 0.5, found=["++data.batch_size=64", "++lr_find=false"])
    runner: Any = RecordingRunner()
    with pytest.raises(UserError, match="stopped by the test"):
        driver.retrain_winner(line, study, Record([], "val/loss", "min", [best]), runner, tmp_path)
    cfg = config.compose([o for o in runner.overrides if not o.startswith("hydra.run.dir")])
    assert (cfg.data.batch_size, cfg.lr_find, cfg.net.dropout) == (64, False, 0.1)


def test_a_trial_records_the_options_that_its_run_determined(tmp_path: Path) -> None:
    trial = Trial(0, [], {}, folder=str(tmp_path))
    results = {"seconds": {"fit": 1.0}, "epochs": 1, "metrics": {}, "found": ["++data.batch_size=64"]}
    (tmp_path / "results.json").write_text(json.dumps(results))
    trial.end("")
    assert trial.found == ["++data.batch_size=64"]


def test_a_sweep_folder_can_be_moved(tmp_path: Path) -> None:
    """Including the folder of a search, whose study stores the folders of its trials."""
    study = open_search(tmp_path / "here", "random")
    trial = study.claim()
    assert trial is not None
    trial.folder, trial.value, trial.state = str(tmp_path / "here" / "0-mlp"), 0.5, "complete"
    study.tell(trial)
    Record([], "val/loss", "min", study.trials()).write(tmp_path / "here")
    assert study.trials()[0].folder == str(tmp_path / "here" / "0-mlp")
    (tmp_path / "here").rename(tmp_path / "there")
    for trials in (records.read(tmp_path / "there").trials, open_search(tmp_path / "there", "random").trials()):
        assert [trial.folder for trial in trials] == [str(tmp_path / "there" / "0-mlp")]
    assert str(tmp_path) not in (tmp_path / "there" / "sweep.json").read_text()
