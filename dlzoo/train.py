"""One run from config to results: ``python train.py model=lenet data=mnist``."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dlzoo import sweep
from dlzoo.config import compose as config
from dlzoo.distributed import launch as ranks
from dlzoo.errors import MISTAKES, RankLost, RunFailed, UserError, one_line, visible
from dlzoo.training.resume import resumed
from dlzoo.utils import archives as durable

if TYPE_CHECKING:
    import lightning.pytorch as pl

# torch, lightning and all that needs them are imported in run(): a typo and --help answer without them.


FAILED: list[str] = []
"""What the last command of this process complained of."""

_exit_code = 0
"""Of what Hydra called."""


def main() -> None:
    """The command: exit code 0 when the run did what was asked, 1 when it had to end, 2 for a mistake of the words."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # we say ourselves what is wrong
    global _exit_code
    FAILED.clear()
    _exit_code = 0
    try:
        words = config.prepare(sys.argv[1:])
        sys.argv[1:] = ranks.prepared(words if ranks.by_lightning() else resumed(words))
        if sweep.is_asked(sys.argv[1:]):
            sys.exit(sweep.run(sys.argv[1:]))
        config.check_hydra(sys.argv[1:])
        hydra.main(config_path=str(config.CONFIG_DIR), config_name="train", version_base="1.3")(job)()
    except UserError as error:
        sys.exit(_complain(str(error)))
    except (HydraException, OmegaConfBaseException) as error:
        if isinstance(error.__cause__, UserError):
            sys.exit(_complain(str(error.__cause__)))
        sys.exit(_complain(config.explain(error)))
    except OSError as error:
        if error.errno not in durable.NO_ROOM | durable.REFUSED:
            raise
        told = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
        sys.exit(_complain(f"{told}; output_dir says where runs are written, data_dir where data are"))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        signum = getattr(error, "signum", None)  # Interrupted, whose module needs torch
        if signum is None:
            raise
        if ranks.rank() == 0:
            print(f"\n{error}; the same command with resume=auto goes on from there", file=sys.stderr)
        # Lightning kills all ranks, the first too, when one that it started says that it has failed
        sys.exit(0 if ranks.by_lightning() else 128 + signum)
    sys.exit(_exit_code)


def job(cfg: DictConfig) -> None:
    """What Hydra calls."""
    hydra_cfg = HydraConfig.get()
    cfg = config.with_names(cfg, hydra_cfg.runtime.choices)
    run_dir = Path(hydra_cfg.runtime.output_dir)
    try:
        run(cfg, run_dir, list(hydra_cfg.overrides.task))
    except RunFailed as error:
        _complain(str(error), error.reason, code=1, everywhere=isinstance(error, RankLost))
    except (UserError, OmegaConfBaseException, InstantiationException) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if not isinstance(cause, (UserError, OmegaConfBaseException, *MISTAKES)):
            raise
        _complain(str(cause))
        if hydra_cfg.mode == RunMode.MULTIRUN:
            raise  # one of the runs that Hydra sent off: it tells the command that did so
        from dlzoo.utils import locks

        if ranks.rank() == 0 and {path.name for path in run_dir.iterdir()} <= {".hydra", locks.NAME}:
            shutil.rmtree(run_dir)  # nothing was run
    except (MemoryError, RuntimeError) as error:
        from dlzoo.training import out_of_memory as memory

        if not memory.has_run_out(error):
            raise
        _complain(memory.before_training(error), code=1)


def run(cfg: DictConfig, run_dir: Path, overrides: list[str]) -> dict[str, Any]:
    """Train, test the best checkpoint, and leave ``results.json`` and the rest in the run folder.

    Raises:
        UserError: the config holds a mistake, or the parts do not fit; nothing has been read or downloaded then.
    """
    started = time.perf_counter()
    given = overrides
    finds_batch_size = cfg.data.get("batch_size") == "auto" and _batch_size_must_be_found(cfg)
    config.check(cfg, overrides)
    if cfg.get("sweep"):
        raise UserError("sweep is for many runs: add -m")

    import lightning.pytorch as pl

    from dlzoo.checkpoint import data_changes as changed_data
    from dlzoo.checkpoint.load import make_card, read, restore
    from dlzoo.config import instantiate as build
    from dlzoo.config import run_files
    from dlzoo.training import failures as endings
    from dlzoo.training import results
    from dlzoo.training import summary as outcome
    from dlzoo.training.interruption import Interrupted, listening
    from dlzoo.training.tuning import apply as found

    quiet()
    run_dir.mkdir(parents=True, exist_ok=True)
    run_files.check_links(run_dir)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build.build_data(cfg)
    build.check_fit(cfg, data)
    build.use_safe_optimizer(cfg)
    data.prepare_data()
    data.setup("fit")
    rows = data.fit_fingerprint()
    if cfg.ckpt is not None:
        changed_data.check_continued(cfg, data, rows)
    task = build.build_task(cfg, data.spec)
    if finds_batch_size:
        overrides = found.with_found_batch_size(cfg, task, data, run_dir, overrides)
        data = build.build_data(cfg)
        data.setup("fit")
    if cfg.lr_find and cfg.ckpt is None:
        overrides = found.with_found_rate(cfg, task, data, run_dir, overrides)
    card = make_card(cfg, overrides, data.spec, rows)
    trainer = build.build_trainer(cfg, task, run_dir, card)
    outcome.announce(cfg, task, trainer)
    if cfg.ckpt is not None:
        restore(task, read(cfg.ckpt), cfg.ckpt)  # fit() does so too, but features are computed before it
    elif hasattr(task.net, "load_weights"):
        for line in task.net.load_weights():  # type: ignore[operator]
            print(line)
    fit_data = build.cached_features(task, data, trainer) if cfg.cache_features else data
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


def _batch_size_must_be_found(cfg: DictConfig) -> bool:
    from dlzoo.training.tuning import batch_size

    return batch_size.must_be_found(cfg)


def _fit_and_test(
    cfg: DictConfig, trainer: pl.Trainer, task: Any, fit_data: Any, data: Any, seconds: dict[str, float]
) -> dict[str, float]:
    """The metrics; the seconds of both are added to ``seconds``."""
    from dlzoo.checkpoint.load import read, restore
    from dlzoo.training import summary as outcome

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


def quiet() -> None:
    """Keep to what a user can act on: Lightning's advice about workers and loggers does not concern our loaders."""
    import logging

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    advice = (
        "does not have many workers",
        "sync_dist=True",
        "exists and is not empty",
        "LeafSpec",
        "logging interval",
        "in eval mode",
        "returned `None`",  # a player at random has nothing to optimize
        "which is not available but strict",  # a plateau schedule in an epoch without validation: see tasks/base.py
        "lr_scheduler.step\\(\\)` before",  # a schedule may begin while a replay buffer is still being filled
    )
    for text in advice:
        warnings.filterwarnings("ignore", f".*{text}.*")
    threading.excepthook = _hear_of_thread


def _hear_of_thread(failed: Any) -> None:
    """TensorBoard's writer fails in a thread, and then once more in ours, which says that a disk is full."""
    if durable.refusal(failed.exc_value, Path()) is None:
        threading.__excepthook__(failed)


def _complain(message: str, reason: str = "", code: int = 2, *, everywhere: bool = False) -> int:
    global _exit_code
    message = visible(message) if reason else one_line(message)
    FAILED.append(reason or message)
    _exit_code = code
    if everywhere or not ranks.by_lightning():  # the first rank says the same; torchrun may end it before it can
        print(f"error: {message}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    main()
