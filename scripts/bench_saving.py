"""What does a checkpoint every 30 seconds cost? ``python scripts/bench_saving.py``

Short runs write checkpoints within epochs or after them; the median of their seconds, all that Lightning and the disk
do included, is set against callbacks.last_checkpoint.every_minutes=0.5. The table goes to results/reliability/.
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
    rows = [[name, *cost(words.split())] for name, words in RUNS.items()]
    path = reliability.save(
        ROOT,
        "saving",
        title="What a checkpoint every 30 seconds costs",
        command="python scripts/bench_saving.py",
        columns=["run", "parameters", "MB", "one checkpoint, s", "share of 30 s", "its CPU time, s", "share of 30 s"],
        rows=rows,
        note=f"Medians over the checkpoints of a run on {os.cpu_count()} cores, beside other work "
        f"(load {os.getloadavg()[0]:.1f}). All is counted: what Lightning gathers, writing, the digest, "
        "and waiting for the disk (fsync).",
    )
    print("\n".join(reliability.section(ROOT)))
    print(f"written to {path}", file=sys.stderr)


def cost(words: Sequence[str]) -> tuple[int, float, float, str, float, str]:
    """Parameters, megabytes of a checkpoint, the seconds that it takes and its CPU seconds, each as a share of 30 s."""
    from dlzoo.callbacks.last_checkpoint import LastCheckpoint
    from dlzoo.training.run import run as run_training

    laps: list[tuple[float, float]] = []
    save = LastCheckpoint.save

    def timed(self: LastCheckpoint, trainer: Any) -> None:
        started, cpu = time.perf_counter(), time.process_time()
        save(self, trainer)
        laps.append((time.perf_counter() - started, time.process_time() - cpu))

    with (
        tempfile.TemporaryDirectory() as name,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        mock.patch.object(LastCheckpoint, "save", timed),
    ):
        outcome = run_training(config.compose([*words, *COMMON.split()]), Path(name), [])
        last = Path(outcome["checkpoints"]["last"])
        size = sum(path.stat().st_size for path in last.parent.iterdir() if path.name.startswith("last."))
    kept = laps[len(laps) // 2 :]  # by then buffers are full, and there is a checkpoint before
    wall, cpu = (statistics.median(lap[i] for lap in kept) for i in (0, 1))
    return outcome["num_parameters"], size / 2 / 1e6, wall, f"{wall / SECONDS:.2%}", cpu, f"{cpu / SECONDS:.2%}"


if __name__ == "__main__":
    cli.execute(main, __doc__)
