"""What does the watch over losses and gradients cost? ``python scripts/bench_finite.py [repeats=9] [out=…]``

    repeats=9   pairs of epochs, after one to warm up; the median counts
    out=results/reliability/finite.json

Two runs of the MLP of scripts/bench.py (784-64-128-64-10, BatchNorm, Adam, batch 128), each in a process of its own,
take turns, an epoch each: one as it is, one whose watch is taken out. Only the ratio of CPU time counts: of the
training batches of an epoch, and of the whole of it.
"""

from __future__ import annotations

import os
import sys

# A checkout need not be installed; and this folder must go at once, for its inspect.py is not Python's.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from omegaconf import DictConfig

from dlzoo import config
from dlzoo.commands import cli
from scripts import bench
from scripts.bench_data import mnist_folder

MOST = 1.02


@dataclass(frozen=True)
class Options:
    repeats: int = 9
    out: str = "results/reliability/finite.json"


def main() -> None:
    cli.execute(_main, __doc__)


def _main(argv: Sequence[str]) -> None:
    options, _ = cli.parse(Options, argv)
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    out = cli.writable(options.out, "out")
    with mnist_folder() as (data_dir, data):
        words = [*bench.MLP, "data.batch_size=128", f"data_dir='{data_dir}'"]
        laps = take_turns(words, options.repeats)
    pairs = list(zip(*laps, strict=True))
    ratios = {part: statistics.median(a[part] / b[part] for a, b in pairs) for part in ("train", "cpu")}
    told = {"data": data, "repeats": options.repeats, "ratios": ratios, "most": MOST} | bench.surroundings()
    cli.write(out, (json.dumps(told, indent=2) + "\n").encode())
    print(f"watched / not watched: {ratios['cpu']:.4f} of CPU time, {ratios['train']:.4f} of time in batches")


def take_turns(words: Sequence[str], repeats: int) -> tuple[list[bench.Lap], list[bench.Lap]]:
    cfg = config.compose([*words, f"trainer.max_epochs={repeats + 1}"])
    laps: tuple[list[bench.Lap], list[bench.Lap]] = [], []
    with bench.worker(bench.run_ours, cfg) as watched, bench.worker(run_unwatched, cfg) as free:
        for i in range(repeats + 1):
            both = list(zip((watched, free), laps, strict=True))
            for other, own in both if i % 2 else reversed(both):  # the second of a pair is no better off
                other.send("go")
                own.append(other.recv())
        for other in (watched, free):
            other.send("end")
            other.recv()
    return laps[0][1:], laps[1][1:]


def run_unwatched(turns: Connection, cfg: DictConfig) -> None:
    """The same without the hooks of the watch."""
    from dlzoo.callbacks.finite import FiniteWatch

    for hook in ("on_train_start", "on_train_batch_start", "on_before_backward"):
        setattr(FiniteWatch, hook, None)
    bench.run_ours(turns, cfg)


if __name__ == "__main__":
    main()
