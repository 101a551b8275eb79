"""PCA and k-means on MNIST beside scikit-learn's. ``python scripts/bench_scikit.py [rounds=5] [epochs=20]``

    rounds=5     fits of each, alternating
    epochs=20    passes of Lloyd's algorithm, of both

The CPU seconds, by one thread, of a run's whole fit, with its loop, its validation and its checkpoints, are compared
with those of scikit-learn's fit on the same rows, which lie in memory as float32: 64 components, and ten clusters from
one start of k-means++. Batches have 3,000 rows: the results are those of any size. The median ratio is told.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from dlzoo.commands import cli
from dlzoo.config import compose as config
from scripts import reliability
from scripts.bench_data import mnist_folder

COMMON = ["data=mnist", "data.batch_size=3000", "logger=none", "callbacks=[checkpoint]", "trainer.accelerator=cpu"]


@dataclass(frozen=True)
class Options:
    rounds: int = 5
    epochs: int = 20


def main() -> None:
    cli.execute(_main, __doc__)


def _main(argv: Sequence[str]) -> None:
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    options, _ = cli.parse(Options, argv)
    rows = []
    with mnist_folder() as (data_dir, data), threadpool_limits(1):
        torch.set_num_threads(1)
        common = [*COMMON, f"data_dir='{data_dir}'"]
        x = training_rows(common)
        for name, overrides, reference in cases(options.epochs):
            pairs = [
                (seconds_of([*common, *overrides, f"seed={i}"]), timed(reference(i), x)) for i in range(options.rounds)
            ]
            ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(a / b for a, b in pairs)
            rows.append((name, round(ours, 2), round(theirs, 2), round(ratio, 2)))
            print(f"{name}: {ours:.2f} s, scikit-learn {theirs:.2f} s, ratio {ratio:.2f}", flush=True)
    reliability.save(
        Path.cwd(),
        "scikit",
        title="PCA and k-means beside scikit-learn",
        command="python scripts/bench_scikit.py",
        columns=("fit", "dlzoo, s", "scikit-learn, s", "ratio"),
        rows=rows,
        note=f"Medians of {options.rounds} fits of each, alternating in one process, on {len(x):,} rows of {data}: CPU "
        "seconds of one thread. dlzoo's include the loop, a validation in "
        "each epoch and checkpoints.",
    )


def cases(epochs: int) -> list[tuple[str, list[str], Callable[[int], Any]]]:
    """Each fit with the overrides of its run and scikit-learn's estimator, of a seed."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    settings: dict[str, Any] = {"n_init": 1, "max_iter": epochs, "tol": 0}
    return [
        ("PCA, 64 components", ["model=pca", "net.num_components=64"], lambda seed: PCA(64)),
        (
            f"k-means, 10 clusters, {epochs} passes",
            ["model=kmeans", "net.num_starts=1", f"trainer.max_epochs={epochs}"],
            lambda seed: KMeans(10, random_state=seed, **settings),
        ),
    ]


def training_rows(overrides: list[str]) -> np.ndarray:
    """(N, 784), those that a run trains on."""
    from dlzoo.config.instantiate import build_data

    data: Any = build_data(config.compose(["model=pca", *overrides]).data)
    data.prepare_data()
    return (data.arrays("train").x.flatten(1).float() / 255).numpy()


def seconds_of(overrides: list[str]) -> float:
    """CPU seconds of the fit of a run."""
    import lightning.pytorch as pl

    from dlzoo.training.run import run as run_training

    seconds = []
    fit = pl.Trainer.fit

    def measured(*args: Any, **options: Any) -> None:
        started = time.process_time()
        fit(*args, **options)
        seconds.append(time.process_time() - started)

    with mock.patch.object(pl.Trainer, "fit", measured), contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        run_training(config.compose([*overrides, "test=false"]), Path(folder), [])
    return seconds[0]


def timed(estimator: Any, x: np.ndarray) -> float:
    started = time.process_time()
    estimator.fit(x)
    return time.process_time() - started


if __name__ == "__main__":
    main()
