"""Benchmarks of whole programs: start-up, cached features, fast MNIST training, and the cost of plots."""

from __future__ import annotations

import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class RunOutcome(NamedTuple):
    """Outcome of a run: median seconds per epoch (without the first), seconds of the whole fit, test accuracy."""

    epoch: float
    fit: float
    accuracy: float


# Called in processes of their own, so that nothing is imported before; what they print last is what they measured


def import_lightning() -> None:
    """Print the seconds and CPU seconds of importing Lightning."""
    wall, cpu = time.perf_counter(), time.process_time()
    import lightning.pytorch  # noqa: F401

    print(time.perf_counter() - wall, time.process_time() - cpu)


def first_step() -> None:
    """Train up to the first step, and print the time and the CPU seconds of the process."""
    from dlzoo.commands import train
    from dlzoo.tasks.base import Task

    def stop(*_: Any) -> None:
        print(time.time(), time.process_time(), flush=True)
        os._exit(0)

    setattr(Task, "on_train_batch_start", stop)  # noqa: B010
    train.main()


def time_drawing() -> None:
    """Print the seconds of the fit and the test of a run, and those that its callbacks spent drawing samples."""
    from unittest import mock

    from dlzoo.callbacks.latent_report import LatentReport
    from dlzoo.callbacks.sample_animation import SampleAnimation
    from dlzoo.config import compose as config
    from dlzoo.training.run import run as run_training

    run_dir, *overrides = sys.argv[1:]
    spent = 0.0

    def timed(hook: Callable[..., None]) -> Callable[..., None]:
        def run(*given: Any) -> None:
            nonlocal spent
            started = time.perf_counter()
            hook(*given)
            spent += time.perf_counter() - started

        return run

    with (
        mock.patch.object(SampleAnimation, "add_frame", timed(SampleAnimation.add_frame)),
        mock.patch.object(SampleAnimation, "on_train_end", timed(SampleAnimation.on_train_end)),
        mock.patch.object(LatentReport, "on_test_end", timed(LatentReport.on_test_end)),
    ):
        seconds = run_training(config.compose(overrides), Path(run_dir), [])["seconds"]
    print(seconds["fit"] + seconds["test"], spent)


# The measurements


def startup(repeats: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """(seconds, CPU seconds) from launching ``python train.py`` to its first step, and of importing Lightning."""
    imports, totals = [], []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(repeats + 1):
            imports.append(last_line(import_lightning))
            started = time.time()
            stepped, cpu = last_line(first_step, f"output_dir='{folder}/{i}'")
            totals.append((stepped - started, cpu))
    return totals[1:], imports[1:]


def cached_features(data_dir: Path) -> tuple[RunOutcome, RunOutcome]:
    """Train a head on a frozen ResNet-20 with 1,000 digits, with the features cached and with them recomputed."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        write_backbone(weights)
        overrides = ["model=resnet20", f"net.weights='{weights}'", "transfer=features", "data=mnist"]
        overrides += ["data.train_per_class=100", "data.val_size=500", "trainer.max_epochs=6", "optimizer.lr=0.01"]
        cached, plain = (
            run([*overrides, f"data_dir='{data_dir}'", f"cache_features={cached}"], Path(folder) / cached)
            for cached in ("true", "false")
        )
    return cached, plain


def write_backbone(path: Path) -> None:
    """Write the weights of a ResNet-20 for digits."""
    import torch

    from dlzoo.nets.torchvision_net import TorchvisionNet
    from dlzoo.specs.inputs import ImageSpec
    from dlzoo.specs.targets import Classes

    torch.manual_seed(0)
    torch.save(TorchvisionNet(ImageSpec(1, 28, 28, Classes(("a", "b"))), name="resnet20").state_dict(), path)


def fast_mnist(data_dir: Path) -> tuple[RunOutcome, RunOutcome]:
    """``experiment=fast_mnist``, and scripts/plain_mnist.py, which has a single epoch."""
    with tempfile.TemporaryDirectory() as folder:
        ours = run(["experiment=fast_mnist", f"data_dir='{data_dir}'"], Path(folder) / "fast")
    command = [sys.executable, "scripts/plain_mnist.py", str(data_dir)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    seconds, accuracy = map(float, done.stdout.split())
    return ours, RunOutcome(seconds, seconds, accuracy)


def run(overrides: Sequence[str], run_dir: Path) -> RunOutcome:
    """Run ``python train.py`` with these overrides."""
    command = [sys.executable, "train.py", *overrides, "trainer.accelerator=cpu", f"hydra.run.dir='{run_dir}'"]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    results = json.loads((run_dir / "results.json").read_text())
    with (run_dir / "metrics.csv").open() as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    return RunOutcome(statistics.median(seconds[1:]), results["seconds"]["fit"], results["metrics"]["test/accuracy"])


def drawing(overrides: Sequence[str]) -> tuple[float, float]:
    """Seconds of fit and test of a run, and the seconds of these spent in the hooks that draw."""
    with tempfile.TemporaryDirectory() as folder:
        return last_line(time_drawing, folder, *overrides)


def last_line(function: Callable[[], None], *argv: str) -> tuple[float, float]:
    """Call a function of this module in a new process and return the two numbers on the last line of its output."""
    name = function.__name__
    command = [sys.executable, "-c", f"from scripts.bench_runs import {name}; {name}()", *argv]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    wall, cpu = done.stdout.splitlines()[-1].split()
    return float(wall), float(cpu)
