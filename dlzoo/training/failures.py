"""Ends a run that failed: the error that the user sees, and the results up to then."""

from __future__ import annotations

import contextlib
import traceback
from pathlib import Path

import lightning.fabric.loggers
import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from dlzoo.config.allowlist import user_packages
from dlzoo.config.run_config import RunConfig, target_of
from dlzoo.data.loaders import WORKER_TIMEOUT_SECONDS
from dlzoo.distributed.ddp import is_lost_connection
from dlzoo.errors import MISTAKES, NonFinite, RankLost, RunFailed, UserError, nearest, one_line
from dlzoo.training import out_of_memory as memory
from dlzoo.training import results
from dlzoo.training.interruption import Interrupted
from dlzoo.training.nan_guard import rerun
from dlzoo.training.results import RunResults
from dlzoo.utils import archives as durable
from dlzoo.utils.memory import is_out_of_memory

ONE_VALUE_PER_CHANNEL = "Expected more than 1 value per channel when training"
"""How PyTorch's error begins if BatchNorm has nothing to average over."""


def explain(error: Exception, config: RunConfig, trainer: pl.Trainer, run_dir: Path) -> Exception:
    """The error to report to the user; an unknown error is returned unchanged, since it is a bug of ours."""
    if isinstance(error, NonFinite):
        return rerun.explain(error, user_packages(target_of(config.net), target_of(config.task)))
    if isinstance(error, MisconfigurationException | RuntimeError):
        missing = _missing_metric(error, config, trainer)
        if missing is not None:
            return missing
    if isinstance(error, MisconfigurationException):
        return UserError(f"trainer or callbacks: {error}")
    if isinstance(error, UserError | Interrupted):
        return error
    if isinstance(error, RuntimeError | MemoryError) and is_out_of_memory(error):
        return memory.explain(error, config.data, trainer.strategy.root_device)
    if isinstance(error, ValueError) and str(error).startswith(ONE_VALUE_PER_CHANNEL):
        norm = ", or choose another norm with net.norm" if "norm" in config.net else ", or a model without BatchNorm"
        return UserError(
            "BatchNorm cannot be trained on a batch of one row, whose mean it would subtract: set data.batch_size to 2 "
            f"or more (now {config.data.get('batch_size')}), with at least 2 training rows{norm}"
        )
    if trainer.world_size > 1 and is_lost_connection(error):
        return RankLost(trainer.global_rank)
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader "):  # timed out, or a worker was killed
        return RunFailed(
            f"a data loading worker was killed or sent nothing for {WORKER_TIMEOUT_SECONDS} seconds, usually for lack "
            "of memory: lower data.num_workers (0 loads data in the main process) or data.batch_size "
            f"({one_line(error, 100)})"
        )
    if cause := durable.write_failure(error, run_dir):
        return durable.write_error(cause.filename or run_dir, cause)
    if isinstance(error, (*MISTAKES, AttributeError, LookupError, OSError)) and (name := failing_part(error)):
        return UserError(f"{name} cannot work with these options: {one_line(error, 300)}")
    return error


def _missing_metric(error: Exception, config: RunConfig, trainer: pl.Trainer) -> UserError | None:
    """The error for a callback of Lightning's that monitors a metric which does not exist; None for other errors."""
    metrics = trainer.callback_metrics
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        monitor = callback.monitor if isinstance(callback, EarlyStopping | ModelCheckpoint) else None
        if monitor is None or monitor in metrics or not any(f"{q}{monitor}{q}" in str(error) for q in "`'"):
            continue
        name = type(callback).__name__
        keys = (key for key, node in config.callbacks.items() if target_of(node).rpartition(".")[2] == name)
        problem = f"callbacks.{next(keys, name)}.monitor={monitor}"
        if monitor.startswith("val/") and not trainer.enable_validation:
            return UserError(
                f"{problem}: there is no validation: raise trainer.limit_val_batches, or omit the callback"
            )
        return UserError(f"{problem}: there is no such metric; {nearest(monitor, metrics)}")
    return None


LIGHTNING_FOLDERS = {
    Path(pl.callbacks.__file__).parent: "callbacks",
    Path(pl.loggers.__file__).parent: "logger",
    Path(lightning.fabric.loggers.__file__).parent: "logger",
    Path(pl.loops.__file__).parent: "trainer",
}
"""Folders of Lightning whose code fails if an option has a value that it cannot use, with the node of that option."""


def failing_part(error: BaseException) -> str:
    """The module of Lightning's callbacks or loggers that raised an error, unless it called code of ours; "trainer" if
    one of its loops rejected an option; else an empty string."""
    files = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = Path(__file__).parent
    for file in reversed(files):
        if file.is_relative_to(ours):
            return ""
        kind = next((kind for folder, kind in LIGHTNING_FOLDERS.items() if file.is_relative_to(folder)), None)
        if kind == "trainer":
            return kind if file == files[-1] and isinstance(error, ValueError) else ""
        if kind is not None:
            return f"{kind}: {file.stem}"
    return ""


def write_results(run_dir: Path, outcome: RunResults, error: Exception) -> None:
    """Write ``results.json`` with the results so far and the reason, if the disk has space for it."""
    status: RunResults
    if isinstance(error, Interrupted):
        status = {"status": "interrupted"}
    else:
        status = {"status": "failed", "reason": error.reason if isinstance(error, RunFailed) else str(error)}
    with contextlib.suppress(OSError):
        results.write(run_dir, outcome | status)
