"""Grids as real processes: the final table, failing trials, and the files that a grid leaves."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from small_runs import Train
from sweep_runs import QUICK, start, sweep_folder
from tensorboard import context
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups
from tiny_runs import board
from waiting import wait_for

from dlzoo.commands import best
from dlzoo.errors import UserError
from dlzoo.sweep import record as records
from dlzoo.sweep import report as sweep_report
from dlzoo.sweep.channel import EpochReport
from dlzoo.sweep.record import Record, Trial


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A grid with a tensorboard logger, and what it printed."""
    folder = tmp_path_factory.mktemp("grid")
    overrides = ("optimizer=sgd,adam", "optimizer.lr=1e-3,1e-2", "net.dropout=0.2", "logger=tensorboard")
    process = start(folder, *QUICK, *overrides)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return sweep_folder(folder), out


def test_a_grid_ends_with_a_table_that_is_sorted_by_validation(grid: tuple[Path, str]) -> None:
    folder, out = grid
    record = records.read(folder)
    assert (record.metric, record.mode, len(record.trials)) == ("val/accuracy", "max", 4)
    table = out[out.index("all runs") :]
    ranks = [table.index(f"optimizer={t.params['optimizer']} optimizer.lr={t.params['optimizer.lr']}") for t in
             sorted(record.trials, key=lambda t: (-(t.value or 0.0), t.tie_break))]  # fmt: skip
    assert ranks == sorted(ranks)
    with (folder / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    values = [float(row["best val/accuracy"]) for row in rows]
    assert values == sorted(values, reverse=True)
    assert all(float(row["test/accuracy"]) > 0 for row in rows)
    assert {path.name for path in folder.iterdir()} >= {"parallel_coordinates.png", "importance.png"}


def test_the_value_of_a_trial_is_the_best_of_its_epochs(grid: tuple[Path, str]) -> None:
    for trial in records.read(grid[0]).trials:
        with (Path(trial.folder) / "metrics.csv").open() as file:
            epochs = [(-float(row["val/accuracy"]), float(row["val/loss"])) for row in csv.DictReader(file)]
        best = min(epochs)  # the highest accuracy; of several such epochs the lowest loss
        assert (trial.value, trial.tie_break) == pytest.approx((-best[0], best[1]), rel=1e-5)
        assert trial.best_epoch == epochs.index(best) + 1


def test_tensorboard_compares_all_runs_with_their_metrics(grid: tuple[Path, str]) -> None:
    request = api_pb2.ListSessionGroupsRequest(slice_size=10, allowed_statuses=[0, 1, 2, 3], include_metrics=True)
    found = backend_context.Context(board(grid[0]))
    groups = list_session_groups.Handler(context.RequestContext(), found, "", request).run().session_groups
    chosen = {(g.hparams["optimizer"].string_value, g.hparams["optimizer.lr"].number_value) for g in groups}
    assert chosen == {("SGD", 1e-3), ("SGD", 1e-2), ("Adam", 1e-3), ("Adam", 1e-2)}
    for group in groups:
        assert {value.name.tag for value in group.metric_values} >= {"val/best_accuracy", "test/accuracy", "val/loss"}


def test_the_command_of_the_winner_reproduces_it(
    grid: tuple[Path, str],
    train: Train,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    folder, _ = grid
    won = records.read(folder).best()
    assert won is not None
    monkeypatch.setattr(sys, "argv", ["best.py", str(folder)])
    with pytest.raises(SystemExit) as exited:
        best.main()
    assert exited.value.code == 0
    program, name, *overrides = shlex.split(capsys.readouterr().out)
    assert (program, name) == ("dlzoo", "train")
    done = train(*(override for override in overrides if not override.startswith("output_dir=")))
    assert done.code == 0, done.err
    (file,) = tmp_path.glob("outputs/*/*/results.json")
    assert json.loads(file.read_text())["metrics"] == won.metrics


def test_a_folder_without_a_sweep_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["best.py", str(tmp_path)])
    with pytest.raises(SystemExit) as exited:
        best.main()
    assert exited.value.code == 2
    assert "contains no sweep.json" in capsys.readouterr().err


def test_failing_trials_do_not_stop_the_sweep(tmp_path: Path) -> None:
    crash = "++callbacks.crash._target_=sweep_runs.Crash"
    overrides = (crash, "callbacks.crash.how=kill,raise,no", "net.activation=relu,relo", "net.hidden=[4]")
    process = start(tmp_path, *QUICK, *overrides)
    out, err = process.communicate()
    assert process.returncode == 2
    trials = {
        (t.params["callbacks.crash.how"], t.params["net.activation"]): t
        for t in records.read(sweep_folder(tmp_path)).trials
    }
    reasons = {key: trial.reason for key, trial in trials.items()}
    assert "SIGKILL" in reasons["kill", "relu"]
    assert "out of memory, so to speak" in reasons["raise", "relu"]
    assert all("did you mean 'relu'?" in reasons[how, "relo"] for how in ("kill", "raise", "no"))
    assert [key for key, trial in trials.items() if trial.state == "complete"] == [("no", "relu")]
    assert err.count("error: trial") == 5
    assert "Traceback" not in out + err
    assert "Traceback" in (Path(trials["raise", "relu"].folder) / "log.txt").read_text()


@pytest.mark.slow
def test_a_killed_grid_resumes_where_it_stopped(tmp_path: Path) -> None:
    overrides = (*QUICK, "optimizer.lr=1e-3,1e-2", "trainer.max_epochs=40", "resume=auto")
    process = start(tmp_path, *overrides)
    wait_for(lambda: [*tmp_path.glob("multirun/*/*/1-*/checkpoints/last.ckpt")], goes_on=lambda: process.poll() is None)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    first, second = records.read(sweep_folder(tmp_path)).trials
    assert (first.state, second.state) == ("complete", "running")
    written = (Path(first.folder) / "results.json").stat().st_mtime_ns
    process = start(tmp_path, *overrides)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "1 of 2 trials are done" in out
    assert [t.state for t in records.read(sweep_folder(tmp_path)).trials] == ["complete", "complete"]
    assert (Path(first.folder) / "results.json").stat().st_mtime_ns == written, "it ran again"
    assert "resuming" in (Path(second.folder) / "log.txt").read_text()
    with (Path(second.folder) / "metrics.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [*range(1, 41)]


@pytest.mark.usefixtures("trials_here")
def test_a_non_finite_loss_fails_the_trial(train: Train, tmp_path: Path) -> None:
    done = train("-m", *QUICK, "optimizer=sgd", "optimizer.lr=1e30,1e-2", "trainer.max_epochs=3")
    assert done.code == 2
    lost, fine = records.read(sweep_folder(tmp_path)).trials
    assert (lost.state, fine.state) == ("failed", "complete")
    assert lost.reason.startswith("step 2 (epoch 1, batch 2): the loss is ")
    assert "; first in the output of net." in lost.reason
    assert lost.epochs == 0, "there is nothing to train on"
    assert lost.reason in done.err


@pytest.mark.slow
def test_other_ranks_do_not_start_the_sweep_again(tmp_path: Path) -> None:
    ddp = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=1")
    process = start(tmp_path, *QUICK, *ddp, "seed=0,1")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    record = records.read(sweep_folder(tmp_path))  # one sweep only
    results = [json.loads((Path(t.folder) / "results.json").read_text()) for t in record.trials]
    assert [r["device"] for r in results] == ["2 x cpu"] * 2


@pytest.mark.parametrize("name", ["[/x]", "\x1b[2J", "a[red]b"])
def test_names_in_a_stored_record_are_shown_as_text(
    name: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(0, ["a=1"], {"a": 1}, state="complete", value=1.0, metrics={f"test/{name}": 1.0})
    again = Trial(1, ["a=1", "seed=1"], {"a": 1}, state="complete", value=1.0, metrics={f"test/{name}": 1.0})
    sweep_report.finish(Record([], name, "min", [trial]), tmp_path)
    sweep_report.finish(Record([], name, "min", [trial, again]), tmp_path)
    sweep_report.show_trial(trial, name)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    sweep_report.show_epoch(trial, EpochReport(1, 1, name, "min", 1.0))  # of a job of a cluster, from its file
    told = "".join(capsys.readouterr())
    assert "\x1b[2J" not in told
    assert name.replace("\x1b", "\\x1b") in told


@pytest.mark.parametrize("width", [60, 100, 200])
def test_the_table_fits_the_terminal(width: int, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    """What has no space is left out, not wrapped; the test metric that trials are compared by comes first."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("dlzoo.sweep.plots.draw", lambda *_: None)
    metrics = {"test/loss": 0.1, "test/accuracy": 0.9} | {f"test/auxiliary/metric_{i}": 0.5 for i in range(3)}
    words = [f"model=mlp optimizer.lr={i} net.hidden=[300,100]".split() for i in range(3)]
    trials = [Trial(i, words[i], {"lr": i}, state="complete", value=0.9, metrics=metrics) for i in range(3)]
    again = [Trial(i + 3, [*words[i], "seed=1"], {}, state="complete", value=0.9, metrics=metrics) for i in range(3)]
    for shown in (trials, trials + again):
        sweep_report.finish(Record([], "val/accuracy", "max", shown), tmp_path)
        table = capsys.readouterr().out.split("\n\n")[0].splitlines()[1:]
        assert max(map(len, table)) <= width
        (heading,) = [line for line in table if "best val/accuracy" in line]
        assert ("sweep.csv has all metrics" in table[-1]) == (width < 200)
        assert ("test/auxiliary/metric_2" in heading) == (width == 200)
        if width > 60:
            assert "test/accuracy" in heading
            assert "90.00" in table[2]


@pytest.mark.usefixtures("trials_here")
def test_a_quiet_grid_prints_its_table(tmp_path: Path, train: Train) -> None:
    done = train(
        "-m",
        *QUICK,
        "trainer.max_epochs=1",
        "net.dropout=0,0.2",
        "quiet=true",
        "hydra.sweep.dir=" + str(tmp_path / "grid"),
    )
    assert done.code == 0, done.err
    assert done.out.startswith("\nall runs")
    assert "trial 0" not in done.out
    record = records.read(tmp_path / "grid")
    assert not [word for word in record.words if word.startswith("quiet")], "the trials write logs"


@pytest.mark.parametrize("folder", ["a" * 5_000, "a\0b"])
def test_a_trials_folder_that_no_file_system_has(folder: str, tmp_path: Path) -> None:
    Record([], "val/loss", "min", [Trial(0, ["a=1"], {"a": 1})]).write(tmp_path)
    path = tmp_path / records.FILE
    plain = json.loads(path.read_text())
    plain["trials"][0]["folder"] = folder
    path.write_text(json.dumps(plain))
    with pytest.raises(UserError, match=r"trials\[0\].folder"):
        records.read(tmp_path)
