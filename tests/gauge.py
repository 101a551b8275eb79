"""What a process holds at an epoch of a run: memory, open files, threads, objects, and what lies in the run folder."""

from __future__ import annotations

import gc
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import lightning.pytorch as pl
import torch

from dlzoo.callbacks.base import Observer


def megabytes() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def held(folder: Path) -> dict[str, float]:
    """What this process and its run folder hold now."""
    gc.collect()
    objects = gc.get_objects()
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "gauge.json"]
    return {
        "memory": megabytes(),
        "open files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "tensors": sum(issubclass(type(o), torch.Tensor) for o in objects),
        "objects": len(objects),
        "files": len(files),
        "disk": sum(path.stat().st_size for path in files) / 2**20,
    }


class Gauge(Observer):
    """Writes gauge.json into the run folder.

    Args:
        epochs: after which of them it is read.
    """

    def __init__(self, *, epochs: Sequence[int] = (100, 1000)) -> None:
        self.epochs = [*epochs]
        self.readings: dict[int, dict[str, float]] = {}

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch in self.epochs:
            folder = Path(trainer.default_root_dir)
            self.readings[trainer.current_epoch] = held(folder)
            (folder / "gauge.json").write_text(json.dumps(self.readings))
