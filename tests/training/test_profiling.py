"""profile=true: a trace that other tools open, and a table whose parts add up to the step."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Train, newest_run

from dlzoo.training import profiler as profiling
from dlzoo.training.profiler import StepProfiler

QUICK = ("trainer=cpu", "logger=none", "callbacks=checkpoint", "profile=true")


def parts(text: str) -> dict[str, tuple[float, float]]:
    """Milliseconds and share of each part of a step."""
    found = {}
    for line in text[text.index("one step, mean of") :].split("\n\n")[0].splitlines()[1:]:
        *name, ms, share = line.split()
        found[" ".join(name)] = (float(ms), float(share.rstrip("%")))
    return found


@pytest.mark.parametrize(
    "words", [("model=mlp", "trainer.max_epochs=1"), ("model=gan", "trainer.max_epochs=1", "data.batch_size=64")]
)
def test_a_run_leaves_a_trace_and_a_table(words: tuple[str, ...], train: Train, tmp_path: Path) -> None:
    done = train(*QUICK, *words)
    assert done.code == 0, done.err
    (text,) = tmp_path.glob("outputs/*/*/profile.txt")
    assert text.read_text().strip() in done.out
    told = parts(text.read_text())
    assert list(told) == [*profiling.PARTS, profiling.OTHER, "total"]
    assert all(told[name][0] > 0 for name in ("data loading", "forward and loss", "backward", "optimizer"))
    *own, whole = told.values()
    assert sum(ms for ms, _ in own) == pytest.approx(whole[0], abs=0.02)
    assert sum(share for _, share in own) == pytest.approx(100, abs=0.5)
    (trace,) = text.parent.glob("profile/*.pt.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    names = [event.get("name", "") for event in events]
    assert sum(name.startswith("ProfilerStep#") for name in names if name) >= profiling.NUM_TRACED
    assert any(name == "aten::addmm" for name in names)
    assert any("training_step" in name for name in names)


def test_training_is_not_changed(train: Train, tmp_path: Path) -> None:
    found = []
    for profile in ("true", "false"):
        assert train(*QUICK[:3], f"profile={profile}", "model=mlp", "net.dropout=0.1", "trainer.max_epochs=1").code == 0
        ckpt = newest_run(tmp_path) / "checkpoints" / "last.ckpt"
        found.append(torch.load(ckpt, weights_only=True)["state_dict"])
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_run_of_too_few_steps_says_so(train: Train, tmp_path: Path) -> None:
    done = train(*QUICK, "model=mlp", "trainer.max_epochs=1", "trainer.limit_train_batches=5")
    assert done.code == 0, done.err
    assert "profile=true: this run had 5 steps; at least 8 are needed" in done.out


def test_time_within_another_action_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Lightning nests them: the closure of the optimizer's step holds forward and backward."""
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    profiler: Any = StepProfiler(tmp_path)
    profiler.step = profiling.NUM_SKIPPED + profiling.NUM_TRACED  # the next one is timed

    def action(name: str, *inner: Any, seconds: float) -> Callable[[], None]:
        def act() -> None:
            profiler.start(name)
            for each in inner:
                each()
            clock[0] += seconds
            profiler.stop(name)

        return act

    action("[_TrainingEpochLoop].train_dataloader_next", seconds=1)()
    forward = action("[Strategy]SingleDeviceStrategy.training_step", seconds=4)
    backward = action("[Strategy]SingleDeviceStrategy.backward", seconds=8)
    step = action("[LightningModule]Supervised.optimizer_step", forward, backward, seconds=2)
    action("run_training_batch", step, seconds=16)()
    action("[Callback]Film.on_train_batch_end", seconds=32)()
    action("[LightningModule]Supervised.on_train_batch_end", seconds=64)()
    action("[Strategy]SingleDeviceStrategy.validation_step", seconds=1000)()  # between steps
    spent = {"data loading": 1, "forward and loss": 4, "backward": 8, "optimizer": 2, "callbacks": 32}
    assert profiler.spent == {"transfer and augmentation": 0} | spent
    assert profiler.total == 127
    assert profiler.num_timed == 1
