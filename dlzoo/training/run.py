"""One run from config to results: build, fit, test, report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from dlzoo.config import schema
from dlzoo.errors import RunFailed, UserError
from dlzoo.utils.logging import quiet

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from dlzoo.checkpoint.format import StoredCheckpoint


def run(cfg: DictConfig, run_dir: Path, overrides: list[str], stored: StoredCheckpoint | None = None) -> dict[str, Any]:
    """Train, test the best checkpoint, and leave ``results.json`` and the rest in the run folder.

    Args:
        stored: the checkpoint ``cfg.ckpt``, where it has been read.

    Raises:
        UserError: the config holds a mistake, or the parts do not fit; nothing has been read or downloaded then.
    """
    started = time.perf_counter()
    given = overrides
    if cfg.ckpt is not None and stored is None:
        stored = _read_stored(cfg.ckpt)
    is_auto = isinstance(cfg.data, DictConfig) and cfg.data.get("batch_size") == "auto"
    finds_batch_size = is_auto and _batch_size_must_be_found(cfg, stored)
    schema.check(cfg, overrides)
    if cfg.get("sweep"):
        raise UserError("sweep is for many runs: add -m")

    import lightning.pytorch as pl

    from dlzoo.checkpoint import data_changes as changed_data
    from dlzoo.checkpoint.format import make_card
    from dlzoo.checkpoint.load import restore
    from dlzoo.config import instantiate as build
    from dlzoo.config import run_files
    from dlzoo.training import failures as endings
    from dlzoo.training import results
    from dlzoo.training import summary as outcome
    from dlzoo.training import trainer as training_trainer
    from dlzoo.training.interruption import Interrupted, listening
    from dlzoo.training.tuning import apply as found

    quiet()
    run_dir.mkdir(parents=True, exist_ok=True)
    run_files.check_links(run_dir)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build.build_data(cfg)
    build.check_fit(cfg, data, overrides)
    training_trainer.use_safe_optimizer(cfg)
    data.prepare_data()
    data.setup("fit")
    rows = data.fit_fingerprint()
    if stored is not None:
        changed_data.check_continued(cfg, data, rows, stored.content)
    task = build.build_task(cfg, data.spec)
    if finds_batch_size:
        overrides = found.with_found_batch_size(cfg, task, data, run_dir, overrides)
        data = build.build_data(cfg)
        data.setup("fit")
    if cfg.lr_find and cfg.ckpt is None:
        overrides = found.with_found_rate(cfg, task, data, run_dir, overrides)
    card = make_card(cfg, overrides, data.spec, rows)
    trainer = training_trainer.build_trainer(cfg, task, run_dir, card, stored)
    outcome.announce(cfg, task, trainer)
    if stored is not None:
        restore(task, stored.content, cfg.ckpt)  # fit() does so too, but features are computed before it
    else:
        for line in task.net.load_pretrained():
            print(line)
    fit_data = training_trainer.cached_features(task, data, trainer) if cfg.cache_features else data
    seconds = {"setup": time.perf_counter() - started}
    told = {**outcome.outcome_of(cfg, trainer, task), "seconds": seconds}
    if found_out := found.overrides_of(cfg, given, overrides):
        told["found"] = found_out
    with listening(trainer):  # also while it ends: torchrun sends a signal when another process has died
        try:
            metrics = _fit_and_test(cfg, trainer, task, fit_data, data, seconds)
        except Exception as error:
            ended = endings.explained(error, cfg, trainer, run_dir)
            if trainer.is_global_zero and (trainer.global_step > 0 or isinstance(ended, Interrupted | RunFailed)):
                metrics = task.last_metrics | {name: float(value) for name, value in trainer.callback_metrics.items()}
                endings.leave(run_dir, told | outcome.reached(cfg, trainer, metrics), ended)
            if ended is error:
                raise
            raise ended from None
    told |= outcome.reached(cfg, trainer, metrics) | {"status": "finished"}
    if cfg.get("on_nan") == "skip":
        told["skipped_steps"] = task.skipped_steps
    if trainer.is_global_zero:
        outcome.log_hyperparameters(cfg, trainer, metrics)
        results.write(run_dir, told)
        results.show(told, run_dir)
    return told


def _read_stored(ckpt: str) -> StoredCheckpoint:
    from dlzoo.checkpoint.format import read_stored

    return read_stored(ckpt)


def _batch_size_must_be_found(cfg: DictConfig, stored: StoredCheckpoint | None) -> bool:
    from dlzoo.training.tuning import batch_size

    return batch_size.must_be_found(cfg, None if stored is None else stored.content)


def _fit_and_test(
    cfg: DictConfig, trainer: pl.Trainer, task: Any, fit_data: Any, data: Any, seconds: dict[str, float]
) -> dict[str, float]:
    """The metrics; the seconds of both are added to ``seconds``."""
    from dlzoo.checkpoint.load import restore
    from dlzoo.training import summary as outcome
    from dlzoo.utils.checkpoint_files import read

    seconds["fit"] = _timed(lambda: trainer.fit(task, fit_data, ckpt_path=cfg.ckpt))
    metrics = task.last_metrics | {name: float(value) for name, value in trainer.callback_metrics.items()}
    best, _ = outcome.checkpoints(trainer)
    is_sharded = cfg.trainer.get("strategy") == "fsdp"  # then only Lightning knows which weights lie where
    if best is not None and not is_sharded:
        # Not as ckpt_path: with it EMAWeightAveraging puts back the weights that are not averaged.
        restore(task, read(best), best)
    ckpt = best if is_sharded else None
    seconds["test"] = _timed(lambda: trainer.test(task, data, ckpt_path=ckpt, verbose=False)) if cfg.test else 0.0
    return metrics | {name: float(value) for name, value in trainer.callback_metrics.items()}


def _timed(action: Any) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
