"""How much does a checkpoint every 30 seconds cost? ``python scripts/bench_saving.py``

Short runs write checkpoints within or after epochs; their median time, including Lightning and the disk, is compared
with callbacks.last_checkpoint.every_minutes=0.5. The table is written to results/reliability/.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from dlzoo.commands import cli
from dlzoo.config import compose as config
from scripts import reliability

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 30
COMMON = "trainer.accelerator=cpu test=false logger=none"
SUPERVISED = "trainer.max_epochs=4 trainer.limit_val_batches=1 callbacks.last_checkpoint.every_n_steps=3"
RUNS = {
    "LeNet-5, Adam": f"model=lenet {SUPERVISED}",
    "MLP of 10 million parameters, Adam": f"model=mlp net.hidden=[3100,3100] {SUPERVISED}",
    "DQN with a buffer of 100,000 rows": "model=dqn data=cartpole data.steps_per_epoch=30000 data.val_episodes=1 "
    "task.buffer_size=100000 task.learning_starts=1000000 trainer.max_epochs=7 ~callbacks.agents",
}


def main(argv: Sequence[str]) -> None:
    rows = [[name, *cost(overrides.split())] for name, overrides in RUNS.items()]
    path = reliability.save(
        ROOT,
        "saving",
        title="Cost of a checkpoint every 30 seconds",
        command="python scripts/bench_saving.py",
        columns=["run", "parameters", "MB", "one checkpoint, s", "fraction of 30 s", "CPU time, s", "fraction of 30 s"],
        rows=rows,
        note=f"Medians over the checkpoints of a run on {os.cpu_count()} cores, alongside other work "
        f"(load {os.getloadavg()[0]:.1f}). Everything is included: gathering the state, writing, the digest, "
        "and waiting for the disk (fsync).",
    )
    print("\n".join(reliability.section(ROOT)))
    print(f"written to {path}", file=sys.stderr)


def cost(overrides: Sequence[str]) -> tuple[int, float, float, str, float, str]:
    """Parameters, megabytes of a checkpoint, and its seconds and CPU seconds, each also as a fraction of 30 s."""
    from dlzoo.callbacks.last_checkpoint import LastCheckpoint
    from dlzoo.training.run import run as run_training

    timings: list[tuple[float, float]] = []
    save = LastCheckpoint.save

    def timed(self: LastCheckpoint, trainer: Any) -> None:
        started, cpu = time.perf_counter(), time.process_time()
        save(self, trainer)
        timings.append((time.perf_counter() - started, time.process_time() - cpu))

    with (
        tempfile.TemporaryDirectory() as name,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        mock.patch.object(LastCheckpoint, "save", timed),
    ):
        outcome = run_training(config.compose([*overrides, *COMMON.split()]), Path(name), [])
        path = outcome["checkpoints"]["last"]
        assert path is not None
        last = Path(path)
        size = sum(file.stat().st_size for file in last.parent.iterdir() if file.name.startswith("last."))
    later_timings = timings[len(timings) // 2 :]  # by then buffers are full and an earlier checkpoint exists
    wall, cpu = (statistics.median(timing[i] for timing in later_timings) for i in (0, 1))
    return outcome["num_parameters"], size / 2 / 1e6, wall, f"{wall / SECONDS:.2%}", cpu, f"{cpu / SECONDS:.2%}"


if __name__ == "__main__":
    cli.execute(main, __doc__)
