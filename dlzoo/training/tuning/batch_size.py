"""``data.batch_size=auto``: the smallest batch size with nearly the highest throughput.

The size is doubled, and a copy of the task takes a few real training steps with each, until memory would run out, an
epoch would have fewer than `MIN_STEPS` steps, or doubling raises the throughput by less than a tenth. The result is the
smallest size whose throughput is within a tenth of the highest: larger ones would only take fewer steps.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import lightning.pytorch as pl
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.types import STEP_OUTPUT

from dlzoo.checkpoint.load import plain_config
from dlzoo.config.compose import on_gpus
from dlzoo.config.run_config import FIRST_BATCH_SIZE, Node, RunConfig
from dlzoo.data.base import DataModule
from dlzoo.errors import UserError
from dlzoo.tasks.base import Task
from dlzoo.training import out_of_memory as memory
from dlzoo.training.tuning.lr_finder import copy_of, preserving_random_states
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils.files import open_text
from dlzoo.utils.memory import format_bytes, is_out_of_memory

MIN_STEPS = 10
"""Minimum number of steps of an epoch."""
MAX_MEMORY_FRACTION = 0.8
THROUGHPUT_FRACTION = 0.9
"""Throughputs above this fraction of the highest are considered equal to it."""
NUM_STEPS, MAX_SECONDS = 8, 2.0
"""Limits of the trial of a size; the fastest step counts, and the first one does not."""


@dataclass(frozen=True)
class Trial:
    """Result of a few steps with a batch size."""

    size: int
    rate: float
    """Rows per second."""
    num_bytes: int
    """Peak memory during the steps."""


@dataclass
class Search:
    """The trials of all sizes, and the reason why no larger size was tried."""

    trials: list[Trial] = field(default_factory=list)
    reason: str = ""

    @property
    def size(self) -> int:
        """The smallest size that is nearly as fast as the fastest."""
        highest = max(t.rate for t in self.trials)
        return min(t.size for t in self.trials if t.rate >= THROUGHPUT_FRACTION * highest)


def resumed(config: RunConfig, content: Mapping[str, object] | None) -> RunConfig:
    """The config with the batch size that a resumed run has determined before; a new run searches for its own.

    Args:
        content: of the checkpoint to resume from.

    Raises:
        UserError: no size can be determined for these data, or the checkpoint does not contain it.
    """
    if not config.finds_batch_size:
        return config
    if config.data.get("consecutive"):
        raise UserError("data.batch_size=auto: consecutive windows are cut by the batch size; set a number")
    if content is None:
        return config
    data = plain_config(content).get("data")
    stored = data.get("batch_size") if isinstance(data, dict) else None
    if not isinstance(stored, int):
        raise UserError(f"data.batch_size=auto: ckpt={config.ckpt} does not contain the batch size; set a number")
    return replace(config.with_options("data", batch_size=stored), finds_batch_size=False)


def find(config: RunConfig, task: Task, data: DataModule, run_dir: Path) -> Search:
    """Try sizes, and write ``batch_size.csv`` into the run folder. Task, data and random states are unchanged.

    Raises:
        UserError: memory does not limit the batches of this task, there are several devices, or not even one row fits.
    """
    if not task.resumes_mid_epoch:
        raise UserError("data.batch_size=auto: agents do not learn from whole batches of data; see task.batch_size")
    search, before = Search(), data.batch_size
    try:
        size = FIRST_BATCH_SIZE
        while not search.reason:
            data.batch_size = size
            if size > FIRST_BATCH_SIZE and len(data.train_dataloader()) < MIN_STEPS:
                search.reason = f"with {size} rows an epoch would have fewer than {MIN_STEPS} steps"
            else:
                try_size(size, search, config, task, data)
            size *= 2
        while not search.trials:
            size //= 2
            if size < 1:
                raise UserError("data.batch_size=auto: not even one row fits into memory; use a smaller net")
            data.batch_size = size
            try_size(size, search, config, task, data)
    finally:
        data.batch_size = before
    write(search, run_dir)
    return search


def try_size(size: int, search: Search, config: RunConfig, task: Task, data: DataModule) -> None:
    """Measure a few steps, and end the search if twice the size is not worth a trial."""
    trial = measure(size, config, task, data)
    if trial is None:
        search.reason = f"{size} rows do not fit into memory"
        return
    device = torch.device("cuda" if on_gpus(config.accelerator) else "cpu")
    free = memory.available(device) + (trial.num_bytes if device.type == "cuda" else 0)
    if trial.num_bytes > MAX_MEMORY_FRACTION * free:
        search.reason = f"{size} rows take {format_bytes(trial.num_bytes)} of {format_bytes(free)}"
        if search.trials:
            return
    search.trials.append(trial)
    if 2 * trial.num_bytes > MAX_MEMORY_FRACTION * free:
        search.reason = f"{2 * size} rows would take too much of {format_bytes(free)} of memory"
    rates = [t.rate for t in search.trials]
    if len(rates) > 2 and max(rates[-2:]) * THROUGHPUT_FRACTION < max(rates[:-2]):
        search.reason = search.reason or f"{size} rows are no faster than {search.size}"


def measure(size: int, config: RunConfig, task: Task, data: DataModule) -> Trial | None:
    """Throughput and peak memory of a few steps; None if memory ran out."""
    clock = Clock()
    with preserving_random_states():
        twin = copy_of(task, config, data)
        trainer = silent_trainer(config.trainer, clock)
        twin.setup_trainer(trainer)
        memory.reset_peak()
        started = memory.resident_bytes()
        on_gpu = trainer.strategy.root_device.type == "cuda"
        try:
            trainer.fit(twin, data)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        finally:
            used = torch.cuda.max_memory_allocated() if on_gpu else max(memory.peak_bytes() - started, 0)
            del twin, trainer
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    return Trial(size, size / min(clock.laps), used)


def silent_trainer(node: Node, clock: Clock) -> pl.Trainer:
    accumulated = node.get("accumulate_grad_batches")
    try:
        trainer: pl.Trainer = instantiate(node, _partial_=True)(
            max_epochs=-1,
            max_steps=NUM_STEPS * (accumulated if isinstance(accumulated, int) and accumulated else 1),
            limit_val_batches=0,
            callbacks=[clock],
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise UserError(f"trainer: {error}") from None
    if trainer.world_size > 1:
        raise UserError(
            "data.batch_size=auto measures on a single device: determine it with trainer=auto, then set the number"
        )
    return trainer


class Clock(Callback):
    """The duration of each batch except the first."""

    def __init__(self) -> None:
        self.laps: list[float] = []
        self.total = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        synchronize(trainer)
        self.started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        synchronize(trainer)
        lap = time.perf_counter() - self.started
        self.total += lap
        if self.total - lap > 0 or self.total > MAX_SECONDS:
            self.laps.append(lap)
        if self.total > MAX_SECONDS:
            trainer.should_stop = True


def synchronize(trainer: pl.Trainer) -> None:
    if trainer.strategy.root_device.type == "cuda":
        torch.cuda.synchronize()


def write(search: Search, run_dir: Path) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    with open_text(run_dir / "batch_size.csv", "w") as file:
        writer = csv_files.Writer(file)
        writer.writerow(["batch_size", "rows_per_second", "mib"])
        writer.writerows([t.size, f"{t.rate:.1f}", f"{t.num_bytes / 2**20:.1f}"] for t in search.trials)
