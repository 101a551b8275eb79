"""A grid whose trials are jobs leaves what a local one does: by submitit on this machine, and by a stand-in for it."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_runs import Train
from sweep_runs import QUICK, start, sweep_folder
from waiting import wait_for

from dlzoo.errors import UserError
from dlzoo.sweep import channel, cluster, reports, worker
from dlzoo.sweep import record as records
from dlzoo.sweep.channel import EpochReport, TrialEnd

LAUNCHER = "hydra/launcher=submitit_local"


class StandIn:
    """A job that is run in this process when it is first looked at, and has ended when it is looked at again."""

    state = "TIMEOUT"
    paths = SimpleNamespace(stderr="7.err")

    def __init__(self, number: int, call: Callable[[], None]) -> None:
        self.job_id = f"7_{number}"
        self.call: Callable[[], None] | None = call

    def done(self) -> bool:
        call, self.call = self.call, None
        if call is not None:
            call()
        return call is None


class Executor:
    """Submits stand-ins for jobs.

    Args:
        lost: the numbers of those that never run.
    """

    def __init__(self, lost: Sequence[int] = ()) -> None:
        self.lost = lost
        self.submitted: list[Path] = []

    def map_array(self, function: Any, *arguments: Iterable[Any]) -> list[StandIn]:
        calls = [lambda each=each: function(*each) for each in zip(*arguments, strict=True)]
        self.submitted += [Path(each[1]) for each in zip(*arguments, strict=True)]
        return [StandIn(i, (lambda: None) if i in self.lost else call) for i, call in enumerate(calls)]


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Executor:
    """In place of submitit's; the launcher's config is the only thing of hydra-submitit-launcher that is used."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    stand_in = Executor()
    monkeypatch.setattr(cluster, "executor_of", lambda *_, **__: stand_in)
    monkeypatch.setattr(cluster, "POLL_INTERVAL", 0.0)
    monkeypatch.setattr(cluster, "DELAY", 0.0)
    monkeypatch.setattr(channel, "_send", None)
    return stand_in


def check_values(trial: records.Trial, num_epochs: int) -> None:
    """The value is the best of the run's epochs, each of which was trained once."""
    with (Path(trial.folder) / "metrics.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [int(row["epoch"]) for row in rows] == [*range(1, num_epochs + 1)]
    assert trial.value == pytest.approx(max(float(row["val/accuracy"]) for row in rows), rel=1e-5)
    assert (trial.epochs, trial.state) == (num_epochs, "complete")


@pytest.mark.reliability
def test_jobs_outlive_the_grid_and_are_waited_for_when_it_resumes(tmp_path: Path) -> None:
    """With submitit itself, whose local executor starts processes."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    overrides = (LAUNCHER, *QUICK, "optimizer.lr=1e-2,-1", "trainer.max_epochs=20", "resume=auto")
    process = start(tmp_path, *overrides)
    pattern = f"multirun/*/*/0-*/{reports.FILE}"
    wait_for(lambda: [*tmp_path.glob(pattern)], goes_on=lambda: process.poll() is None)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process = start(tmp_path, *overrides)
    out, err = process.communicate()
    assert process.returncode == 2, err
    assert "error: trial 1 (optimizer.lr=-1): model=mlp or its optimizer cannot be built" in err
    assert "Traceback" not in err
    assert "all runs" in out
    folder = sweep_folder(tmp_path)
    done, failed = records.read(folder).trials
    check_values(done, 20)
    assert failed.state == "failed"
    assert (folder / "sweep.csv").is_file()
    log = (Path(done.folder) / "log.txt").read_text()
    assert "resuming" not in log, "the first job ran to its end"
    lines = (Path(done.folder) / reports.FILE).read_text().splitlines()
    assert len(lines) == 21


def test_a_grid_of_jobs_ends_with_the_table_and_resumes(train: Train, tmp_path: Path, executor: Executor) -> None:
    executor.lost = [1]
    words = ["-m", LAUNCHER, "hydra.launcher.timeout_min=5", *QUICK, "optimizer.lr=1e-3,1e-2,1e-1", "resume=auto"]
    done = train(*words)
    assert done.code == 2, done.err
    assert "submitted 3 jobs: 7_0, 7_1, 7_2" in done.out
    assert "error: trial 1 (optimizer.lr=0.01): its job 7_1 ended without a result (TIMEOUT); see 7.err" in done.err
    assert "3 trials (2 complete, 1 failed)" in done.out
    folder = sweep_folder(tmp_path)
    for trial in records.read(folder).trials[::2]:
        check_values(trial, 2)
    assert not [word for word in records.read(folder).words if "launcher" in word], "a local grid may resume it"
    executor.lost = []
    executor.submitted.clear()
    again = train(*words)
    assert again.code == 0, again.err
    assert "2 of 3 trials are done" in again.out
    assert [path.name[0] for path in executor.submitted] == ["1"]
    states = {trial.number: trial.state for trial in records.read(folder).trials}
    assert states == dict.fromkeys(range(3), "complete")
    assert {"parallel_coordinates.png", "importance.png"} <= {path.name for path in folder.iterdir()}


def report(epoch: int, value: float) -> EpochReport:
    return EpochReport(epoch, 3, "val/accuracy", "max", value, 0.5, "val/loss")


def test_a_new_grid_in_the_folder_of_another_reads_none_of_its_reports(tmp_path: Path, executor: Executor) -> None:
    messages: list[object] = []
    job = cluster.Job([], tmp_path, lambda epoch: bool(messages.append(epoch)), messages.append)
    executor.lost = [0]
    for resumes in (True, False):
        reports.append(tmp_path, report(1, 0.5))
        cluster.run([job], executor, resumes=resumes)
    assert messages[0] == report(1, 0.5), "of a job that may still run"
    assert [isinstance(message, TrialEnd) for message in messages] == [False, True, True]


@pytest.mark.parametrize(("value", "stops"), [(0.5, False), (math.nan, True), (-math.inf, True)])
def test_a_job_stops_by_itself_at_a_metric_that_is_not_finite(
    value: float, stops: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = []

    def run(overrides: Sequence[str], folder: Path) -> TrialEnd:
        replies.append(channel.report(report(1, value)))
        return TrialEnd("")

    monkeypatch.setattr(channel, "_send", None)
    monkeypatch.setattr(worker, "run", run)
    cluster.TrialJob()([], tmp_path)
    assert replies == [stops]
    sent, end = reports.Reader(tmp_path).new()
    assert repr(sent) == repr(report(1, value))
    assert end == TrialEnd("")


def test_a_job_that_was_stopped_says_nothing_of_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster may start it again: then it resumes, and reports on from there."""
    monkeypatch.setattr(channel, "_send", None)
    monkeypatch.setattr(worker, "run", lambda *_: TrialEnd("exit code 143", exit_code=143))
    with pytest.raises(SystemExit) as left:
        cluster.TrialJob()([], tmp_path)
    assert left.value.code == 143
    assert reports.state(tmp_path) == "unfinished"
    pytest.importorskip("submitit")
    again = cluster.TrialJob().checkpoint(["seed=1"], tmp_path)
    assert again.args == (["seed=1", "resume=auto"], tmp_path)


def test_a_line_that_is_being_written_is_read_when_it_is_complete(tmp_path: Path) -> None:
    reports.append(tmp_path, report(1, 0.5))
    path = tmp_path / reports.FILE
    line = path.read_text()
    path.write_text(line + line[:20])
    reader = reports.Reader(tmp_path)
    assert [*reader.new()] == [report(1, 0.5)]
    path.write_text(line + line)
    assert [*reader.new()] == [report(1, 0.5)]
    assert not [*reader.new()]


def forged(content: object) -> str:
    return json.dumps({**report(1, 0.5)._asdict(), **content}) if isinstance(content, dict) else str(content)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", {"epoch": -1}, {"metric": 1}, {"mode": "up"}, {"value": "0.5"}, {"tie_break": None}, {"reason": 3}],
)
def test_reports_that_no_trial_writes_are_refused(content: object, tmp_path: Path) -> None:
    (tmp_path / reports.FILE).write_text(forged(content) + "\n")
    with pytest.raises(UserError, match=reports.FILE):
        reports.state(tmp_path)


def test_a_forged_end_completes_no_trial(tmp_path: Path) -> None:
    reports.append(tmp_path, TrialEnd(""))
    assert reports.state(tmp_path) == "failed", "there are no results"
    (tmp_path / "results.json").write_text('{"status": "finished"}')
    assert reports.state(tmp_path) == "failed", "they lack the metrics"
    content = {"status": "finished", "epochs": 2, "metrics": {}, "seconds": {"fit": 1.0}}
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert reports.state(tmp_path) == "complete"


def test_reports_are_not_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "run" / reports.FILE).symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="links outside"):
        reports.state(tmp_path / "run")


def test_no_pickle_of_an_earlier_submission_is_met(tmp_path: Path) -> None:
    """Submitit loads the pickles in its folder, which a stranger may have put there."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    options = {"submitit_folder": str(tmp_path / ".submitit" / "%j"), "tasks_per_node": 1, "_target_": "…"}
    (tmp_path / ".submitit").mkdir()
    executor: Any = cluster.executor_of("submitit_local", options, tmp_path, has_own_folder=False)
    assert executor.folder == tmp_path / ".submitit-2" / "%j"
    executor = cluster.executor_of("submitit_local", options, tmp_path, has_own_folder=True)
    assert executor.folder == tmp_path / ".submitit" / "%j"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((LAUNCHER, "sweep=tpe"), "a search needs reports from its trials while they run"),
        ((LAUNCHER, "sweep.jobs=2"), "sweep.jobs is the number of worker processes"),
        ((LAUNCHER, "hydra.launcher.tasks_per_node=2"), "trainer=ddp trainer.devices=2"),
        ((LAUNCHER, "hydra.launcher.nodes=2"), "only one node"),
        ((LAUNCHER, "hydra.launcher.partition=gpu"), "hydra.launcher.partition: Hydra has no such setting"),
        (("hydra/launcher=submitit_slurm",), "hydra/launcher=submitit_slurm: Could not detect"),
        (("hydra/launcher=submitit_lsf",), "hydra/launcher=submitit_slurm"),
    ],
)
def test_mistakes(words: tuple[str, ...], said: str, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    monkeypatch.setenv("PATH", "")  # without srun
    done = train("-m", *words, "seed=0,1")
    assert (done.code, said in done.err, done.err.count("\n")) == (2, True, 1), done.err
