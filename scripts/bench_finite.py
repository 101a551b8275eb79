"""How much does the check for finite losses and gradients cost per step? ``python scripts/bench_finite.py [epochs=6]``

    epochs=6    of the MLP and of the LeNet of scripts/bench.py (Adam, batch 128) on MNIST

One run per net, in which the check is active in every other block of `BLOCK` steps; the median step of both kinds is
compared. So both share a process, its memory and the load of the machine.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlzoo.commands import cli
from dlzoo.config import compose as config
from scripts import bench, reliability
from scripts.bench_data import mnist_folder

NETS = {"MLP 784-64-128-64-10 with BatchNorm": bench.SPEED["mlp"][0], "LeNet": bench.SPEED["lenet"][0]}
BLOCK = 10


@dataclass(frozen=True)
class Options:
    epochs: int = 6


def main() -> None:
    cli.execute(_main, __doc__)


def _main(argv: Sequence[str]) -> None:
    options, _ = cli.parse(Options, argv)
    rows = []
    with mnist_folder() as (data_dir, data):
        for name, overrides in NETS.items():
            checked, unchecked = (
                1e6 * statistics.median(timings) for timings in steps(overrides, options.epochs, str(data_dir))
            )
            rows.append((name, round(checked), round(unchecked), checked / unchecked))
            print(
                f"{name}: a step takes {checked:.0f} us, "
                f"without the check {unchecked:.0f} us: {checked / unchecked:.4f}"
            )
    reliability.save(
        Path.cwd(),
        "finite",
        title="Cost of the NaN check",
        command="python scripts/bench_finite.py",
        columns=("net", "a step, µs", "without the check, µs", "ratio"),
        rows=rows,
        note=f"Medians of alternating blocks of steps in one run, on {data}, load {os.getloadavg()[0]:.1f}.",
    )


def steps(overrides: list[str], epochs: int, data_dir: str) -> tuple[list[float], list[float]]:
    """Seconds of the steps with and without the check."""
    from dlzoo.training.nan_guard.guard import FiniteWatch
    from dlzoo.training.run import run as run_training

    timings: tuple[list[float], list[float]] = [], []
    originals = {name: getattr(FiniteWatch, name) for name in ("begin_batch", "check_gradients")}
    state: dict[str, Any] = {"started": 0.0, "block": 0}

    def begin_batch(self: Any, batch: Any, batch_idx: int) -> None:
        now = time.perf_counter()
        if batch_idx % BLOCK not in (0, 1):  # the first steps of a block are affected by the previous block
            timings[state["block"]].append(now - state["started"])
        state["started"], state["block"] = now, batch_idx // BLOCK % 2
        if not state["block"]:
            originals["begin_batch"](self, batch, batch_idx)

    def check_gradients(self: Any) -> None:
        if state["block"]:
            self.losses.clear()
        else:
            originals["check_gradients"](self)

    FiniteWatch.begin_batch, FiniteWatch.check_gradients = begin_batch, check_gradients  # type: ignore[method-assign]
    overrides = [*overrides, f"data_dir='{data_dir}'", f"trainer.max_epochs={epochs}"]
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        run_training(config.compose(overrides), Path(folder), [])
    return timings


if __name__ == "__main__":
    main()
