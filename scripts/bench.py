"""How much slower is a dlzoo run than a bare PyTorch loop? ``python scripts/bench.py [what…] [repeats=5]``

    mlp       784-64-128-64-10 with BatchNorm, Adam, batch 128, 55,000 images
    lenet     LeNet-5, otherwise the same
    mlp1024   mlp with batch 1024
    text_cnn  on 4,000 reviews as long as IMDB's, in batches of similar length
    bilstm    the same
    lstm      an LSTM of 32 units forecasts 20,000 hours from windows of 24, Adam, batch 128
    memory    peak memory of mlp
    startup   from launching train.py to its first step, minus the import of Lightning
    resnet18  ResNet-18 with the small stem on 32x32 images, batch 128: four steps per epoch; training time only
    vae       variational autoencoder 400-20, Adam, batch 128
    dcgan     DCGAN of 32 to 128 maps, two optimizers, batch 128: 40 steps per epoch; training time only
    features  a frozen ResNet-20 with cached features, against itself without caching (both dlzoo)
    fast      experiment=fast_mnist against scripts/plain_mnist.py: seconds of training, test accuracy
    pictures  the VAE for 20 epochs with its animation, grids and latents, against itself without the time for them

    repeats=5       pairs of epochs (of processes, for startup) after one warm-up; the median is reported
    out=bench.json  file for all measurements

"Ours" is `dlzoo.training.run.run` with the defaults of a run: Trainer, TensorBoard, metrics, checkpoints, all
callbacks. "Bare" is the loop of `run_bare`: the same net, loss and optimizer on float tensors in memory, validated
after each epoch. Each runs in a separate process, so that nothing that Lightning imports or sets affects the bare one.
They alternate epoch by epoch, so a busy machine slows both, and only ratios matter; each comes with the ratio of CPU
time, which excludes waiting for a core. An epoch of ours lasts from its start to the start of the next one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

from omegaconf import DictConfig

from dlzoo.commands import cli
from dlzoo.config import compose as config
from dlzoo.errors import UserError, nearest
from dlzoo.utils import files as paths
from scripts import bench_report, bench_runs
from scripts.bench_data import mnist_folder, write_hours, write_reviews
from scripts.bench_report import Row

ROOT = Path(__file__).resolve().parents[1]
PLAIN = ["optimizer.fused=null"]
"""Both sides use the kernels that a bare loop has by default; dlzoo's fused ones would hide the overhead."""
LEARNING = ["optimizer=adam", *PLAIN, "scheduler=none", "task.label_smoothing=0.0"]
MNIST = ["data=mnist", "data.val_size=5000", "data.eval_batch_size=512", "trainer=cpu", *LEARNING]
GENERATIVE = ["data=mnist", "data.val_size=5000", "data.batch_size=128", "data.eval_batch_size=512", "trainer=cpu"]
GENERATIVE += PLAIN
VAE = [*GENERATIVE, "model=vae", "task.num_importance_samples=1"]
MLP = [*MNIST, "model=mlp", "net.hidden=[64,128,64]", "net.norm=batch"]
RESNET = [*MNIST, "model=resnet18", "net.size=32", "trainer.limit_train_batches=4", "trainer.limit_val_batches=1"]

REVIEWS = ["data=text_csv", "data.text=review", "data.target=label", "data.batch_size=100", "data.max_length=200"]
REVIEWS += ["trainer=cpu", "optimizer=adam", *PLAIN, "scheduler=none"]
HOURS = ["data=series", "data.window=24", "data.batch_size=128", "trainer=cpu", "optimizer=adam"]
HOURS += [*PLAIN, "scheduler=none"]
TABLES = {"data=text_csv": write_reviews, "data=series": write_hours}

SPEED = {
    "mlp": ([*MLP, "data.batch_size=128"], 1.5),
    "lenet": ([*MNIST, "model=lenet", "data.batch_size=128"], 1.15),
    "mlp1024": ([*MLP, "data.batch_size=1024"], 1.2),
    "resnet18": ([*RESNET, "data.batch_size=128"], 1.05),
    "vae": (VAE, 1.15),
    "dcgan": ([*GENERATIVE, "model=dcgan", "trainer.limit_train_batches=40", "trainer.limit_val_batches=1"], 1.1),
    "text_cnn": ([*REVIEWS, "model=text_cnn"], 1.2),
    "bilstm": ([*REVIEWS, "model=bilstm"], 1.2),
    "lstm": ([*HOURS, "model=lstm"], 1.5),
}
"""The config of each comparison, and the target ratio of its epochs, or of training if epochs are shortened."""
MAX_MB = 250.0
MAX_STARTUP_SECONDS = 1.5
MAX_EPOCH_RATIO = 0.1
MAX_POINTS = 0.3
MAX_DRAWING_RATIO = 1.03
MEASUREMENTS = [*SPEED, "memory", "startup", "features", "fast", "pictures"]

Timing = dict[str, float]
"""Seconds: ``train`` (training batches), ``epoch`` (with validation and everything else), ``cpu`` (of the epoch)."""


@dataclass(frozen=True)
class Options:
    repeats: int = 5
    out: str = "bench.json"


def main(argv: Sequence[str]) -> None:
    what = [arg for arg in argv if "=" not in arg] or MEASUREMENTS
    options, _ = cli.parse(Options, [arg for arg in argv if "=" in arg])
    for name in what:
        if name not in MEASUREMENTS:
            raise UserError(f"{name}: unknown measurement; {nearest(name, MEASUREMENTS)}")
    if options.repeats < 1:
        raise UserError(f"repeats={options.repeats} must be at least 1")
    out = paths.writable(options.out, "out")
    with mnist_folder() as (data_dir, data):
        rows = [row for name in what for row in measure(name, options.repeats, data_dir)]
    environment = {**bench_report.environment_info(), "data": data, "repeats": options.repeats}
    bench_report.show(rows, environment)
    report = {**environment, "rows": [{**dataclasses.asdict(row), "met": row.met} for row in rows]}
    paths.write(out, (json.dumps(report, indent=2) + "\n").encode())


def measure(name: str, repeats: int, data_dir: Path) -> list[Row]:
    """Run a measurement and return its rows."""
    if name == "startup":
        return [startup(max(repeats, 3))]
    if name in WHOLE_RUNS:
        return WHOLE_RUNS[name](data_dir)
    overrides, target = SPEED.get(name, SPEED["mlp"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        if overrides[0] in TABLES:
            TABLES[overrides[0]](path)
            overrides = [*overrides, f"data.path='{path}'"]
        return compare(name, [*overrides, f"data_dir='{data_dir}'"], target, repeats)


def compare(name: str, overrides: Sequence[str], target: float, repeats: int) -> list[Row]:
    """Compare two processes that alternate."""
    if name == "memory":
        *_, ours_mb, bare_mb = alternate(overrides, repeats=1)
        return [Row(name, "peak", ours_mb, bare_mb, "MB", ours_mb - bare_mb, "MB", target=MAX_MB)]
    ours, bare, *_ = alternate(overrides, repeats)
    is_shortened = any("limit_train_batches" in override for override in overrides)
    training = Row(name, "training", *medians(ours, bare, "train"), "s", ratio(ours, bare, "train"), "x")
    if is_shortened:  # the fixed cost of an epoch is meant for many more steps
        return [dataclasses.replace(training, target=target)]
    epoch = Row(name, "epoch", *medians(ours, bare, "epoch"), "s", ratio(ours, bare, "epoch"), "x")
    return [training, dataclasses.replace(epoch, cpu_value=ratio(ours, bare, "cpu"), target=target)]


def medians(ours: Sequence[Timing], bare: Sequence[Timing], part: str) -> tuple[float, float]:
    return statistics.median(timing[part] for timing in ours), statistics.median(timing[part] for timing in bare)


def ratio(ours: Sequence[Timing], bare: Sequence[Timing], part: str) -> float:
    """The median ratio of adjacent pairs: a temporary slowdown of the machine affects both sides."""
    return statistics.median(a[part] / b[part] for a, b in zip(ours, bare, strict=True))


# Epochs


def alternate(overrides: Sequence[str], repeats: int) -> tuple[list[Timing], list[Timing], float, float]:
    """Timings of alternating epochs of ours and of the bare loop, and the peak memory (MB) of each process."""
    cfg = config.compose([*overrides, f"trainer.max_epochs={repeats + 1}"])
    timings: tuple[list[Timing], list[Timing]] = [], []
    with worker(run_ours, cfg) as ours, worker(run_bare, cfg) as bare:
        for _ in range(repeats + 1):
            for process, process_timings in zip((ours, bare), timings, strict=True):
                process.send("go")
                process_timings.append(process.recv())
        for process in (ours, bare):
            process.send("end")
        peaks = ours.recv(), bare.recv()
    return timings[0][1:], timings[1][1:], *peaks


@contextlib.contextmanager
def worker(body: Callable[[Connection, DictConfig], None], cfg: DictConfig) -> Iterator[Connection]:
    """Start a new process that runs ``body(connection, cfg)``; yields the connection to it."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=body, args=(there, cfg), daemon=True)
    process.start()
    there.close()  # so that recv() raises EOFError when the process has died
    try:
        yield here
    finally:
        here.close()
        process.join(timeout=60)


def run_ours(turns: Connection, cfg: DictConfig) -> None:
    """A full dlzoo run that waits for its turn before each epoch."""
    from dlzoo.training import trainer as training_trainer
    from dlzoo.training.run import run as run_training

    build_trainer = training_trainer.build_trainer

    def with_clock(*args: Any) -> Any:
        trainer: Any = build_trainer(*args)
        trainer.callbacks.insert(0, make_clock(turns))  # first, so that its hooks run before all others
        return trainer

    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        mock.patch.object(training_trainer, "build_trainer", with_clock),
    ):
        run_training(cfg, Path(folder), [])
    turns.recv()
    turns.send(peak_mb())


def make_clock(turns: Connection) -> Any:
    """A callback that waits for its turn before each epoch, and sends the timing when the next one starts."""
    from lightning.pytorch import Callback

    class Clock(Callback):
        watch: Stopwatch | None = None

        def on_train_epoch_start(self, *_: Any) -> None:
            self.on_train_end()
            turns.recv()
            self.watch = Stopwatch()

        def on_validation_start(self, *_: Any) -> None:
            if self.watch:
                self.watch.stop_train()

        def on_train_end(self, *_: Any) -> None:
            if self.watch:
                turns.send(self.watch.timing())

    return Clock()


class Stopwatch:
    """Starts when created."""

    def __init__(self) -> None:
        self.train = 0.0
        self.started, self.cpu_started = time.perf_counter(), time.process_time()

    def stop_train(self) -> None:
        self.train = time.perf_counter() - self.started

    def timing(self) -> Timing:
        epoch, cpu = time.perf_counter() - self.started, time.process_time() - self.cpu_started
        return {"train": self.train, "epoch": epoch, "cpu": cpu}


def run_bare(turns: Connection, cfg: DictConfig) -> None:
    """The baseline: the net, PyTorch, and a plain loop."""
    import torch

    from scripts.bench_bare import work

    bare, epoch = work(cfg), 0
    while turns.recv() == "go":
        watch = Stopwatch()
        bare.net.train()
        for x, y in bare.batches(epoch):
            bare.learn(x, y)
        watch.stop_train()
        bare.net.eval()
        with torch.inference_mode():
            bare.validate()
        turns.send(watch.timing())
        epoch += 1
    turns.send(peak_mb())


def peak_mb() -> float:
    """Peak memory of this process in MB."""
    with contextlib.suppress(OSError):
        # not getrusage, which may report the parent process
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


# Whole runs


def startup(repeats: int) -> Row:
    """Seconds from launching ``python train.py`` to its first training step, minus the import of Lightning."""
    totals, imports = bench_runs.startup(repeats)
    (ours, _), (bare, _) = (tuple(map(statistics.median, zip(*v, strict=True))) for v in (totals, imports))
    value, cpu_value = (statistics.median(a[k] - b[k] for a, b in zip(totals, imports, strict=True)) for k in (0, 1))
    return Row("startup", "to step 1", ours, bare, "s", value, "s", cpu_value=cpu_value, target=MAX_STARTUP_SECONDS)


def features(data_dir: Path) -> list[Row]:
    """Frozen features computed once (ours) or every epoch (bare)."""
    cached, plain = bench_runs.cached_features(data_dir)
    difference = 100 * abs(cached.accuracy - plain.accuracy)
    return [
        Row(
            "features", "epoch", cached.epoch, plain.epoch, "s", cached.epoch / plain.epoch, "x", target=MAX_EPOCH_RATIO
        ),
        Row(
            "features",
            "accuracy",
            100 * cached.accuracy,
            100 * plain.accuracy,
            "%",
            difference,
            "%",
            target=MAX_POINTS,
        ),
    ]


def fast(data_dir: Path) -> list[Row]:
    """experiment=fast_mnist against the script of most tutorials."""
    ours, plain = bench_runs.fast_mnist(data_dir)
    difference = 100 * (ours.accuracy - plain.accuracy)
    return [
        Row("fast", "training", ours.fit, plain.fit, "s", ours.fit / plain.fit, "x"),
        Row("fast", "accuracy", 100 * ours.accuracy, 100 * plain.accuracy, "%", difference, "%"),
    ]


def pictures(data_dir: Path) -> list[Row]:
    """The cost of the callbacks that draw samples, for a whole run including its test."""
    whole, drawing = bench_runs.drawing([*VAE, "trainer.max_epochs=20", f"data_dir='{data_dir}'"])
    rest = whole - drawing
    return [Row("pictures", "whole run", whole, rest, "s", whole / rest, "x", target=MAX_DRAWING_RATIO)]


WHOLE_RUNS = {"features": features, "fast": fast, "pictures": pictures}

if __name__ == "__main__":
    cli.execute(main, __doc__)
