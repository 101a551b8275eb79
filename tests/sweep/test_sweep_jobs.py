"""Several trials at the same time leave what one after the other would: ``sweep.jobs=2``."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from small_runs import Train
from sweep_runs import QUICK, sweep_folder

from dlzoo.sweep import record as records
from dlzoo.sweep.record import Trial
from dlzoo.sweep.search import Search
from dlzoo.sweep.settings import Settings
from dlzoo.sweep.space import from_yaml


def check_trial(trial: Trial) -> None:
    """Its value is the best of its own epochs, so no message went to another trial."""
    with (Path(trial.folder) / "metrics.csv").open() as file:
        values = [(-float(row["val/accuracy"]), float(row["val/loss"])) for row in csv.DictReader(file)]
    assert -(trial.value or 0.0) == pytest.approx(min(values)[0], rel=1e-5)
    assert trial.epochs == len(values) == 2


def test_a_grid(train: Train, tmp_path: Path) -> None:
    """The last combination fails, which ends neither the grid nor its neighbour."""
    done = train("-m", "sweep.jobs=2", *QUICK, "optimizer.lr=1e-3,1e-1,-1")
    assert done.code == 2, done.err
    assert "error: trial 2 (optimizer.lr=-1): " in done.err
    record = records.read(sweep_folder(tmp_path / "outputs"))
    assert [(trial.number, trial.state) for trial in record.trials] == [(0, "complete"), (1, "complete"), (2, "failed")]
    first, second, _ = record.trials
    for trial in (first, second):
        check_trial(trial)
    began = [(Path(trial.folder) / ".hydra" / "config.yaml").stat().st_mtime for trial in (first, second)]
    ended = [(Path(trial.folder) / "results.json").stat().st_mtime for trial in (first, second)]
    assert max(began) < min(ended), "one after the other"
    assert "all runs" in done.out


@pytest.mark.slow
def test_a_search(train: Train, tmp_path: Path) -> None:
    words = ["-m", "sweep=random", "sweep.jobs=2", "sweep.trials=3", "sweep.winner=none", "sweep.metric=val/accuracy"]
    done = train(*words, *QUICK, "optimizer.lr=interval(1e-4,1e-1)")
    assert done.code == 0, done.err
    record = records.read(sweep_folder(tmp_path / "outputs"))
    assert [(trial.number, trial.state) for trial in record.trials] == [(n, "complete") for n in range(3)]
    assert len({trial.params["optimizer.lr"] for trial in record.trials}) == 3
    assert {"optimization_history.png", "slices.png"} <= {path.name for path in sweep_folder(tmp_path).iterdir()}
    for trial in record.trials:
        check_trial(trial)


def test_workers_of_one_process_leave_each_other_their_trials(tmp_path: Path) -> None:
    """A worker of a process that has died loses its trial to the next that asks."""
    space, peers = from_yaml({"optimizer.lr": {"low": 0.1, "high": 1.0}}), set[str]()
    settings = Settings(sampler="random", trials=2)

    def worker(peers: set[str] | None) -> Search:
        return Search(settings, space, "val/loss", "name", tmp_path, 2, peers)

    first, second = (worker(peers).claim() for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first.number, second.number) == (0, 1)
    assert worker(peers).claim() is None
    revived = worker(None).claim()  # same process id, other workers: a process that was restarted under this id
    assert revived is not None
    assert revived.number == 0


@pytest.mark.parametrize(
    ("word", "said"), [("sweep.jobs=0", "sweep.jobs=0 is too small"), ("sweep.jobs=9999", "9,999")]
)
def test_mistakes(word: str, said: str, train: Train) -> None:
    done = train("-m", word, "seed=0,1")
    assert (done.code, said in done.err) == (2, True), done.err
