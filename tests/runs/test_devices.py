"""Several processes learn what one process learns, tell the same figures, leave one folder, and survive together."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sweep_runs
import torch
from killing import differences, finish, left_by, words_of
from rank_nets import BAD_STEP
from rank_runs import QUICK, finish_ranks, start_ranks
from small_runs import Train
from waiting import wait_for

from dlzoo.distributed import launch as ranks
from dlzoo.errors import UserError
from dlzoo.sweep import record as records
from dlzoo.training import ranks as training_ranks

ROOT = Path(__file__).parents[2]
reliability = pytest.mark.reliability

CASES = {
    "odd": "model=mlp data.batch_size=251 optimizer=adam trainer.gradient_clip_val=0.5 "
    "trainer.accumulate_grad_batches=3",
    "weighted": "model=mlp data.batch_size=200 optimizer=sgd scheduler=onecycle task.l2=0.001 "
    "task.class_weights=balanced",
    "idle": "model=mlp data.batch_size=323 optimizer=adam",  # 1294 rows: the last two are one rank's
    "three": "model=lenet data.batch_size=250 optimizer=adam",
    "reconstruction": "model=autoencoder data.batch_size=250 callbacks=[history,checkpoint,measures]",
    "stateful": "model=gru data=air_passengers net.stateful=true data.window=8 data.batch_size=3",
    "values": "model=mlp data=synthetic data.kind=friedman data.batch_size=150 data.eval_batch_size=30",
}


def log(folder: Path) -> str:
    return (folder / "log.txt").read_text()


def assert_close(one: dict[str, Any], other: dict[str, Any], place: str) -> None:
    assert one.keys() == other.keys(), place
    for name, a in one.items():
        b = other[name]
        if isinstance(a, torch.Tensor):
            assert torch.allclose(a, b, rtol=0, atol=1e-6), f"{place}.{name}: {(a - b).abs().max()}"
        else:
            assert float(a) == pytest.approx(float(b), rel=2e-5, abs=2e-6), f"{place}.{name}"


@pytest.mark.parametrize("case", [c if c == "odd" else pytest.param(c, marks=reliability) for c in CASES])
def test_several_processes_learn_what_one_learns(case: str, tmp_path: Path) -> None:
    """Weights to 1e-6, and each figure of each epoch and of the test."""
    words = [*CASES[case].split(), *QUICK]
    words = [word for word in words if case not in ("reconstruction",) or word != QUICK[-1]]
    assert finish(tmp_path / "one", words) == 0, log(tmp_path / "one")
    world = 3 if case == "three" else 2
    assert finish_ranks(tmp_path / "several", words, world) == [0] * world, log(tmp_path / "several")
    one, several = left_by(tmp_path / "one"), left_by(tmp_path / "several")
    for name in ("best", "last"):
        assert_close(one["weights"][name], several["weights"][name], name)
    assert_close(one["metrics"], several["metrics"], "metrics")
    assert len(one["rows"]) == len(several["rows"]) == 2
    for row, other in zip(one["rows"], several["rows"], strict=True):
        assert_close(row, other, f"epoch {row['epoch']}")
    assert one["progress"] == several["progress"]
    assert f"{world} x cpu" in log(tmp_path / "several")


@pytest.mark.parametrize("mode", [pytest.param("stop", marks=reliability), "skip"])
def test_a_loss_that_is_infinite_on_one_rank_concerns_all(mode: str, tmp_path: Path) -> None:
    """Its gradients are finite there, so without a word between the ranks the others would take the step."""
    words = ["model=mlp", "net._target_=rank_nets.OneInfiniteLoss", f"on_nan={mode}", "optimizer=adam", *QUICK]
    codes = finish_ranks(tmp_path, words)
    said = log(tmp_path)
    if mode == "skip":
        assert codes == [0, 0], said
        assert "1 step was skipped" in said
        assert left_by(tmp_path)["progress"] == [2, 2 * -(-1294 // 32) - 1, "finished"]
    else:
        assert codes == [1, 1], said
        assert f"step {BAD_STEP} (epoch 1, batch {BAD_STEP})" in said
        assert (tmp_path / "run" / "nonfinite-rank1.ckpt").is_file()


@reliability
@pytest.mark.parametrize("family", ["gan", "averaged"])
def test_other_families_train_on_several_processes(family: str, tmp_path: Path) -> None:
    words = [*words_of(family), "trainer.max_epochs=1", "data.batch_size=300"]
    assert finish_ranks(tmp_path, words) == [0, 0], log(tmp_path)
    metrics = left_by(tmp_path)["metrics"]
    assert all(math.isfinite(value) for value in metrics.values())
    assert any(name.startswith("test/") for name in metrics)


@reliability
def test_a_search_over_runs_of_several_processes_is_one_search(tmp_path: Path) -> None:
    ddp = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=1")
    words = (*sweep_runs.QUICK, *ddp, "optimizer.lr=tag(log,interval(1e-3,1e-1))", "sweep=random", "sweep.trials=1")
    process = sweep_runs.start(tmp_path, *words, "sweep.winner=none")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    trials = records.read(sweep_runs.sweep_folder(tmp_path)).trials
    assert [t.state for t in trials] == ["complete"]
    assert json.loads((Path(trials[0].folder) / "results.json").read_text())["device"] == "2 x cpu"


# Stopping and going on

GOES_ON = [
    *words_of("classifier"),
    "data.batch_size=64",
    "trainer.devices=2",
]  # dropout, BatchNorm, augmentation and a schedule


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert finish_ranks(folder, GOES_ON) == [0, 0], log(folder)
    found = left_by(folder)
    first, second = found["random"]
    assert differences(first["random"]["torch"], second["random"]["torch"])  # each rank has a dropout of its own
    return found


def wait_for_checkpoint(folder: Path) -> None:
    wait_for((folder / "run" / "checkpoints" / "last.ckpt").exists, told=lambda: log(folder))


@reliability
def test_killed_ranks_go_on_as_if_nothing_had_been(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    processes = start_ranks(tmp_path, GOES_ON)
    wait_for_checkpoint(tmp_path)
    for process in processes:
        process.kill()
        process.join()
    assert finish_ranks(tmp_path, [*GOES_ON, "resume=auto"]) == [0, 0], log(tmp_path)
    assert log(tmp_path).count("resuming") == 1
    assert differences(undisturbed, left_by(tmp_path)) == []


@reliability
def test_a_signal_to_one_rank_stops_all_after_the_same_step(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    processes = start_ranks(tmp_path, GOES_ON)
    wait_for_checkpoint(tmp_path)
    os.kill(processes[1].pid, signal.SIGTERM)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [143, 143], log(tmp_path)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["status"] == "interrupted"
    assert log(tmp_path).count("stopped by SIGTERM") == 1
    assert finish_ranks(tmp_path, [*GOES_ON, "resume=auto"]) == [0, 0], log(tmp_path)
    assert differences(undisturbed, left_by(tmp_path)) == []


def command(folder: Path, *starter: str) -> subprocess.Popen[bytes]:
    """A run in a process group of its own, as from a terminal."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    words = [sys.executable, *starter, str(ROOT / "train.py"), "trainer=ddp", *GOES_ON, "resume=auto"]
    folder.mkdir(exist_ok=True)
    with (folder / "log.txt").open("a") as file:
        return subprocess.Popen(
            [*words, "hydra.run.dir=run"], cwd=folder, stdout=file, stderr=file, env=environment, start_new_session=True
        )


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


@reliability
def test_torchrun_starts_again_when_a_worker_is_killed(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    process = command(tmp_path, *TORCHRUN, "--max-restarts=1")
    wait_for_checkpoint(tmp_path)
    os.kill(children(process.pid)[1], signal.SIGKILL)
    assert process.wait(180) == 0, log(tmp_path)
    assert "resuming" in log(tmp_path)
    assert "warning" not in log(tmp_path)
    assert differences(undisturbed, left_by(tmp_path)) == []


@reliability
@pytest.mark.parametrize("starter", ["torchrun", "lightning"])
def test_sigterm_to_the_starter_ends_all_ranks(starter: str, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    process = command(tmp_path, *(TORCHRUN if starter == "torchrun" else ()))
    wait_for_checkpoint(tmp_path)
    ranks_ = children(process.pid)
    process.terminate()
    assert process.wait(60) != 0
    wait_for(lambda: not any(map(is_alive, ranks_)), told=lambda: log(tmp_path), seconds=20)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["status"] == "interrupted", log(tmp_path)
    assert finish_ranks(tmp_path, [*GOES_ON, "resume=auto"]) == [0, 0], log(tmp_path)
    assert differences(undisturbed, left_by(tmp_path)) == []


def test_a_killed_rank_is_a_sentence_on_the_others(tmp_path: Path) -> None:
    words = ["model=mlp", "data.batch_size=512", *QUICK, "trainer.max_epochs=100000"]
    processes = start_ranks(tmp_path, words)
    wait_for_checkpoint(tmp_path)
    processes[1].kill()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [1, -signal.SIGKILL], log(tmp_path)
    assert log(tmp_path).count("error: rank 0 stops because another process of the run has ended") == 1
    assert "Traceback" not in log(tmp_path)
    assert "another process" in json.loads((tmp_path / "run" / "results.json").read_text())["reason"]


@reliability
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("starter", ["torchrun", "lightning"])
def test_a_killed_process_of_a_command_is_a_sentence_on_the_other(starter: str, victim: int, tmp_path: Path) -> None:
    process = command(tmp_path, *(TORCHRUN if starter == "torchrun" else ()))
    wait_for_checkpoint(tmp_path)
    started = children(process.pid)
    both = started if starter == "torchrun" else [process.pid, *started]
    os.kill(both[victim], signal.SIGKILL)
    assert process.wait(90) != 0
    wait_for(lambda: not any(map(is_alive, both)), told=lambda: log(tmp_path), seconds=60)
    assert f"error: rank {1 - victim} stops because another process of the run has ended" in log(tmp_path)
    assert "gloo" not in log(tmp_path)
    assert starter == "torchrun" or "Traceback" not in log(tmp_path)  # torchrun has one of its own


# Which rank this is

STARTERS = {
    "torchrun": {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"},
    "srun": {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"},
    "lightning": {"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"},
    "a second machine": {"NODE_RANK": "1"},
    "alone": {},
    "alone in a job of SLURM": {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"},
}


@pytest.fixture(params=STARTERS)
def starter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in [n for n in os.environ if n.startswith(("SLURM_", "TORCHELASTIC", "GROUP_"))]:
        monkeypatch.delenv(name)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in STARTERS[request.param].items():
        monkeypatch.setenv(name, value)
    return request.param


def test_only_the_first_rank_makes_the_folder(starter: str) -> None:
    is_first = starter.startswith("alone")
    assert ranks.rank() == (0 if is_first else 1)
    assert ranks.num_started() == (2 if starter in ("torchrun", "srun") else 1)
    found = training_ranks.argv_of_rank(["model=mlp"])
    if is_first or starter == "lightning":  # which hands on the first one's folder
        assert found == ["model=mlp"]
    else:
        assert found[-1] == "hydra.output_subdir=null"
        assert "dlzoo-rank-" in found[1]
        assert training_ranks.argv_of_rank(["hydra.run.dir=here"]) == ["hydra.run.dir=here", "hydra.output_subdir=null"]


def test_a_sweep_is_started_once(starter: str) -> None:
    if starter not in ("torchrun", "srun"):
        assert "-m" in training_ranks.argv_of_rank(["-m", "seed=0,1"])
        return
    with pytest.raises(UserError, match="2 sweeps were started: start one without torchrun or srun"):
        training_ranks.argv_of_rank(["-m", "seed=0,1"])


def test_restarts_that_would_fail_are_foretold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = STARTERS["torchrun"] | {
        "RANK": "0",
        "TORCHELASTIC_MAX_RESTARTS": "1",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    training_ranks.argv_of_rank([])
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun" in capsys.readouterr().err
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "False")
    training_ranks.argv_of_rank([])
    assert capsys.readouterr().err == ""


# Mistakes


def test_torchrun_needs_a_trainer_for_its_processes(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (STARTERS["torchrun"] | {"RANK": "0", "LOCAL_RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    done = train("trainer=cpu", "logger=none", "callbacks=none")
    assert done.code == 2
    assert "2 processes were started, but the trainer has 1: add trainer=ddp" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trainer=fsdp", "trainer.accelerator=cpu"), "The strategy `fsdp` requires a GPU accelerator"),
        (("trainer=fsdp",), "PyTorch finds no GPU on this machine"),
        (
            ("model=gan", "trainer=fsdp"),
            "trainer=fsdp cannot train nets of which only a part is updated at a time",
        ),
        (("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=0"), "devices"),
    ],
)
def test_mistakes(words: tuple[str, ...], message: str, train: Train) -> None:
    if torch.cuda.is_available() and words == ("trainer=fsdp",):
        pytest.skip("there is a GPU")
    done = train(*words, "logger=none", "callbacks=none")
    assert (done.code, message in done.err, done.err.count("\n")) == (2, True, 1), done.err
