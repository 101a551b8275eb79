"""Searches: interruption, shared studies, samplers and pruners."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path

import pytest
from small_runs import Train
from sweep_runs import QUICK, SEARCH, alive, open_study, start, sweep_folder
from waiting import wait_for

from dlzoo.sweep import record as records
from dlzoo.sweep.runner import Runner
from dlzoo.utils import checkpoint_files


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_an_interrupted_search_resumes(how: signal.Signals, tmp_path: Path) -> None:
    overrides = (*SEARCH, "sweep.trials=3", "trainer.max_epochs=40", "sweep.winner=none")
    process = start(tmp_path, *overrides)

    def second_trial_trains() -> bool:
        return any(tmp_path.glob("sweeps/*/1-*/metrics.csv"))

    wait_for(second_trial_trains, goes_on=lambda: process.poll() is None)
    process.send_signal(how)
    process.communicate()
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[how]
    (log,) = tmp_path.glob("sweeps/*/1-*/metrics.csv")
    wait_for(lambda: not alive(process.pid))
    assert len(log.read_text().splitlines()) - 1 < 40, "the trial of an interrupted sweep trained to its end"
    lost = checkpoint_files.read(log.parent / "checkpoints" / "last.ckpt")["dlzoo"]["overrides"]
    again = start(tmp_path, *overrides)
    out, err = again.communicate()
    assert again.returncode == 0, err
    assert "1 are done" in out
    trials = records.read(sweep_folder(tmp_path)).trials
    assert [t.state for t in trials] == ["complete"] * 3
    assert [t.number for t in trials] == [0, 1, 2]
    lost_override = next(word for word in lost if "optimizer.lr=" in word).lstrip("+")
    assert trials[1].words == [lost_override], "a lost trial is run again under its number"
    assert len({t.words[0] for t in trials}) == 3


class RaisesSigintOnDel:
    """Raises SIGINT in its destructor, where Python swallows the exception."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_is_not_lost_in_a_destructor(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)

    def stopped_before_a_trial() -> None:
        with Runner() as runner:
            RaisesSigintOnDel()
            runner.run(["model=mlp"], tmp_path, lambda epoch: False)

    def stopped_after_the_last() -> None:
        with Runner():
            RaisesSigintOnDel()

    for sweep in (stopped_before_a_trial, stopped_after_the_last):
        with pytest.raises(KeyboardInterrupt):
            sweep()
    assert [*tmp_path.iterdir()] == []
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
def test_two_processes_share_a_study(tmp_path: Path) -> None:
    overrides = (*SEARCH, "sweep.trials=5", "net.dropout=0.1,0.2", "trainer.max_epochs=6")
    both = [start(tmp_path, *overrides) for _ in range(2)]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    folder = sweep_folder(tmp_path)
    trials = records.read(folder).trials
    assert len(trials) == 5
    assert len({tuple(t.words) for t in trials}) == 5
    assert {t.state for t in trials} == {"complete"}
    done = [out.count("\ntrial ") + out.startswith("trial ") for out, _ in outputs]
    assert len(list(folder.glob("winner-*/results.json"))) == 1
    assert sum(" won; retraining" in out for out, _ in outputs) == 1
    assert min(done) >= 1, "both processes ran trials"


@pytest.mark.usefixtures("trials_here")
def test_repeated_values_are_not_run_again(train: Train, tmp_path: Path) -> None:
    done = train("-m", *QUICK, "sweep=random", "net.dropout=0.1,0.2", "sweep.trials=6", "sweep.winner=none")
    assert done.code == 0, done.err
    folder = sweep_folder(tmp_path)
    assert len(list(folder.glob("*/results.json"))) == 2
    record = records.read(folder)
    assert len(record.trials) == 6
    assert record.num_epochs == 4, "a repeated trial costs nothing"
    assert sum(trial.reason.startswith("same as trial ") for trial in record.trials) == 4


@pytest.mark.usefixtures("trials_here")
def test_bad_trials_are_pruned_and_only_the_winner_is_tested(train: Train, tmp_path: Path) -> None:
    overrides = ["sweep=hyperband", "optimizer.lr=tag(log,interval(1e-6,1e-1))", "sweep.trials=6"]
    overrides += ["trainer.max_epochs=9", "sweep.winner=train_val", "sweep.metric=val/accuracy"]
    done = train("-m", *QUICK, *overrides)
    assert done.code == 0, done.err
    folder = sweep_folder(tmp_path)
    record = records.read(folder)
    pruned = [t for t in record.trials if t.state == "pruned"]
    won = record.best()
    assert won is not None
    assert won.value == max(t.value or 0.0 for t in record.trials)
    assert pruned
    for trial in pruned:
        with (Path(trial.folder) / "metrics.csv").open() as file:
            assert len(list(csv.DictReader(file))) == trial.epochs < 9
        assert (trial.value or 0.0) <= won.value
    for trial in record.trials:
        assert not any(name.startswith("test/") for name in trial.metrics)
    results = json.loads((folder / f"winner-{won.number}" / "results.json").read_text())
    assert results["metrics"]["test/accuracy"] > 0
    assert results["epochs"] == won.best_epoch
    stored = checkpoint_files.read(folder / f"winner-{won.number}" / results["checkpoints"]["best"])
    assert won.best_epoch is not None
    assert stored["epoch"] == won.best_epoch - 1, "not chosen on rows that it was trained on"
    assert sum(stored["dlzoo"]["spec"]["target"]["counts"]) == 1438, "digits has 1438 rows for training and validation"


@pytest.mark.parametrize("method", ["tpe", "bayes"])
def test_every_method_learns_from_its_trials(method: str, tmp_path: Path) -> None:
    """After ten random trials the values differ from those of a random search."""
    found: dict[str, list[str]] = {}
    for name in (method, "random"):
        study = open_study(tmp_path / name, name)
        for _ in range(14):
            trial = study.claim()
            assert trial is not None
            trial.value, trial.state = abs(float(trial.params["x"]) - 0.7), "complete"
            study.tell(trial)
        found[name] = [trial.words[0] for trial in study.trials()]
    late = [abs(float(word.partition("=")[2]) - 0.7) for word in found[method][10:]]
    assert found[method][10:] != found["random"][10:]
    assert min(late) < 0.1


def test_a_random_trial_depends_on_its_number_alone(tmp_path: Path) -> None:
    one, other = open_study(tmp_path / "one", "random"), open_study(tmp_path / "other", "random")
    first = [one.claim().words for _ in range(3)]
    trial = other.claim()
    assert trial.words == first[0]
    trial.end("it was not run")
    other.tell(trial)
    assert open_study(tmp_path / "other", "random").claim().words == first[1]
    assert len(set(map(tuple, first))) == 3


@pytest.mark.usefixtures("trials_here")
def test_a_mistake_shared_by_all_trials_stops_a_search(train: Train, tmp_path: Path) -> None:
    done = train("-m", *SEARCH, "sweep.trials=50", "optimizer.betas=[2,3]")
    assert done.code == 2
    assert done.err.count("Invalid beta parameter") == 3
    assert len(list(tmp_path.glob("**/log.txt"))) == 3
