"""How much slower is a run of ours than a bare PyTorch loop? ``python scripts/bench.py [what…] [repeats=5]``

    mlp       784-64-128-64-10 with BatchNorm, Adam, batch 128, 55,000 pictures
    lenet     LeNet-5, otherwise the same
    mlp1024   the first with batch 1024
    lstm      an LSTM of 32 units forecasts 20,000 hours from windows of 24, Adam, batch 128
    memory    the most memory that the first takes
    startup   from starting train.py to its first step, less the import of Lightning

    repeats=5       pairs of epochs (of processes, for startup), after one to warm up; the median counts
    out=bench.json  where all figures go

Ours is `dlzoo.train.run` with what runs have by default: Trainer, TensorBoard, metrics, checkpoints, all callbacks.
Bare is the loop in this file: the same net, loss and optimizer on float tensors in memory, validated after each epoch.
Each has a process of its own, so that the bare one pays for nothing that Lightning imports or sets. They take turns,
one epoch here, one there, so a busy machine slows both, and only ratios count; beside each stands the ratio of CPU
time, which does not count waiting for a core. An epoch of ours lasts from its start to the start of the next one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

sys.path[0] = str(Path(__file__).resolve().parents[1])  # a checkout need not be installed

from omegaconf import DictConfig, OmegaConf

from dlzoo import commands, config
from dlzoo.errors import UserError, nearest

ROOT = Path(__file__).resolve().parents[1]
NUM_IMAGES = {"train": 60_000, "t10k": 10_000}
LEARNING = ["optimizer=adam", "scheduler=none", "task.label_smoothing=0.0"]
MNIST = ["data=mnist", "data.val_size=5000", "data.eval_batch_size=512", "trainer=cpu", *LEARNING]
HOURS = ["data=series", "data.window=24", "data.batch_size=128", "trainer=cpu", "optimizer=adam", "scheduler=none"]
MLP = [*MNIST, "model=mlp", "net.hidden=[64,128,64]", "net.norm=batch"]

SPEED = {
    "mlp": ([*MLP, "data.batch_size=128"], 1.5),
    "lenet": ([*MNIST, "model=lenet", "data.batch_size=128"], 1.15),
    "mlp1024": ([*MLP, "data.batch_size=1024"], 1.2),
    "lstm": ([*HOURS, "model=lstm"], 1.5),
}
"""The config of each comparison, and the ratio that its epochs must keep to."""
MOST_MB = 250.0
MOST_STARTUP_SECONDS = 1.5
WHAT = [*SPEED, "memory", "startup"]

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
    options, _ = commands.parse(Options, [word for word in argv if "=" in word])
    for word in what:
        if word not in WHAT:
            raise UserError(f"{word}: there is no such measurement; {nearest(word, WHAT)}")
    if options.repeats < 1:
        raise UserError(f"repeats={options.repeats} must be at least 1")
    out = commands.writable(options.out, "out")
    with mnist_folder() as (data_dir, data), hours_file() as hours:
        rows = [row for name in what for row in measure(name, options.repeats, data_dir, hours)]
    around = {**surroundings(), "data": data, "repeats": options.repeats}
    show(rows, around)
    report = {**around, "rows": [{**dataclasses.asdict(row), "met": row.met} for row in rows]}
    commands.write(out, (json.dumps(report, indent=2) + "\n").encode())


def measure(name: str, repeats: int, data_dir: Path, hours: Path) -> list[Row]:
    """The rows of the table that a measurement gives."""
    if name == "startup":
        return [startup(max(repeats, 3))]
    words, target = SPEED.get(name, SPEED["mlp"])
    words = [*words, f"data_dir='{data_dir}'", *([f"data.path='{hours}'"] if "data=series" in words else [])]
    if name == "memory":
        *_, ours_mb, bare_mb = take_turns(words, repeats=1)
        return [Row(name, "peak", ours_mb, bare_mb, "MB", ours_mb - bare_mb, "MB", target=MOST_MB)]
    ours, bare, *_ = take_turns(words, repeats)
    return [
        Row(name, "training", *medians(ours, bare, "train"), "s", ratio(ours, bare, "train"), "x"),
        Row(
            name, "epoch", *medians(ours, bare, "epoch"), "s", ratio(ours, bare, "epoch"), "x",
            cpu_value=ratio(ours, bare, "cpu"), target=target,
        ),
    ]  # fmt: skip


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
    from dlzoo import build, train

    build_trainer = build.build_trainer

    def with_clock(*args: Any) -> Any:
        trainer: Any = build_trainer(*args)
        trainer.callbacks.insert(0, make_clock(turns))  # the first to hear that an epoch starts or the fit ends
        return trainer

    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        mock.patch.object(build, "build_trainer", with_clock),
    ):
        train.run(cfg, Path(folder), [])
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

    work = bare_hours(cfg) if cfg.names.data == "series" else bare_pictures(cfg)
    torch.manual_seed(cfg.seed)
    net = construct(cfg.net, work.spec)
    optimizer = construct(cfg.optimizer, net.parameters())
    while turns.recv() == "go":
        watch = Stopwatch()
        net.train()
        for rows in torch.randperm(len(work.x)).split(cfg.data.batch_size):
            loss = work.loss(net(work.x.index_select(0, rows)), work.y.index_select(0, rows))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        watch.train_is_over()
        net.eval()
        with torch.inference_mode():
            work.validate(net)
        turns.send(watch.lap())
    turns.send(peak_mb())


@dataclass
class Work:
    """What a bare loop trains on, in memory."""

    spec: Any
    x: Any
    y: Any
    loss: Callable[..., Any]
    validate: Callable[[Any], None]


def bare_pictures(cfg: DictConfig) -> Work:
    """MNIST; validation gives the mean loss and the number of right answers."""
    import torch
    import torch.nn.functional as F

    from dlzoo.specs import Classes, ImageSpec

    x, y = read_mnist(Path(cfg.data_dir))
    num_train = len(x) - cfg.data.val_size
    x, x_val, y, y_val = x[:num_train], x[num_train:], y[:num_train], y[num_train:]

    def validate(net: Any) -> None:
        val_loss, num_right = torch.zeros(()), torch.zeros(())
        for inputs, target in zip(*(t.split(cfg.data.eval_batch_size) for t in (x_val, y_val)), strict=True):
            output = net(inputs)
            val_loss += F.cross_entropy(output, target, reduction="sum")
            num_right += (output.argmax(1) == target).sum()

    return Work(ImageSpec(1, 28, 28, Classes(tuple("0123456789"))), x, y, F.cross_entropy, validate)


def bare_hours(cfg: DictConfig) -> Work:
    """Windows of daily changes; validation gives the mean loss of a day ahead, and a forecast of it from the last."""
    import numpy as np
    import torch
    import torch.nn.functional as F

    from dlzoo.specs import SeriesSpec, Values

    window, day = cfg.data.window, 24
    hours = torch.from_numpy(np.loadtxt(cfg.data.path, delimiter=",", skiprows=1, usecols=1))[:-day]
    changes = (hours[day:] - hours[:-day]).float()
    train = changes[:-day]
    changes = (changes - train.mean()) / train.std()
    windows = changes.unfold(0, window + 1, 1)[..., None].contiguous()  # (N, W + 1, 1)
    x, y = windows[:-day, :-1], windows[:-day, -1]

    def validate(net: Any) -> None:
        F.mse_loss(net(windows[-day:, :-1]), windows[-day:, -1])
        known = windows[-day - 1 : -day, 1:]
        for _ in range(day):
            known = torch.cat([known, net(known[:, -window:])[:, None]], dim=1)

    return Work(SeriesSpec(Values(("load",)), window, day), x.contiguous(), y.contiguous(), F.mse_loss, validate)


def construct(node: DictConfig, first: Any) -> Any:
    """What a ``_target_`` makes of its options, without Hydra."""
    options: Any = OmegaConf.to_container(node, resolve=True)
    module, _, name = options.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), name)(first, **options)


def read_mnist(data_dir: Path) -> tuple[Any, Any]:
    """Training pictures (60000, 1, 28, 28) float32 in [0, 1], and labels (60000,)."""
    import numpy as np
    import torch

    raw = data_dir / "MNIST" / "raw"
    x = np.fromfile(raw / "train-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 1, 28, 28)
    y = np.fromfile(raw / "train-labels-idx1-ubyte", np.uint8, offset=8)
    return torch.from_numpy(x).float().div_(255), torch.from_numpy(y).long()


@contextlib.contextmanager
def mnist_folder() -> Iterator[tuple[Path, str]]:
    """Where MNIST is, and what it is: the real files of DLZOO_DATA_DIR, or noise of the same shapes."""
    real = Path(os.environ.get("DLZOO_DATA_DIR", "data")).expanduser().resolve()
    if all((real / "MNIST" / "raw" / f"{split}-images-idx3-ubyte").is_file() for split in NUM_IMAGES):
        yield real, "MNIST"
        return
    with tempfile.TemporaryDirectory() as folder:
        write_noise(Path(folder))
        yield Path(folder), "noise instead of MNIST (no MNIST/raw in DLZOO_DATA_DIR)"


@contextlib.contextmanager
def hours_file() -> Iterator[Path]:
    """A CSV file of 20,000 hours with a daily wave and noise."""
    import numpy as np

    num = 20_000
    times = np.datetime64("2022-01-01T00") + np.arange(num)
    values = 100 + 10 * np.sin(np.arange(num) * 2 * np.pi / 24) + np.random.default_rng(0).normal(size=num)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hours.csv"
        rows = (f"{time},{value:.3f}\n" for time, value in zip(times.astype("datetime64[m]"), values, strict=True))
        path.write_text("time,load\n" + "".join(rows))
        yield path


def write_noise(folder: Path) -> None:
    """The files of MNIST with random bytes in them."""
    import numpy as np

    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for split, num in NUM_IMAGES.items():
        for part, shape, end in (("images-idx3", (num, 28, 28), 256), ("labels-idx1", (num,), 10)):
            header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
            content = draw.integers(0, end, shape, np.uint8)
            (raw / f"{split}-{part}-ubyte").write_bytes(header + content.tobytes())


def peak_mb() -> float:
    """The most memory that this process has held."""
    with contextlib.suppress(OSError):
        # not getrusage: its figure can be that of the process which started this one
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


# Start-up

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
dlzoo.train.main()
"""


def startup(repeats: int) -> Row:
    """Seconds from starting ``python train.py`` to its first training step, less those of Lightning's import."""
    imports, totals = [], []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(repeats + 1):
            imports.append(last_line(IMPORT))
            started = time.time()
            reached, cpu = last_line(FIRST_STEP, f"output_dir='{folder}/{i}'")
            totals.append((reached - started, cpu))
    (ours, _), (bare, _) = (tuple(map(statistics.median, zip(*v[1:], strict=True))) for v in (totals, imports))
    value, cpu_value = (
        statistics.median(a[k] - b[k] for a, b in zip(totals[1:], imports[1:], strict=True)) for k in (0, 1)
    )
    return Row("startup", "to step 1", ours, bare, "s", value, "s", cpu_value=cpu_value, target=MOST_STARTUP_SECONDS)


def last_line(code: str, *argv: str) -> tuple[float, float]:
    """The two numbers on the last line that a Python program prints."""
    command = [sys.executable, "-c", code, *argv]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    wall, cpu = done.stdout.splitlines()[-1].split()
    return float(wall), float(cpu)


# Report


def surroundings() -> dict[str, Any]:
    import torch

    from dlzoo import results

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
        sides = (f"{side:.0f} MB" if row.unit == "MB" else f"{side:.2f} s" for side in (row.ours, row.bare))
        figures = (in_words(value, row.value_unit) for value in (row.value, row.cpu_value))
        target = "" if row.target is None else f"<= {in_words(row.target, row.value_unit)}"
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


def in_words(value: float | None, unit: str) -> str:
    """A ratio as 1.23x, a difference with its sign."""
    if value is None:
        return ""
    return f"{value:.2f}x" if unit == "x" else f"{value:+.0f} MB" if unit == "MB" else f"{value:+.2f} s"


if __name__ == "__main__":
    commands.execute(main, __doc__)
