"""An epoch of a restricted Boltzmann machine beside a bare PyTorch loop. ``python scripts/bench_rbm.py [rounds=3]``

    rounds=3     epochs of each, alternating
    batches=200  training batches of 100 images in an epoch

Both learn by CD-1 with 500 hidden units, SGD with momentum and weight decay, and pixels that are sampled anew, on one
thread; the run has its logging and its checks that gradients are finite. CPU seconds, so that other processes count
little; the median ratio of neighbours is told.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from dlzoo.commands import cli
from dlzoo.config import compose as config
from dlzoo.tasks.rbm import RestrictedBoltzmann
from dlzoo.training import run as runs
from scripts.bench_data import mnist_folder, read_mnist

BATCH, HIDDEN, RATE, DECAY, MOMENTUM = 100, 500, 0.02, 2e-4, 0.9
GOAL = 1.2


@dataclass(frozen=True)
class Options:
    rounds: int = 3
    batches: int = 200


def main() -> None:
    cli.execute(_main, __doc__)


def _main(argv: Sequence[str]) -> None:
    options, _ = cli.parse(Options, argv)
    torch.set_num_threads(1)
    ratios = []
    with mnist_folder() as (data_dir, _):
        x = read_mnist(Path(data_dir))[0]
        for i in range(options.rounds):
            ours, bare = run_epoch(str(data_dir), options.batches, i), bare_epoch(x, options.batches, i)
            ratios.append(ours / bare)
            print(
                f"epoch of {options.batches} batches: {ours:.2f} s, bare {bare:.2f} s, ratio {ratios[-1]:.2f}",
                flush=True,
            )
    ratio = statistics.median(ratios)
    print(f"median ratio {ratio:.2f}, goal at most {GOAL}")
    sys.exit(ratio > GOAL)


def run_epoch(data_dir: str, batches: int, seed: int) -> float:
    """CPU seconds of the second epoch of a run: the first one warms up."""
    overrides = [
        "model=rbm", "data=mnist", f"data_dir='{data_dir}'", f"data.batch_size={BATCH}", f"optimizer.lr={RATE}",
        f"seed={seed}", f"+trainer.limit_train_batches={batches}", "trainer.max_epochs=2", "trainer=cpu", "logger=none",
        "callbacks=[history]", "test=false", "+trainer.limit_val_batches=0",
    ]  # fmt: skip
    marks: list[float] = []

    def marked(original: Any) -> Any:
        def hook(task: Any) -> None:
            if original.__name__ == "on_train_epoch_end":
                marks.append(time.process_time())
            original(task)
            if original.__name__ == "on_train_epoch_start":
                marks.append(time.process_time())

        return hook

    names = ("on_train_epoch_start", "on_train_epoch_end")
    hooks: Any = {name: marked(getattr(RestrictedBoltzmann, name)) for name in names}
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.multiple(RestrictedBoltzmann, **hooks),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        runs.run(config.compose(overrides), Path(folder), overrides)
    return marks[3] - marks[2]


@torch.no_grad()
def bare_epoch(x: Tensor, batches: int, seed: int) -> float:
    """The same updates by hand. x: (N, 1, 28, 28) in [0, 1]."""
    torch.manual_seed(seed)
    x = x.flatten(1)
    weight = torch.nn.Parameter(torch.randn(x.shape[1], HIDDEN) * 0.01)
    visible, hidden = (torch.nn.Parameter(torch.zeros(n)) for n in weight.shape)
    groups: list[dict[str, Any]] = [{"params": [weight], "weight_decay": DECAY}, {"params": [visible, hidden]}]
    optimizer = torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM, fused=True)

    def learn(rows: Tensor) -> None:
        pixels = x.index_select(0, rows)
        v = (torch.rand_like(pixels) < pixels).float()
        h = torch.addmm(hidden, v, weight).sigmoid()
        mean = torch.nn.functional.linear((torch.rand_like(h) < h).float(), weight, visible).sigmoid()
        model = (torch.rand_like(mean) < mean).float()
        model_h = torch.addmm(hidden, model, weight).sigmoid()
        weight.grad = torch.addmm(model.T @ model_h, v.T, h, beta=1 / BATCH, alpha=-1 / BATCH)
        visible.grad, hidden.grad = model.mean(0) - v.mean(0), model_h.mean(0) - h.mean(0)
        optimizer.step()

    for epoch in range(2):
        if epoch:
            start = time.process_time()
        for rows in torch.randperm(len(x)).split(BATCH)[:batches]:
            learn(rows)
    return time.process_time() - start


if __name__ == "__main__":
    main()
