"""What the benchmark measures by starting whole programs: start-up, kept features, MNIST in the fewest seconds, and
what pictures cost."""

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
from dlzoo import train
from dlzoo.training import launch
from dlzoo.training.run import run as run_training
from dlzoo.config import compose as config
from dlzoo.callbacks.sample_animation import Film
from dlzoo.callbacks.latent_report import GenerativePictures
spent = 0.0
def timed(hook):
    def run(*given):
        global spent
        started = time.perf_counter()
        hook(*given)
        spent += time.perf_counter() - started
    return run
for owner, name in ((Film, "shoot"), (Film, "on_train_end"), (GenerativePictures, "on_test_end")):
    setattr(owner, name, timed(getattr(owner, name)))
seconds = run_training(config.compose(sys.argv[2:]), Path(sys.argv[1]), [])["seconds"]
print(seconds["fit"] + seconds["test"], spent)
"""


class Reached(NamedTuple):
    """By a run: median seconds of its epochs but the first, seconds of the whole fit, test accuracy."""

    epoch: float
    fit: float
    accuracy: float


def startup(repeats: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """(seconds, CPU seconds) from starting ``python train.py`` to its first step, and of Lightning's import."""
    imports, totals = [], []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(repeats + 1):
            imports.append(last_line(IMPORT))
            started = time.time()
            reached, cpu = last_line(FIRST_STEP, f"output_dir='{folder}/{i}'")
            totals.append((reached - started, cpu))
    return totals[1:], imports[1:]


def kept_features(data_dir: Path) -> tuple[Reached, Reached]:
    """Training a head on a frozen ResNet-20 of 1,000 digits, with the features computed once, and in each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        subprocess.run([sys.executable, "-c", RANDOM_BACKBONE, str(weights)], cwd=ROOT, check=True)
        words = ["model=resnet20", f"net.weights='{weights}'", "transfer=features", "data=mnist"]
        words += ["data.train_per_class=100", "data.val_size=500", "trainer.max_epochs=6", "optimizer.lr=0.01"]
        kept, plain = (
            run([*words, f"data_dir='{data_dir}'", f"cache_features={kept}"], Path(folder) / kept)
            for kept in ("true", "false")
        )
    return kept, plain


def fast_mnist(data_dir: Path) -> tuple[Reached, Reached]:
    """``experiment=fast_mnist``, and scripts/plain_mnist.py, which has no epochs but one."""
    with tempfile.TemporaryDirectory() as folder:
        ours = run(["experiment=fast_mnist", f"data_dir='{data_dir}'"], Path(folder) / "fast")
    command = [sys.executable, "scripts/plain_mnist.py", str(data_dir)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    seconds, accuracy = map(float, done.stdout.split())
    return ours, Reached(seconds, seconds, accuracy)


def run(words: Sequence[str], run_dir: Path) -> Reached:
    """``python train.py`` with these words."""
    command = [sys.executable, "train.py", *words, "trainer.accelerator=cpu", f"hydra.run.dir='{run_dir}'"]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    results = json.loads((run_dir / "results.json").read_text())
    with (run_dir / "metrics.csv").open() as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    return Reached(statistics.median(seconds[1:]), results["seconds"]["fit"], results["metrics"]["test/accuracy"])


def drawing(words: Sequence[str]) -> tuple[float, float]:
    """Seconds of fit and test of a run, and of these the seconds in the hooks of `Film` and `GenerativePictures`."""
    with tempfile.TemporaryDirectory() as folder:
        return last_line(DRAWING, folder, *words)


def last_line(code: str, *argv: str) -> tuple[float, float]:
    """The two numbers on the last line that a Python program prints."""
    command = [sys.executable, "-c", code, *argv]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    wall, cpu = done.stdout.splitlines()[-1].split()
    return float(wall), float(cpu)
