"""How much slower is a run of ours than a bare PyTorch loop? ``python scripts/bench.py [what…] [repeats=5]``

    mlp       784-64-128-64-10 with BatchNorm, Adam, batch 128, 55,000 pictures
    lenet     LeNet-5, otherwise the same
    mlp1024   the first with batch 1024
    memory    the most memory that the first takes
    startup   from starting train.py to its first step, less the import of Lightning

    repeats=5       pairs of epochs (of processes, for startup); the median is given
    out=bench.json  where all figures go

Ours is `dlzoo.train.run` with the default config: Trainer, TensorBoard, metrics, checkpoints and all callbacks. Bare is
the loop in this file: the same net and optimizer on float tensors in memory, validated after each epoch, nothing else.
Each has a process of its own, so that the bare one pays for nothing that Lightning imports or sets. They take turns:
one epoch here, one there, after a first one each to warm up; so a busy machine slows both, and only ratios are given.
An epoch of ours is timed from the start of one to the start of the next: with all that happens between the two.
"""

from __future__ import annotations

import contextlib
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlzoo import commands, config
from dlzoo.errors import UserError, nearest

ROOT = Path(__file__).resolve().parent.parent
NUM_IMAGES = {"train": 60_000, "t10k": 10_000}
MNIST = ["data=mnist", "data.val_size=5000", "data.eval_batch_size=512", "optimizer=adam"]
MLP = [*MNIST, "model=mlp", "net.hidden=[64,128,64]", "net.norm=batch", "data.batch_size=128"]


@dataclass(frozen=True)
class Workload:
    """A config and the ratio that an epoch must keep to."""

    overrides: list[str]
    target: float


SPEED = {
    "mlp": Workload(MLP, 1.5),
    "lenet": Workload([*MNIST, "model=lenet", "data.batch_size=128"], 1.15),
    "mlp1024": Workload([*MLP, "data.batch_size=1024"], 1.2),
}
WHAT = [*SPEED, "memory", "startup"]
STARTUP_SECONDS = 1.5
MEMORY_MB = 250.0


@dataclass(frozen=True)
class Options:
    repeats: int = 5
    out: str = "bench.json"


def main(argv: Sequence[str]) -> None:
    what = [word for word in argv if "=" not in word] or WHAT
    options, _ = commands.parse(Options, [word for word in argv if "=" in word])
    for word in what:
        if word not in WHAT:
            raise UserError(f"{word}: there is no such measurement; {nearest(word, WHAT)}")
    if options.repeats < 1:
        raise UserError(f"repeats={options.repeats} must be at least 1")
    out = commands.writable(options.out, "out")
    with mnist_folder() as (data_dir, data):
        rows = [row for name in what for row in measure(name, options.repeats, data_dir)]
    report = {**surroundings(), "data": data, "repeats": options.repeats, "rows": rows}
    show(report)
    commands.write(out, (json.dumps(report, indent=2) + "\n").encode())


def measure(name: str, repeats: int, data_dir: Path) -> list[dict[str, Any]]:
    """The rows of the table that a measurement gives."""
    if name == "startup":
        return [startup(repeats)]
    workload = SPEED.get(name, SPEED["mlp"])
    overrides = [*workload.overrides, f"data_dir='{data_dir}'"]
    if name == "memory":
        *_, bare_mb, our_mb = take_turns(overrides, repeats=1)
        return [row("memory", "peak", our_mb, bare_mb, "MB", our_mb - bare_mb, "+MB", MEMORY_MB)]
    bare, ours, *_ = take_turns(overrides, repeats)
    return [
        row(name, "training", *pair(bare, ours, "train"), unit="x", target=None),
        row(name, "epoch", *pair(bare, ours, "epoch"), unit="x", target=workload.target),
    ]


def row(
    name: str, part: str, ours: float, bare: float, measured: str, value: float, unit: str, target: float | None
) -> dict[str, Any]:
    """``value`` is the figure that has a target: a ratio or a difference, in ``unit``."""
    met = None if target is None else value <= target
    figures = {"ours": ours, "bare": bare, "measured": measured, "value": value, "unit": unit}
    return {"name": name, "part": part, **figures, "target": target, "met": met}


def pair(bare: list[dict[str, float]], ours: list[dict[str, float]], part: str) -> tuple[float, float, str, float]:
    """Median seconds of ours and of bare, and the median of the ratios of neighbours in time."""
    seconds = [[lap[part] for lap in laps] for laps in (ours, bare)]
    ratios = [a / b for a, b in zip(*seconds, strict=True)]
    return statistics.median(seconds[0]), statistics.median(seconds[1]), "s", statistics.median(ratios)


# Epochs


def take_turns(
    overrides: list[str], repeats: int
) -> tuple[list[dict[str, float]], list[dict[str, float]], float, float]:
    """Laps of the bare loop and of ours, an epoch each in turns, and the most memory (MB) that each process took.

    A lap: seconds of ``train`` (the training batches) and of ``epoch`` (validation and all the rest as well).
    """
    cfg = config.compose([*overrides, f"trainer.max_epochs={repeats + 1}"])
    laps: dict[str, list[dict[str, float]]] = {"bare": [], "ours": []}
    with worker(run_bare, cfg) as bare, worker(run_ours, cfg) as ours:
        for _ in range(repeats + 1):
            for name, other in (("bare", bare), ("ours", ours)):
                other.send("go")
                laps[name].append(other.recv())
        for other in (bare, ours):
            other.send("end")
        peaks = bare.recv(), ours.recv()
    return laps["bare"][1:], laps["ours"][1:], *peaks


@contextlib.contextmanager
def worker(body: Any, cfg: DictConfig) -> Iterator[Connection]:
    """A fresh process that runs ``body(connection, cfg)``, and the connection to it."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=body, args=(there, cfg), daemon=True)
    process.start()
    there.close()  # so that recv() raises EOFError when the process dies
    try:
        yield here
    finally:
        here.close()
        process.join(timeout=60)


def run_ours(turns: Connection, cfg: DictConfig) -> None:
    """The real thing, stopped before each epoch until it is its turn."""
    from dlzoo import build, train

    clock = make_clock(turns)
    build_trainer = build.build_trainer

    def with_clock(*args: Any) -> Any:
        trainer = build_trainer(*args)
        trainer.callbacks.insert(0, clock)  # the first to hear that an epoch starts or ends
        return trainer

    build.build_trainer = with_clock
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(open(os.devnull, "w")):
        train.run(cfg, Path(folder), [])
    turns.recv()
    turns.send(peak_mb())


def make_clock(turns: Connection) -> Any:
    """A callback that waits for "go" before each epoch and sends its lap when the next one starts, or the fit ends."""
    from lightning.pytorch import Callback

    class Clock(Callback):
        def __init__(self) -> None:
            self.lap: dict[str, float] = {}
            self.started = 0.0

        def on_train_epoch_start(self, *_: Any) -> None:
            self.on_train_end()
            turns.recv()
            self.started = time.perf_counter()

        def on_validation_start(self, *_: Any) -> None:
            self.lap = {"train": time.perf_counter() - self.started}

        def on_train_end(self, *_: Any) -> None:
            if self.lap:
                turns.send({**self.lap, "epoch": time.perf_counter() - self.started})

    return Clock()


def run_bare(turns: Connection, cfg: DictConfig) -> None:
    """What it is compared with: our net class, PyTorch, and a loop."""
    import torch
    import torch.nn.functional as F

    from dlzoo.specs import Classes, ImageSpec

    x, y = read_mnist(Path(cfg.data_dir))
    x_val, y_val = x[:5000], y[:5000]
    x, y = x[5000:], y[5000:]
    torch.manual_seed(cfg.seed)
    net = construct(cfg.net, ImageSpec(1, 28, 28, Classes(tuple("0123456789"))))
    optimizer = construct(cfg.optimizer, net.parameters())
    while turns.recv() == "go":
        started = time.perf_counter()
        net.train()
        for rows in torch.randperm(len(x)).split(cfg.data.batch_size):
            loss = F.cross_entropy(net(x.index_select(0, rows)), y.index_select(0, rows))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        lap = {"train": time.perf_counter() - started}
        net.eval()
        total, right = torch.zeros(()), torch.zeros(())
        with torch.inference_mode():
            for x_B, y_B in zip(*(t.split(cfg.data.eval_batch_size) for t in (x_val, y_val)), strict=True):
                output = net(x_B)
                total += F.cross_entropy(output, y_B, reduction="sum")
                right += (output.argmax(1) == y_B).sum()
        float(total), float(right)
        turns.send({**lap, "epoch": time.perf_counter() - started})
    turns.send(peak_mb())


def construct(node: DictConfig, first: Any) -> Any:
    """What a ``_target_`` builds from its options, without Hydra."""
    options: Any = OmegaConf.to_container(node, resolve=True)
    module, _, name = options.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), name)(first, **options)


def read_mnist(data_dir: Path) -> tuple[Any, Any]:
    """Training pictures (60000, 1, 28, 28) float32 in [0, 1], and labels."""
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
        generate_mnist(Path(folder))
        yield Path(folder), "noise of MNIST's shapes (DLZOO_DATA_DIR names no folder with MNIST/raw)"


def generate_mnist(folder: Path) -> None:
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
        # not getrusage: its figure for a new process starts with that of its parent
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


# Start-up

FIRST_STEP = """
import os, time
import dlzoo.train
from dlzoo.tasks.base import Task
def stop(self, batch, batch_idx):
    print(time.time(), flush=True)
    os._exit(0)
Task.on_train_batch_start = stop
dlzoo.train.main()
"""
IMPORT = "import time; started = time.perf_counter(); import lightning.pytorch; print(time.perf_counter() - started)"


def startup(repeats: int) -> dict[str, Any]:
    """Seconds from starting ``python train.py`` to its first training step, less those of Lightning's import."""
    totals, imports = [], []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(-1, max(repeats, 3)):  # the first to warm up
            imported = float(say(IMPORT))
            started = time.time()
            total = float(say(FIRST_STEP, f"output_dir='{folder}/{i}'")) - started
            if i >= 0:
                imports.append(imported)
                totals.append(total)
    value = statistics.median(a - b for a, b in zip(totals, imports, strict=True))
    figures = statistics.median(totals), statistics.median(imports)
    return row("startup", "to the first step", *figures, "s", value, "+s", STARTUP_SECONDS)


def say(code: str, *argv: str) -> str:
    """The last line that a Python program prints."""
    command = [sys.executable, "-c", code, *argv]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[-1]


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
    """Its name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def show(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "", "ours", "bare", "ours / bare", "target", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for r in report["rows"]:
        sign, unit = ("+", r["unit"][1:]) if r["unit"].startswith("+") else ("", r["unit"])
        mark = {True: "[green]met[/green]", False: "[red]missed[/red]", None: ""}[r["met"]]
        target = "" if r["target"] is None else f"<= {sign}{r['target']:g} {unit}"
        seconds = [
            f"{r[side]:.3g} {r['measured']}" if r[side] < 1000 else f"{r[side]:.0f} MB" for side in ("ours", "bare")
        ]
        table.add_row(r["name"], r["part"], *seconds, f"{sign}{r['value']:.3g} {unit}", target, mark)
    machine, versions = report["machine"], report["versions"]
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(
        f"[dim]{machine['processor']}, {machine['cores']} cores (load {machine['load']:.1f}), {report['threads']} threads, "
        f"torch {versions['torch']}, commit {report['commit']}, {report['data']}, repeats={report['repeats']}[/dim]"
    )


if __name__ == "__main__":
    commands.execute(main, __doc__)
