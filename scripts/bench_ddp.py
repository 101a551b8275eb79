"""The speed-up of a second process: dlzoo against a bare PyTorch loop, each with one process and with two.

    python scripts/bench_ddp.py                  prints a table and writes results/reliability/devices.json
    python scripts/bench_ddp.py rounds=1 out=/tmp/devices.json

All train the same net on MNIST with the same global batches of 128 images, one thread per process, on the CPU. The bare
loop is that of PyTorch's DDP tutorial on tensors in memory; ours is ``train.py`` without validation, logger and plots.
The four alternate, and each round starts new processes. A time is the median over rounds of an epoch after the first; a
speed-up is the median over rounds of the time of one process divided by the time of two.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlzoo.commands import cli
from dlzoo.errors import UserError
from dlzoo.utils import files as paths
from scripts.bench_data import mnist_folder, read_mnist

ROOT = Path(sys.path[0])
NETS = {"mlp": "net.hidden=[512,512]", "lenet": ""}
"""A net with a high ratio of communication to computation, and one with a low ratio."""
BATCH_SIZE, NUM_STEPS, NUM_EPOCHS = 128, 100, 4
SIDES = ("bare 1", "bare 2", "ours 1", "ours 2")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


@dataclass
class Options:
    rounds: int = 5
    out: str = str(ROOT / "results" / "reliability" / "devices.json")


Times = dict[str, dict[str, list[float]]]
"""Seconds by net, side and round."""


def main(argv: Sequence[str]) -> None:
    if argv[:1] == ["bare"]:  # launched by this script itself
        bare(argv[1])
        return
    options, _ = cli.parse(Options, argv)
    Path(Options.out).parent.mkdir(exist_ok=True)
    out = paths.writable(options.out, "out")
    before = os.getloadavg()[0]
    times: Times = {net: {side: [] for side in SIDES} for net in NETS}
    with mnist_folder() as (data_dir, _):
        for i, net, side in itertools.product(range(options.rounds), NETS, SIDES):
            times[net][side].append(seconds_of(side, net, data_dir))
            print(f"round {i + 1}  {net:6} {side}  {times[net][side][-1]:6.2f} s", flush=True)
    report = table(times, options.rounds, (before, os.getloadavg()[0]))
    for row in [report["columns"], *report["rows"]]:
        print("  ".join(row))
    paths.write(out, (json.dumps(report, indent=2) + "\n").encode())


def seconds_of(side: str, net: str, data_dir: Path) -> float:
    """Median seconds of an epoch of ``NUM_STEPS`` steps, without the first."""
    implementation, processes = side.split()
    launcher = TORCHRUN if processes == "2" else ()
    with tempfile.TemporaryDirectory() as folder:
        if implementation == "bare":
            arguments = [str(Path(__file__)), "bare", net]
        else:
            arguments = [
                *(str(ROOT / "train.py"), f"model={net}", *NETS[net].split(), "data=mnist", f"data_dir={data_dir}"),
                *(f"trainer={'ddp' if processes == '2' else 'cpu'}", "trainer.accelerator=cpu", "test=false"),
                *(f"data.batch_size={BATCH_SIZE}", f"trainer.limit_train_batches={NUM_STEPS}", "logger=none"),
                *("trainer.limit_val_batches=0", f"trainer.max_epochs={NUM_EPOCHS}", "callbacks=history"),
                *("optimizer=adam", "optimizer.fused=null", f"hydra.run.dir={folder}"),
            ]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "DLZOO_DATA_DIR": str(data_dir), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, *launcher, *arguments], capture_output=True, text=True, check=False, env=environment
        )
        if done.returncode:
            raise UserError(f"{side} of {net} failed:\n{done.stderr[-2000:]}")
        if implementation == "bare":
            each = json.loads(done.stdout)
        else:
            with (Path(folder) / "metrics.csv").open() as file:
                each = [float(row["seconds"]) for row in csv.DictReader(file)]
    return statistics.median(each[1:])


def bare(name: str) -> None:
    """A plain PyTorch loop, with DDP if launched by torchrun. Prints the seconds of each epoch."""
    import torch
    import torch.nn.functional as F
    from torch import distributed, nn
    from torch.nn.parallel import DistributedDataParallel

    from dlzoo.nets.lenet import LeNet
    from dlzoo.nets.mlp import MLP
    from dlzoo.specs.inputs import ImageSpec
    from dlzoo.specs.targets import Classes

    torch.set_num_threads(1)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    spec = ImageSpec(1, 28, 28, Classes(tuple("0123456789")))
    torch.manual_seed(0)
    net: nn.Module = LeNet(spec) if name == "lenet" else MLP(spec, hidden=[512, 512])
    if world > 1:
        distributed.init_process_group("gloo")
        net = DistributedDataParallel(net)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    x, y = read_mnist(Path(os.environ["DLZOO_DATA_DIR"]))
    seconds = []
    for _ in range(NUM_EPOCHS):
        started = time.perf_counter()
        for rows in torch.randperm(len(x)).split(BATCH_SIZE)[:NUM_STEPS]:
            local_rows = rows[rank::world]
            loss = F.cross_entropy(net(x.index_select(0, local_rows)), y.index_select(0, local_rows))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds.append(time.perf_counter() - started)
    if world > 1:
        distributed.destroy_process_group()
    if rank == 0:
        print(json.dumps(seconds))


def table(times: Times, rounds: int, loads: tuple[float, float]) -> dict[str, Any]:
    """The table for RESULTS.md."""
    import torch

    columns = [
        "net",
        "loop",
        "1 process, ms",
        "2 processes, ms",
        "speed-up",
        "efficiency",
        "2 processes / bare",
    ]
    rows = []
    for net, of in times.items():
        for implementation in ("bare", "ours"):
            one, two = of[f"{implementation} 1"], of[f"{implementation} 2"]
            speedup = statistics.median(a / b for a, b in zip(one, two, strict=True))
            relative_time = statistics.median(a / b for a, b in zip(two, of["bare 2"], strict=True))
            shown = [f"{1000 * statistics.median(t) / NUM_STEPS:.1f}" for t in (one, two)]
            rows.append([net, implementation, *shown, f"{speedup:.2f}", f"{speedup / 2:.0%}", f"{relative_time:.2f}"])
    note = (
        f"A step of {BATCH_SIZE} MNIST images in total; one thread per process, gloo, torch {torch.__version__}, "
        f"{os.cpu_count()} cores; medians over {rounds} rounds in which the four alternated, with "
        f"load {loads[0]:.1f} before and {loads[1]:.1f} after, including the two processes of the benchmark."
    )
    title = "Two processes on two cores"
    return {"title": title, "command": "python scripts/bench_ddp.py", "columns": columns, "rows": rows, "note": note}


if __name__ == "__main__":
    cli.execute(main, __doc__)
