"""How a run ends that does not come to its end: what it says, and what it leaves."""

from __future__ import annotations

import contextlib
import traceback
from pathlib import Path
from typing import Any

import lightning.fabric.loggers
import lightning.pytorch as pl
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from dlzoo.config.allowlist import packages_behind
from dlzoo.data.loaders import PATIENCE_SECONDS
from dlzoo.distributed.ddp import is_lost_connection
from dlzoo.errors import MISTAKES, NonFinite, RankLost, RunFailed, UserError, one_line
from dlzoo.training import out_of_memory as memory
from dlzoo.training import results
from dlzoo.training.interruption import Interrupted
from dlzoo.training.nan_guard import rerun
from dlzoo.utils import archives as durable
from dlzoo.utils.memory import is_out_of_memory


def explained(error: Exception, cfg: DictConfig, trainer: pl.Trainer, run_dir: Path) -> Exception:
    """What the user is told; the error itself where nothing is known of it, for that is a mistake of ours."""
    if isinstance(error, NonFinite):
        return rerun.explained(error, packages_behind(cfg.net._target_, cfg.task._target_))
    if isinstance(error, MisconfigurationException):
        return UserError(f"trainer or callbacks: {error}")
    if isinstance(error, UserError | Interrupted):
        return error
    if isinstance(error, RuntimeError | MemoryError) and is_out_of_memory(error):
        return memory.explain(error, cfg, trainer.strategy.root_device)
    if trainer.world_size > 1 and is_lost_connection(error):
        return RankLost(trainer.global_rank)
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader "):  # timed out, or a worker was killed
        return RunFailed(
            f"of the processes that read the data, one has died or gave nothing for {PATIENCE_SECONDS} seconds; "
            "usually the memory does not suffice for them: lower data.num_workers (0 reads without them) or "
            f"data.batch_size ({one_line(error, 100)})"
        )
    if cause := durable.write_failure(error, run_dir):
        return durable.write_error(cause.filename or run_dir, cause)
    if isinstance(error, (*MISTAKES, AttributeError, LookupError, OSError)) and (name := part_at_fault(error)):
        return UserError(f"{name} cannot work with these options here: {one_line(error, 300)}")
    return error


OPTIONS_MEET = {
    "callbacks": Path(pl.callbacks.__file__).parent,
    "logger": Path(pl.loggers.__file__).parent,
    "logger of": Path(lightning.fabric.loggers.__file__).parent,
    "trainer": Path(pl.loops.__file__).parent,
}
"""Folders of Lightning whose code fails where it is given options that it cannot use."""


def part_at_fault(error: BaseException) -> str:
    """The module of Lightning's callbacks or loggers that an error came from, if none of ours was called by it, or the
    trainer, if one of its loops refused an option itself."""
    files = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = Path(__file__).parent
    for file in reversed(files):
        if file.is_relative_to(ours):
            return ""
        kind = next((kind for kind, folder in OPTIONS_MEET.items() if file.is_relative_to(folder)), None)
        if kind == "trainer":
            return kind if file == files[-1] and isinstance(error, ValueError) else ""
        if kind is not None:
            return f"{kind.split()[0]}: {file.stem}"
    return ""


def leave(run_dir: Path, outcome: dict[str, Any], error: Exception) -> None:
    """``results.json`` with what is known, if there is room for it."""
    if isinstance(error, Interrupted):
        ended = {"status": "interrupted"}
    else:
        ended = {"status": "failed", "reason": error.reason if isinstance(error, RunFailed) else str(error)}
    with contextlib.suppress(OSError):
        results.write(run_dir, outcome | ended)
