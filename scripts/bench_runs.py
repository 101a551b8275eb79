"""Benchmarks of whole programs: start-up, cached features, fast MNIST training, and the cost of plots."""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

IMPORT = """
import time
wall, cpu = time.perf_counter(), time.process_time()
import lightning.pytorch
print(time.perf_counter() - wall, time.process_time() - cpu)
"""
FIRST_STEP = """
import os, time
import dlzoo.train
from dlzoo.tasks.base import Task
def stop(self, batch, batch_idx):
    print(time.time(), time.process_time(), flush=True)
    os._exit(0)
Task.on_train_batch_start = stop
train.main()
"""
RANDOM_BACKBONE = """
import sys, torch
from dlzoo.nets.torchvision_net import TorchvisionNet
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes
torch.manual_seed(0)
net = TorchvisionNet(ImageSpec(1, 28, 28, Classes(("a", "b"))), name="resnet20")
torch.save(net.state_dict(), sys.argv[1])
"""


DRAWING = """
import sys, time
from pathlib import Path
from dlzoo import train
from dlzoo.training import launch
from dlzoo.training.run import run as run_training
from dlzoo.config import compose as config
from dlzoo.callbacks.sample_animation import SampleAnimation
from dlzoo.callbacks.latent_report import LatentReport
spent = 0.0
def timed(hook):
    def run(*given):
        global spent
        started = time.perf_counter()
        hook(*given)
        spent += time.perf_counter() - started
    return run
for owner, name in ((SampleAnimation, "shoot"), (SampleAnimation, "on_train_end"), (LatentReport, "on_test_end")):
    setattr(owner, name, timed(getattr(owner, name)))
seconds = run_training(config.compose(sys.argv[2:]), Path(sys.argv[1]), [])["seconds"]
print(seconds["fit"] + seconds["test"], spent)
"""


class RunOutcome(NamedTuple):
    """Outcome of a run: median seconds per epoch (without the first), seconds of the whole fit, test accuracy."""

    epoch: float
    fit: float
    accuracy: float


def startup(repeats: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """(seconds, CPU seconds) from launching ``python train.py`` to its first step, and of importing Lightning."""
    imports, totals = [], []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(repeats + 1):
            imports.append(last_line(IMPORT))
            started = time.time()
            first_step, cpu = last_line(FIRST_STEP, f"output_dir='{folder}/{i}'")
            totals.append((first_step - started, cpu))
    return totals[1:], imports[1:]


def cached_features(data_dir: Path) -> tuple[RunOutcome, RunOutcome]:
    """Train a head on a frozen ResNet-20 with 1,000 digits, with the features cached and with them recomputed."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        subprocess.run([sys.executable, "-c", RANDOM_BACKBONE, str(weights)], cwd=ROOT, check=True)
        overrides = ["model=resnet20", f"net.weights='{weights}'", "transfer=features", "data=mnist"]
        overrides += ["data.train_per_class=100", "data.val_size=500", "trainer.max_epochs=6", "optimizer.lr=0.01"]
        cached, plain = (
            run([*overrides, f"data_dir='{data_dir}'", f"cache_features={cached}"], Path(folder) / cached)
            for cached in ("true", "false")
        )
    return cached, plain


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
        return last_line(DRAWING, folder, *overrides)


def last_line(code: str, *argv: str) -> tuple[float, float]:
    """Run Python code and return the two numbers on the last line of its output."""
    command = [sys.executable, "-c", code, *argv]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    wall, cpu = done.stdout.splitlines()[-1].split()
    return float(wall), float(cpu)
