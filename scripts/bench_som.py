"""Compares an epoch of ``model=som`` with an epoch of MiniSom on the same rows, in one process, one after the other.

    python scripts/bench_som.py [--rows N] [--json FILE]

Both use the same grid, rows and radius. Ours is a whole run: loader, trainer, progress bar, metrics.csv and a
validation in each epoch; its time is the difference of a long and a short run. MiniSom's is its method alone: it
computes the distances of one row at a time, ours those of a batch by one matrix product. The result of the batch map
does not depend on the size of the batches, so they are large. Times are of the processor, on one thread. Exit code 1
if an epoch of the batch map is less than five times as fast.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

TARGET = 5.0
EPOCHS = {"digits": (1, 41), "mnist": (1, 11)}
"""Of the short and the long run."""
CASES = {
    "digits, 20x20, batch": ("data=digits", "net.rows=20", "net.columns=20", "data.batch_size=1024"),
    "digits, 20x20, online": ("data=digits", "net.rows=20", "net.columns=20", "task.algorithm=online"),
    "mnist, 20x20, batch": ("data=mnist", "net.rows=20", "net.columns=20", "data.batch_size=1024"),
    "mnist, 20x20, online": ("data=mnist", "net.rows=20", "net.columns=20", "task.algorithm=online"),
}
QUIET = ("model=som", "trainer=cpu", "callbacks=[progress,history]", "logger=none", "test=false", "data.val_size=200")


def main(argv: Sequence[str] | None = None) -> None:
    import torch

    parser = argparse.ArgumentParser(prog="bench_som.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--rows", type=int, default=2000, help="training rows of MNIST, a tenth of each class")
    parser.add_argument("--json", type=Path, default=None, help="file for the figures")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    figures = {}
    print(f"{'':24}{'MiniSom':>12}{'dlzoo':>12}{'ratio':>8}   CPU seconds an epoch")
    for name, words in CASES.items():
        rows = (f"data.train_per_class={options.rows // 10}",) if "data=mnist" in words else ()
        peer = minisom_seconds((*QUIET, *words, *rows))
        ours = our_seconds((*QUIET, *words, *rows), *EPOCHS[name.partition(",")[0]])
        figures[name] = {"minisom": peer, "dlzoo": ours, "ratio": peer / ours}
        print(f"{name:24}{peer:12.3f}{ours:12.3f}{peer / ours:8.1f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    sys.exit(any(each["ratio"] < TARGET for name, each in figures.items() if "batch" in name))


def our_seconds(words: Sequence[str], short: int, long: int) -> float:
    """Of an epoch, from runs of ``short`` and ``long`` epochs."""
    from dlzoo.config import compose as config
    from dlzoo.training.run import run

    seconds = []
    for epochs in (1, short, long):  # the first one imports
        given = [*words, f"trainer.max_epochs={epochs}"]
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            started = time.process_time()
            run(config.compose(given), Path(folder), given)
            seconds.append(time.process_time() - started)
    return (seconds[2] - seconds[1]) / (long - short)


def minisom_seconds(words: Sequence[str]) -> float:
    """Of an epoch, after a few rows to warm up."""
    from dlzoo.config import compose as config
    from dlzoo.config.instantiate import build_data
    from scripts.rival_maps import scaled, with_settings

    cfg = config.compose(list(words))
    data: Any = build_data(cfg.data)
    data.prepare_data()
    data.setup("fit")
    rows = scaled(data, "train") / (255.0 if data.arrays("train").x.element_size() == 1 else 1.0)
    som = with_settings(cfg, rows.shape[1], 0)
    som.train(rows[:5], 1, use_epochs=True)
    started = time.process_time()
    if cfg.task.get("algorithm") == "online":
        som.train(rows, 1, use_epochs=True)
    else:
        som.train_batch_offline(np.ascontiguousarray(rows), 1)
    return time.process_time() - started


if __name__ == "__main__":
    main()
