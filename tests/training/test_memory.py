"""Out of memory: what is said, and data.batch_size=auto, which looks for a size that fits."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import FORKS, main_in
from small_runs import Train, newest_run

from dlzoo.config import instantiate as build
from dlzoo.tasks.supervised import Supervised
from dlzoo.training import out_of_memory as memory
from dlzoo.training.tuning import batch_size
from dlzoo.training.tuning.batch_size import Search, Trial
from dlzoo.utils import checkpoint_files
from dlzoo.utils import memory as free_memory

DIGITS = ("model=mlp", "data=digits", "trainer=cpu", "trainer.max_epochs=2", "logger=none", "net.hidden=[8]")
PLAIN = (*DIGITS, "callbacks=[history,checkpoint]", "net.dropout=0.2", "augment=shift")


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A device that holds a training batch of so many rows, and no more."""

    def most(rows: int) -> None:
        step = Supervised.training_step

        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            if len(batch[0]) > rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total of …")
            return step(self, batch, batch_idx)

        training_step.__signature__ = step.__signature__  # type: ignore[attr-defined]
        monkeypatch.setattr(Supervised, "training_step", training_step)

    return most


def test_the_message_says_what_was_tried_and_what_to_change(train: Train, tmp_path: Path, fits: Any) -> None:
    fits(40)
    done = train(*PLAIN, "data.batch_size=64")
    assert done.code == 1
    assert "error: out of memory on cpu in training with data.batch_size=64: 1.50 GiB more were requested" in done.err
    assert "lower data.batch_size, or let data.batch_size=auto choose it" in done.err
    assert "Traceback" not in done.err
    results = json.loads((newest_run(tmp_path) / "results.json").read_text())
    assert results["status"] == "failed"
    assert results["reason"].startswith("out of memory on cpu")


def test_a_batch_of_the_validation_is_another_key(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(self: Any, batch: Any) -> Any:
        raise RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 3145728 bytes."
        )

    monkeypatch.setattr(Supervised, "measure", measure)
    done = train(*PLAIN, "data.eval_batch_size=77")
    assert done.code == 1
    assert "in validation or test with data.eval_batch_size=77: 3.0 MiB more were requested" in done.err
    assert "auto" not in done.err


@pytest.mark.parametrize("place", ["build_data", "build_task"])
def test_it_can_run_out_before_training(place: str, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise MemoryError("Unable to allocate 3.73 GiB for an array with shape (1000, 1000, 1000)")

    monkeypatch.setattr(build, place, fail)
    done = train(*PLAIN)
    assert done.code == 1
    assert "error: out of memory before training" in done.err
    assert "3.73 GiB more were requested" in done.err
    assert "Traceback" not in done.err


def test_other_errors_are_not_taken_for_it() -> None:
    assert not free_memory.is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert free_memory.is_out_of_memory(MemoryError("Unable to allocate 3.73 GiB for an array"))
    assert memory.requested_bytes("Unable to allocate 4.00 GiB for an array") == 4 * 2**30


@pytest.mark.parametrize(("most", "size"), [(100, 64), (40, 32), (5, 4)])
def test_auto_takes_what_fits(most: int, size: int, train: Train, tmp_path: Path, fits: Any, steady: None) -> None:
    fits(most)
    done = train(*PLAIN, "data.batch_size=auto")
    assert done.code == 0, done.err
    assert f"data.batch_size=auto: training with {size}; {2 * size} rows do not fit" in done.out
    folder = newest_run(tmp_path)
    assert json.loads((folder / "results.json").read_text())["batch_size"] == size
    assert f"batch_size: {size}\n" in (folder / ".hydra" / "config.yaml").read_text()
    manifest = checkpoint_files.read(folder / "checkpoints" / "last.ckpt")["dlzoo"]
    assert f"  batch_size: {size}\n" in manifest["config"]
    assert "data.batch_size=auto" not in manifest["overrides"]


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the rows are twice as fast: only memory and rows bound the size."""
    measure = batch_size.measure

    def by_size(size: int, *rest: Any) -> Trial | None:
        trial = measure(size, *rest)
        return trial and Trial(size, float(size), trial.num_bytes)

    monkeypatch.setattr(batch_size, "measure", by_size)


def test_the_run_with_auto_is_the_run_with_the_number(train: Train, tmp_path: Path, fits: Any, steady: None) -> None:
    fits(100)
    assert train(*PLAIN, "data.batch_size=auto").code == 0
    found = newest_run(tmp_path) / "checkpoints" / "last.ckpt"
    weights = checkpoint_files.read(found)["state_dict"]
    assert train(*PLAIN, "data.batch_size=64").code == 0
    given = checkpoint_files.read(newest_run(tmp_path) / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(torch.equal(weights[name], value) for name, value in given.items())
    fits(1000)
    again = train(*PLAIN, "data.batch_size=auto", "trainer.max_epochs=3", f"ckpt={found}")
    assert again.code == 0, again.err
    assert "training with" not in again.out, "the size is not looked for again"
    assert "batch_size: 64\n" in checkpoint_files.read(found)["dlzoo"]["config"]


def test_a_size_leaves_ten_steps_to_an_epoch(train: Train, steady: None) -> None:
    done = train(*PLAIN, "data.batch_size=auto")
    assert done.code == 0, done.err
    assert "training with 128; with 256 rows an epoch would have fewer than 10 steps" in done.out


def test_the_smallest_that_is_nearly_as_fast_is_taken() -> None:
    rates = {16: 100.0, 32: 180.0, 64: 195.0, 128: 198.0, 256: 200.0}
    assert Search([Trial(size, rate, 0) for size, rate in rates.items()]).size == 32
    assert Search([Trial(size, size, 0) for size in (16, 32, 64)]).size == 64


def test_memory_that_would_run_out_is_not_tried(train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a CPU nothing fails before the kernel ends the process: what the next size would take is estimated."""
    monkeypatch.setattr(memory, "available", lambda device: 1000 * 2**20)
    sizes = []

    def measure(size: int, *_: Any) -> Trial:
        sizes.append(size)
        return Trial(size, float(size), 9 * 2**20 * size)

    monkeypatch.setattr(batch_size, "measure", measure)
    done = train(*PLAIN, "data.batch_size=auto")
    assert sizes == [16, 32, 64], "of 1000 MiB 128 rows would take 1152, and 64 take 576"
    assert "training with 64; 128 rows would take too much of 1000.0 MiB of memory" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model=dqn", "data=cartpole"), "see task.batch_size"),
        (("model=gru", "data=air_passengers", "net.stateful=true"), "consecutive windows are cut by the batch size"),
        (("model=mlp", "data=digits", "data.batch_size=autto"), "must be an integer"),
    ],
)
def test_where_it_cannot_be_found(words: tuple[str, ...], message: str, train: Train) -> None:
    done = train("data.batch_size=auto", "trainer=cpu", *words)
    assert done.code == 2
    assert message in done.err


def limited(folder: Path, words: Sequence[str], num_bytes: int) -> None:
    """A run in a process that may take so much more memory than it has: ulimit -v."""
    taken = int(free_memory.process_memory()["VmSize"])
    assert taken is not None
    resource.setrlimit(resource.RLIMIT_AS, (taken + num_bytes, taken + num_bytes))
    main_in(folder, words)


def under_limit(folder: Path, words: Sequence[str], megabytes: int) -> tuple[int, str]:
    folder.mkdir(exist_ok=True)
    process = FORKS.Process(target=limited, args=(folder, [*words], megabytes * 2**20))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode, (folder / "log.txt").read_text()


def test_a_real_limit(tmp_path: Path) -> None:
    """1,293 rows of 20,000 hidden units are 100 MB in each of several tensors; with 250 MB more they do not fit."""
    words = ["model=mlp", "data=digits", "net.hidden=[20000]", "trainer=cpu", "trainer.max_epochs=1", "optimizer=sgd"]
    words += ["callbacks=checkpoint", "logger=none", "data.eval_batch_size=8"]
    code, said = under_limit(tmp_path / "much", [*words, "data.batch_size=2000"], 250)
    assert code == 1, said
    assert "out of memory on cpu in training with data.batch_size=2000" in said
    assert "MiB more were requested" in said
    assert "Traceback" not in said
    code, said = under_limit(tmp_path / "auto", [*words, "data.batch_size=auto"], 250)
    assert code == 0, said
    assert "data.batch_size=auto: training with" in said
