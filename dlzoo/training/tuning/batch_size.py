"""``data.batch_size=auto``: the smallest batch with which the device works nearly as fast as it can.

Sizes are doubled, and a few real training steps taken with each, on a copy that is thrown away, until memory would run
out, an epoch would have fewer than `LEAST_STEPS` steps, or twice the rows no longer bring a tenth more rows a second.
Of all that fit, the smallest within a tenth of the fastest is taken: larger ones would only take fewer steps.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from dlzoo.data.base import DataModule
from dlzoo.errors import UserError
from dlzoo.tasks.base import Task
from dlzoo.training import out_of_memory as memory
from dlzoo.training.tuning.lr_finder import copy_of, random_states_kept
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils.memory import format_bytes, is_out_of_memory

START = 16
LEAST_STEPS = 10
"""Of an epoch: with fewer there is little to learn from."""
MOST_OF_MEMORY = 0.8
NEARLY = 0.9
"""Of the highest rate: as good as it."""
NUM_STEPS, MOST_SECONDS = 8, 2.0
"""With each size: so many steps, or fewer if they take so long; the fastest counts, the first does not."""


@dataclass(frozen=True)
class Tried:
    """What a few steps with a size have shown."""

    size: int
    rate: float
    """Rows in a second; 0 if they did not fit."""
    num_bytes: int
    """The most memory taken in the steps."""


@dataclass
class Search:
    """All sizes tried, and why no larger one was."""

    tried: list[Tried] = field(default_factory=list)
    end: str = ""

    @property
    def size(self) -> int:
        """The smallest that is nearly as fast as the fastest."""
        fast = max(t.rate for t in self.tried)
        return min(t.size for t in self.tried if t.rate >= NEARLY * fast)


def must_be_found(cfg: DictConfig, content: dict[str, Any] | None) -> bool:
    """Put a number for ``auto`` into the config; whether it is still to be found, for a continued run keeps its own.

    Args:
        content: of the checkpoint that is continued.
    """
    if cfg.data.get("consecutive"):
        raise UserError("data.batch_size=auto: consecutive windows are cut by it; give a number")
    if content is None:
        cfg.data.batch_size = START
        return True
    from dlzoo.checkpoint.load import plain_config

    stored = (plain_config(content).get("data") or {}).get("batch_size")
    if not isinstance(stored, int):
        raise UserError(f"data.batch_size=auto: ckpt={cfg.ckpt} does not say what was found; give a number")
    cfg.data.batch_size = stored
    return False


def find(cfg: DictConfig, task: Task, data: DataModule, run_dir: Path) -> Search:
    """Try sizes, and leave ``batch_size.csv`` in the run folder. Task, data and random states are as before.

    Raises:
        UserError: the rows of a batch are no matter of memory here, several devices, or not even one row fits.
    """
    if not task.goes_on_within_epochs:
        raise UserError("data.batch_size=auto: in a batch of play nothing is learnt at once; see task.batch_size")
    search, before = Search(), data.batch_size
    try:
        size = START
        while not search.end:
            data.batch_size = size
            if size > START and len(data.train_dataloader()) < LEAST_STEPS:
                search.end = f"with {size} rows an epoch would have fewer than {LEAST_STEPS} steps"
            else:
                try_size(size, search, cfg, task, data)
            size *= 2
        while not search.tried:
            size //= 2
            if size < 1:
                raise UserError("data.batch_size=auto: not even one row fits into memory; take a smaller net")
            data.batch_size = size
            try_size(size, search, cfg, task, data)
    finally:
        data.batch_size = before
    write(search, run_dir)
    return search


def try_size(size: int, search: Search, cfg: DictConfig, task: Task, data: DataModule) -> None:
    """Take some steps, and see whether twice the rows are worth a try."""
    found = measured(size, cfg, task, data)
    if found is None:
        search.end = f"{size} rows do not fit into memory"
        return
    device = found_device(cfg)
    free = memory.available(device) + (found.num_bytes if device.type == "cuda" else 0)
    if found.num_bytes > MOST_OF_MEMORY * free:
        search.end = f"{size} rows take {format_bytes(found.num_bytes)} of {format_bytes(free)}"
        if search.tried:
            return
    search.tried.append(found)
    if 2 * found.num_bytes > MOST_OF_MEMORY * free:
        search.end = f"{2 * size} rows would take too much of {format_bytes(free)} of memory"
    rates = [t.rate for t in search.tried]
    if len(rates) > 2 and max(rates[-2:]) * NEARLY < max(rates[:-2]):
        search.end = search.end or f"{size} rows are no faster than {search.size}"


def found_device(cfg: DictConfig) -> torch.device:
    uses_gpu = torch.cuda.is_available() and cfg.trainer.get("accelerator", "auto") != "cpu"
    return torch.device("cuda" if uses_gpu else "cpu")


def measured(size: int, cfg: DictConfig, task: Task, data: DataModule) -> Tried | None:
    """Rows a second, and bytes; None if memory ran out."""
    clock = Clock()
    with random_states_kept():
        twin: Any = copy_of(task, cfg, data)
        trainer = silent_trainer(cfg, clock)
        memory.forget_highest()
        started = memory.resident()
        try:
            trainer.fit(twin, data)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        finally:
            on_gpu = trainer.strategy.root_device.type == "cuda"
            taken = torch.cuda.max_memory_allocated() if on_gpu else max(memory.highest() - started, 0)
            del twin, trainer
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    return Tried(size, size / min(clock.laps), taken)


def silent_trainer(cfg: DictConfig, clock: Clock) -> pl.Trainer:
    try:
        trainer: pl.Trainer = instantiate(cfg.trainer, _partial_=True)(
            max_epochs=-1,
            max_steps=NUM_STEPS * max(1, cfg.trainer.get("accumulate_grad_batches") or 1),
            limit_val_batches=0,
            callbacks=[clock],
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise UserError(f"trainer: {error}") from None
    if trainer.world_size > 1:
        raise UserError("data.batch_size=auto measures on one device: find it with trainer=auto, then give the number")
    return trainer


class Clock(Callback):
    """The seconds of each batch but the first."""

    def __init__(self) -> None:
        self.laps: list[float] = []
        self.total = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        wait(trainer)
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        wait(trainer)
        lap = time.perf_counter() - self.started
        self.total += lap
        if self.total - lap > 0 or self.total > MOST_SECONDS:
            self.laps.append(lap)
        if self.total > MOST_SECONDS:
            trainer.should_stop = True


def wait(trainer: pl.Trainer) -> None:
    if trainer.strategy.root_device.type == "cuda":
        torch.cuda.synchronize()


def write(search: Search, run_dir: Path) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "batch_size.csv").open("w", newline="") as file:
        writer = csv_files.Writer(file)
        writer.writerow(["batch_size", "rows_per_second", "mib"])
        writer.writerows([t.size, f"{t.rate:.1f}", f"{t.num_bytes / 2**20:.1f}"] for t in search.tried)
