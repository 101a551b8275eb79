"""Many runs at once, many after each other, long ones, and data that do not fit into memory."""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import lightning.pytorch as pl
import psutil
import pytest
import torch
from killing import FORKS
from load_figures import NOON, ROOM, at_once, in_a_row, larger_than_memory, many_epochs
from small_runs import Outcome

from dlzoo.config.run_dir import claim
from dlzoo.utils import memory as free_memory

FEW = ("data=wine", "trainer.accelerator=cpu", "trainer.max_epochs=1", "callbacks=history", "logger=none")


def test_a_folder_is_claimed_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(20) as pool:
        found = [*pool.map(lambda _: claim(tmp_path / "new" / "run"), range(20))]
    assert {path.name for path in found} == {"run", *(f"run-{i}" for i in range(2, 21))}
    assert all(path.is_dir() for path in found)


def test_two_runs_in_one_second_have_a_folder_each(
    train: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hydra.core.utils.datetime", NOON)
    for seed in (1, 2):
        assert train(*FEW, f"seed={seed}").code == 0
    runs = [tmp_path / "outputs" / "noon" / name for name in ("noon-mlp-wine", "noon-mlp-wine-2")]
    assert [json.loads((run / "results.json").read_text())["seed"] for run in runs] == [1, 2]
    assert [(run / ".hydra" / "overrides.yaml").read_text().count("seed=") for run in runs] == [1, 1]


def test_two_grids_in_one_second_have_a_folder_each(
    train: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hydra.core.utils.datetime", NOON)
    monkeypatch.setattr("dlzoo.sweep.driver.Pool", mock.Mock(side_effect=KeyboardInterrupt))
    for _ in range(2):
        assert train("-m", *FEW, "net.hidden=[4],[8]").code == 130
    assert sorted(path.name for path in (tmp_path / "outputs" / "multirun" / "noon").iterdir()) == ["noon", "noon-2"]


def test_a_named_folder_holds_the_newest_run(train: Callable[..., Outcome], tmp_path: Path) -> None:
    for _ in range(2):
        assert train(*FEW, f"hydra.run.dir={tmp_path / 'mine'}").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine-earlier"]


def test_processes_that_were_started_together_share_a_folder(
    train: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omegaconf import OmegaConf

    from dlzoo.config import compose as config
    from dlzoo.config.run_dir import RunFolder

    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        cfg = config.compose_with_hydra([f"hydra.run.dir={tmp_path / 'run'}"])
        OmegaConf.update(cfg, "hydra.overrides.hydra", [])  # as if the folder were the usual one
        RunFolder().on_run_start(cfg)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_outputs_folder_that_cannot_be_made_is_named(train: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("")
    code, out, err = train(*FEW)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: output_dir: {tmp_path / 'outputs'}")
    assert "cannot be created" in err


def test_a_run_that_is_over_is_let_go(train: Callable[..., Outcome]) -> None:
    """A handler of SIGTERM that Lightning left would hold the trainer, the task and all data, and ignore the signal."""
    before = signal.getsignal(signal.SIGTERM)
    gc.collect()
    num_before = sum(issubclass(type(o), pl.Trainer) for o in gc.get_objects())
    assert train(*FEW).code == 0
    gc.collect()
    assert signal.getsignal(signal.SIGTERM) is before
    assert sum(issubclass(type(o), pl.Trainer) for o in gc.get_objects()) == num_before


def test_free_memory_is_the_least_of_what_machine_container_and_ulimit_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc, group = tmp_path / "proc", tmp_path / "cgroup" / "jobs" / "mine"
    (proc / "self").mkdir(parents=True)
    group.mkdir(parents=True)
    monkeypatch.setattr(free_memory, "PROC", proc)
    monkeypatch.setattr(free_memory, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (resource.RLIM_INFINITY,) * 2)
    assert free_memory.free_megabytes() == pytest.approx(psutil.virtual_memory().available / 2**20, rel=0.2)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2000 * 2**20))
    assert free_memory.free_megabytes() == 2000
    (proc / "self" / "cgroup").write_text("3:cpu:/\n0::/jobs/mine\n")
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("5\n")
    assert free_memory.free_megabytes() == 2000
    (group.parent / "memory.max").write_text(f"{1500 * 2**20}\n")
    (group.parent / "memory.current").write_text(f"{500 * 2**20}\n")
    assert free_memory.free_megabytes() == 1000
    (proc / "self" / "status").write_text("VmSize:\t  1024000 kB\nVmData:\t  102400 kB\n")
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (1200 * 2**20,) * 2)
    assert free_memory.free_megabytes() == 200


@pytest.mark.reliability
def test_ten_runs_at_once_have_ten_whole_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Path(os.environ["DLZOO_CACHE_DIR"])
    before = {*cache.rglob("*")}
    runs = at_once(tmp_path)
    assert len(runs) == 10
    reached: dict[str, set[str]] = {}
    for run in runs:
        results = json.loads((run / "results.json").read_text())
        assert (results["status"], results["epochs"]) == ("finished", 2)
        assert len((run / "metrics.csv").read_text().splitlines()) == 3
        for name in ("best", "last"):
            assert torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["epoch"] in (0, 1)
        assert results["checkpoints"]["last"] == "checkpoints/last.ckpt"
        reached.setdefault(results["model"], set()).add(json.dumps(results["metrics"], sort_keys=True))
    assert {model: len(metrics) for model, metrics in reached.items()} == {"mlp": 1, "text_cnn": 1}
    left = [path.name for path in {*cache.rglob("*")} - before if path.is_file()]
    assert all(name.endswith(".npz") and not name.startswith(".") for name in left)


@pytest.mark.reliability
def test_archives_are_unpacked_by_several_processes_at_once(tmp_path: Path) -> None:
    from small_images import ARCHIVE, BATCHES, SmallCIFAR10, check_cifar

    (tmp_path / "cifar-10-python.tar.gz").write_bytes(ARCHIVE)
    data = [SmallCIFAR10(data_dir=str(tmp_path), mirrors=[]) for _ in range(5)]
    for own in data:
        own.archive_md5 = SmallCIFAR10.archive_md5  # type: ignore[misc]  # each process packs another one
    running = [FORKS.Process(target=own.prepare_data) for own in data]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
    assert [process.exitcode for process in running] == [0] * 5
    assert sorted(os.listdir(tmp_path / "cifar-10-batches-py")) == sorted(BATCHES)
    check_cifar(data[0])


@pytest.mark.reliability
def test_ten_runs_in_one_process_do_not_add_up(tmp_path: Path) -> None:
    readings = in_a_row(tmp_path)
    early, late = readings[2], readings[-1]
    for name in ("tensors", "open files", "threads"):
        assert late[name] == early[name], (name, readings)
    assert late["objects"] < early["objects"] * 1.01
    assert late["memory"] < early["memory"] + 30


@pytest.mark.reliability
def test_a_thousand_epochs_grow_nothing_but_their_records(tmp_path: Path) -> None:
    early, late = many_epochs(tmp_path)
    for name in ("tensors", "open files", "threads", "files"):
        assert late[name] == early[name], (early, late)
    assert late["objects"] < early["objects"] + 1000
    assert late["memory"] < early["memory"] + 10
    assert late["disk"] < early["disk"] + 1


@pytest.mark.reliability
@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v and /proc")
def test_pictures_ten_times_larger_than_memory_train_batch_by_batch(tmp_path: Path) -> None:
    outcome = larger_than_memory(tmp_path)
    assert outcome["results"] is not None, outcome["said"][-2000:]
    assert outcome["results"]["status"] == "finished"
    assert outcome["results"]["metrics"]["test/accuracy"] > 0.9
    assert outcome["megabytes"] >= 10 * ROOM
    assert outcome["after"] - outcome["before"] < ROOM


@pytest.mark.reliability
@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v and /proc")
def test_pictures_that_do_not_fit_are_not_read_into_memory(tmp_path: Path) -> None:
    outcome = larger_than_memory(tmp_path, 2, ROOM, "data.placement=host")
    assert outcome["results"] is None
    assert "MB are free: set data.placement=workers" in outcome["said"]
    assert "Traceback" not in outcome["said"]
