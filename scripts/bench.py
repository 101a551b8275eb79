"""How much slower is a run of ours than a bare PyTorch loop? ``python scripts/bench.py [what…] [repeats=5]``

    mlp       784-64-128-64-10 with BatchNorm, Adam, batch 128, 55,000 pictures
    lenet     LeNet-5, otherwise the same
    mlp1024   the first with batch 1024
    text_cnn  on 4,000 reviews as long as IMDB's, in batches of like length
    bilstm    the same
    lstm      an LSTM of 32 units forecasts 20,000 hours from windows of 24, Adam, batch 128
    memory    the most memory that the first takes
    startup   from starting train.py to its first step, less the import of Lightning
    resnet18  ResNet-18 with the small stem on pictures of 32x32, batch 128: four steps an epoch; the training counts
    vae       variational autoencoder 400-20, Adam, batch 128
    dcgan     DCGAN of 32 to 128 maps, two optimizers, batch 128: 40 steps an epoch; the training counts
    features  a frozen ResNet-20 whose features are kept, against itself without that (both ours)
    fast      experiment=fast_mnist against scripts/plain_mnist.py: seconds of training, test accuracy
    pictures  the VAE for 20 epochs with its film, grids and codes, against itself without the seconds for them

    repeats=5       pairs of epochs (of processes, for startup), after one to warm up; the median counts
    out=bench.json  where all figures go

Ours is `dlzoo.training.run.run` with the defaults of a run: Trainer, TensorBoard, metrics, checkpoints, all callbacks.
Bare is the loop of `run_bare`: the same net, loss and optimizer on float tensors in memory, validated after each epoch.
Each has a process of its own, so that the bare one pays for nothing that Lightning imports or sets. They take turns,
one epoch here, one there, so a busy machine slows both, and only ratios count; beside each stands the ratio of CPU
time, which does not count waiting for a core. An epoch of ours lasts from its start to the start of the next one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import platform
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
from scripts import bench_runs
from scripts.bench_data import mnist_folder, write_hours, write_reviews

ROOT = Path(__file__).resolve().parents[1]
PLAIN = ["optimizer.fused=null"]
"""On both sides the kernels that a bare loop has by default: the fused ones, ours, take less than what is compared."""
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
"""The config of each comparison, and the ratio that its epochs must keep to; cut short, that of its training."""
MOST_MB = 250.0
MOST_STARTUP_SECONDS = 1.5
MOST_OF_AN_EPOCH = 0.1
MOST_POINTS = 0.3
MOST_FOR_PICTURES = 1.03
WHAT = [*SPEED, "memory", "startup", "features", "fast", "pictures"]

Lap = dict[str, float]
"""Seconds of ``train`` (the training batches), ``epoch`` (with validation and all the rest) and ``cpu`` (of it)."""


@dataclass(frozen=True)
class Options:
    repeats: int = 5
    out: str = "bench.json"


@dataclass(frozen=True)
class Row:
    """A line of the table. ``value`` is ours / bare (unit x) or ours - bare, and what the target is for."""

    name: str
    part: str
    ours: float
    bare: float
    unit: str
    value: float
    value_unit: str
    cpu_value: float | None = None
    target: float | None = None

    @property
    def met(self) -> bool | None:
        return None if self.target is None else self.value <= self.target


def main(argv: Sequence[str]) -> None:
    what = [word for word in argv if "=" not in word] or WHAT
    options, _ = cli.parse(Options, [word for word in argv if "=" in word])
    for word in what:
        if word not in WHAT:
            raise UserError(f"{word}: there is no such measurement; {nearest(word, WHAT)}")
    if options.repeats < 1:
        raise UserError(f"repeats={options.repeats} must be at least 1")
    out = paths.writable(options.out, "out")
    with mnist_folder() as (data_dir, data):
        rows = [row for name in what for row in measure(name, options.repeats, data_dir)]
    around = {**surroundings(), "data": data, "repeats": options.repeats}
    show(rows, around)
    report = {**around, "rows": [{**dataclasses.asdict(row), "met": row.met} for row in rows]}
    paths.write(out, (json.dumps(report, indent=2) + "\n").encode())


def measure(name: str, repeats: int, data_dir: Path) -> list[Row]:
    """The rows of the table that a measurement gives."""
    if name == "startup":
        return [startup(max(repeats, 3))]
    if name in WHOLE_RUNS:
        return WHOLE_RUNS[name](data_dir)
    words, target = SPEED.get(name, SPEED["mlp"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        if words[0] in TABLES:
            TABLES[words[0]](path)
            words = [*words, f"data.path='{path}'"]
        return compare(name, [*words, f"data_dir='{data_dir}'"], target, repeats)


def compare(name: str, words: Sequence[str], target: float, repeats: int) -> list[Row]:
    """The rows of two processes that take turns."""
    if name == "memory":
        *_, ours_mb, bare_mb = take_turns(words, repeats=1)
        return [Row(name, "peak", ours_mb, bare_mb, "MB", ours_mb - bare_mb, "MB", target=MOST_MB)]
    ours, bare, *_ = take_turns(words, repeats)
    cut_short = any("limit_train_batches" in word for word in words)
    training = Row(name, "training", *medians(ours, bare, "train"), "s", ratio(ours, bare, "train"), "x")
    if cut_short:  # what an epoch costs beside its steps is for many more steps
        return [dataclasses.replace(training, target=target)]
    epoch = Row(name, "epoch", *medians(ours, bare, "epoch"), "s", ratio(ours, bare, "epoch"), "x")
    return [training, dataclasses.replace(epoch, cpu_value=ratio(ours, bare, "cpu"), target=target)]


def medians(ours: Sequence[Lap], bare: Sequence[Lap], part: str) -> tuple[float, float]:
    return statistics.median(lap[part] for lap in ours), statistics.median(lap[part] for lap in bare)


def ratio(ours: Sequence[Lap], bare: Sequence[Lap], part: str) -> float:
    """The median of the ratios of neighbours in time: what slows the machine for a while slows both."""
    return statistics.median(a[part] / b[part] for a, b in zip(ours, bare, strict=True))


# Epochs


def take_turns(overrides: Sequence[str], repeats: int) -> tuple[list[Lap], list[Lap], float, float]:
    """Laps of ours and of the bare loop, an epoch each in turns, and the most memory (MB) that each process took."""
    cfg = config.compose([*overrides, f"trainer.max_epochs={repeats + 1}"])
    laps: tuple[list[Lap], list[Lap]] = [], []
    with worker(run_ours, cfg) as ours, worker(run_bare, cfg) as bare:
        for _ in range(repeats + 1):
            for other, own_laps in zip((ours, bare), laps, strict=True):
                other.send("go")
                own_laps.append(other.recv())
        for other in (ours, bare):
            other.send("end")
        peaks = ours.recv(), bare.recv()
    return laps[0][1:], laps[1][1:], *peaks


@contextlib.contextmanager
def worker(body: Callable[[Connection, DictConfig], None], cfg: DictConfig) -> Iterator[Connection]:
    """A fresh process that runs ``body(connection, cfg)``, and the connection to it."""
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
    """The real thing; before each epoch it waits for its turn."""
    from dlzoo.training import trainer as training_trainer
    from dlzoo.training.run import run as run_training

    build_trainer = training_trainer.build_trainer

    def with_clock(*args: Any) -> Any:
        trainer: Any = build_trainer(*args)
        trainer.callbacks.insert(0, make_clock(turns))  # the first to hear that an epoch starts or the fit ends
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
    """A callback that sends the lap of an epoch when the next one starts or the fit ends, and waits before each."""
    from lightning.pytorch import Callback

    class Clock(Callback):
        watch: Stopwatch | None = None

        def on_train_epoch_start(self, *_: Any) -> None:
            self.on_train_end()
            turns.recv()
            self.watch = Stopwatch()

        def on_validation_start(self, *_: Any) -> None:
            if self.watch:
                self.watch.train_is_over()

        def on_train_end(self, *_: Any) -> None:
            if self.watch:
                turns.send(self.watch.lap())

    return Clock()


class Stopwatch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self.train = 0.0
        self.started, self.cpu_started = time.perf_counter(), time.process_time()

    def train_is_over(self) -> None:
        self.train = time.perf_counter() - self.started

    def lap(self) -> Lap:
        epoch, cpu = time.perf_counter() - self.started, time.process_time() - self.cpu_started
        return {"train": self.train, "epoch": epoch, "cpu": cpu}


def run_bare(turns: Connection, cfg: DictConfig) -> None:
    """What ours is compared with: the net, PyTorch, and a loop."""
    import torch

    from scripts.bench_bare import work

    bare, epoch = work(cfg), 0
    while turns.recv() == "go":
        watch = Stopwatch()
        bare.net.train()
        for x, y in bare.batches(epoch):
            bare.learn(x, y)
        watch.train_is_over()
        bare.net.eval()
        with torch.inference_mode():
            bare.validate()
        turns.send(watch.lap())
        epoch += 1
    turns.send(peak_mb())


def peak_mb() -> float:
    """The most memory that this process has held."""
    with contextlib.suppress(OSError):
        # not getrusage: its figure can be that of the process which started this one
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


# Whole runs


def startup(repeats: int) -> Row:
    """Seconds from starting ``python train.py`` to its first training step, less those of Lightning's import."""
    totals, imports = bench_runs.startup(repeats)
    (ours, _), (bare, _) = (tuple(map(statistics.median, zip(*v, strict=True))) for v in (totals, imports))
    value, cpu_value = (statistics.median(a[k] - b[k] for a, b in zip(totals, imports, strict=True)) for k in (0, 1))
    return Row("startup", "to step 1", ours, bare, "s", value, "s", cpu_value=cpu_value, target=MOST_STARTUP_SECONDS)


def features(data_dir: Path) -> list[Row]:
    """Frozen features computed once (ours) or in each epoch (bare)."""
    kept, plain = bench_runs.kept_features(data_dir)
    apart = 100 * abs(kept.accuracy - plain.accuracy)
    return [
        Row("features", "epoch", kept.epoch, plain.epoch, "s", kept.epoch / plain.epoch, "x", target=MOST_OF_AN_EPOCH),
        Row("features", "accuracy", 100 * kept.accuracy, 100 * plain.accuracy, "%", apart, "%", target=MOST_POINTS),
    ]


def fast(data_dir: Path) -> list[Row]:
    """experiment=fast_mnist beside the script that most tutorials show."""
    ours, plain = bench_runs.fast_mnist(data_dir)
    points = 100 * (ours.accuracy - plain.accuracy)
    return [
        Row("fast", "training", ours.fit, plain.fit, "s", ours.fit / plain.fit, "x"),
        Row("fast", "accuracy", 100 * ours.accuracy, 100 * plain.accuracy, "%", points, "%"),
    ]


def pictures(data_dir: Path) -> list[Row]:
    """What the callbacks that draw what a net makes cost a whole run, test included."""
    whole, drawing = bench_runs.drawing([*VAE, "trainer.max_epochs=20", f"data_dir='{data_dir}'"])
    rest = whole - drawing
    return [Row("pictures", "whole run", whole, rest, "s", whole / rest, "x", target=MOST_FOR_PICTURES)]


WHOLE_RUNS = {"features": features, "fast": fast, "pictures": pictures}

# Report


def surroundings() -> dict[str, Any]:
    import torch

    from dlzoo.training import results

    return {
        "machine": {"processor": processor(), "cores": os.cpu_count(), "load": os.getloadavg()[0]},
        "threads": torch.get_num_threads(),
        "versions": results.versions(),
        "commit": results.commit(),
    }


def processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def show(rows: Sequence[Row], around: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "", "ours", "bare", "compared", "CPU time", "target", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        sides = (f"{side:.0f} MB" if row.unit == "MB" else f"{side:.2f} {row.unit}" for side in (row.ours, row.bare))
        figures = (with_unit(value, row.value_unit) for value in (row.value, row.cpu_value))
        target = "" if row.target is None else f"<= {with_unit(row.target, row.value_unit)}"
        mark = {True: "[green]met[/green]", False: "[red]missed[/red]", None: ""}[row.met]
        table.add_row(row.name, row.part, *sides, *figures, target, mark)
    machine = around["machine"]
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(
        f"[dim]{machine['processor']}, {machine['cores']} cores (load {machine['load']:.1f}), "
        f"{around['threads']} threads, torch {around['versions']['torch']}, commit {around['commit']}, "
        f"{around['data']}, repeats={around['repeats']}[/dim]"
    )


def with_unit(value: float | None, unit: str) -> str:
    """A ratio as 1.23x, a difference with its sign."""
    if value is None:
        return ""
    return f"{value:.2f}x" if unit == "x" else f"{value:+.0f} MB" if unit == "MB" else f"{value:+.2f} {unit}"


if __name__ == "__main__":
    cli.execute(main, __doc__)
