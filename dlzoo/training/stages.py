"""The stages of a run, in the order in which `dlzoo.training.run.run` calls them: build, fit, test, report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import lightning.pytorch as pl

from dlzoo.callbacks import sinks
from dlzoo.checkpoint import data_changes
from dlzoo.checkpoint.format import StoredCheckpoint, make_manifest, read_stored
from dlzoo.checkpoint.load import restore
from dlzoo.config import instantiate as build_parts
from dlzoo.config import run_dir as run_folder
from dlzoo.config import run_files
from dlzoo.config.run_config import RunConfig
from dlzoo.data.base import DataModule
from dlzoo.distributed import launch as ranks
from dlzoo.errors import RunFailed
from dlzoo.specs.plain import from_plain
from dlzoo.tasks.base import Task
from dlzoo.training import failures, metrics_table, results, summary
from dlzoo.training import trainer as training_trainer
from dlzoo.training.interruption import Interrupted, handling_signals
from dlzoo.training.results import RunResults
from dlzoo.training.tuning import apply as tuning
from dlzoo.training.tuning import batch_size
from dlzoo.utils.checkpoint_files import manifest_in, read
from dlzoo.utils.logging import quiet


@dataclass
class Session:
    """A run whose parts have been built, with its results so far."""

    config: RunConfig
    run_dir: Path
    task: Task
    data: DataModule
    fit_data: DataModule
    """What the task is trained on: `data`, or the features of a frozen backbone."""
    trainer: pl.Trainer
    outcome: RunResults
    """The contents of ``results.json`` so far."""
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> dict[str, float]:
        """Duration of each stage."""
        return self.outcome.setdefault("seconds", {})

    def collect_metrics(self) -> None:
        """Add the current metrics of the trainer."""
        self.metrics |= {name: float(value) for name, value in self.trainer.callback_metrics.items()}


def build(config: RunConfig, run_dir: Path, overrides: list[str], stored: StoredCheckpoint | None = None) -> Session:
    """Build data, task and trainer, with the options that the run determines itself.

    Args:
        overrides: those of the command line.
        stored: the checkpoint to resume from, if it has been read already.

    Raises:
        UserError: the parts do not fit together, or do not match the checkpoint.
    """
    if config.ckpt is not None and stored is None:
        stored = read_stored(config.ckpt)
    config = batch_size.resumed(config, None if stored is None else stored.content)
    quiet()
    run_dir.mkdir(parents=True, exist_ok=True)
    run_files.check_links(run_dir)
    run_files.check_kinds(run_dir)
    pl.seed_everything(config.seed, workers=True, verbose=False)

    stored_spec = None if stored is None else from_plain(manifest_in(stored.content)["spec"])
    data = build_parts.build_run_data(config, stored_spec)
    build_parts.check_fit(config, data, overrides)
    config = training_trainer.with_safe_optimizer(config)
    data.prepare_data()
    data.setup("fit")
    rows = data.fit_fingerprint()
    if stored is not None:
        data_changes.check_continued(config, data, rows, stored.content)

    task = build_parts.build_task(config, data.spec)
    if ranks.rank() == 0:
        run_folder.begin(run_dir, config.ckpt)
    given = overrides
    if config.finds_batch_size:
        config, overrides = tuning.use_best_batch_size(config, task, data, run_dir, overrides)
        data = build_parts.build_run_data(config, stored_spec)
        data.setup("fit")
    if config.lr_find and config.ckpt is None:
        config, overrides = tuning.use_best_learning_rate(config, task, data, run_dir, overrides)

    manifest = make_manifest(config.to_plain(), overrides, data.spec, rows)
    trainer = training_trainer.build_trainer(config, task, run_dir, manifest, overrides, stored)
    summary.print_summary(config.names, task, trainer, data.notes())
    summary.log_start(config, given, trainer)
    if stored is not None:
        restore(task, stored.content, stored.path)  # fit() does this too, but features are computed earlier
    else:
        for line in task.net.load_pretrained():
            print(line)
    fit_data = training_trainer.cached_features(task, data, trainer) if config.cache_features else data
    outcome = summary.initial_results(config, trainer, task)
    if chosen := tuning.chosen_overrides(config, given, overrides):
        outcome["found"] = chosen
    return Session(config, run_dir, task, data, fit_data, trainer, outcome)


def fit(session: Session) -> None:
    """Train, starting from the checkpoint if there is one."""
    started = time.perf_counter()
    session.trainer.fit(session.task, session.fit_data, ckpt_path=session.config.ckpt)
    session.seconds["fit"] = session.task.seconds_before + time.perf_counter() - started
    session.metrics |= session.task.last_metrics
    session.collect_metrics()


def test(session: Session) -> None:
    """Load the best weights into the task, and test them unless ``test=false``."""
    best, _ = summary.checkpoints(session.trainer)
    is_sharded = session.config.strategy == "fsdp"  # then only Lightning knows where each weight is
    if best is not None and not is_sharded:
        # Not through ckpt_path: EMAWeightAveraging would then restore the weights that are not averaged.
        restore(session.task, read(best), best)
    session.seconds["test"] = 0.0
    if session.config.test:
        started = time.perf_counter()
        session.trainer.test(session.task, session.data, ckpt_path=best if is_sharded else None, verbose=False)
        session.seconds["test"] = time.perf_counter() - started
    session.collect_metrics()


def report(session: Session) -> RunResults:
    """Write ``results.json``, print it and log the hyperparameters; returns its contents."""
    config, trainer = session.config, session.trainer
    outcome = session.outcome | summary.final_results(config.expect, trainer, session.metrics)
    outcome["status"] = "finished"
    if config.on_nan == "skip":
        outcome["skipped_steps"] = session.task.skipped_steps
    if trainer.is_global_zero:
        summary.log_end(config, trainer, session.metrics)
        results.write(session.run_dir, outcome)
        metrics_table.show(outcome, session.run_dir)
    return outcome


@contextmanager
def handling_failures(session: Session) -> Iterator[None]:
    """Handle signals, and turn an error of a stage into the one to report, after writing the results so far."""
    trainer = session.trainer
    with handling_signals(trainer):  # also while failing: torchrun sends a signal when another process has died
        try:
            yield
        except Exception as error:
            failure = failures.explain(error, session.config, trainer, session.run_dir)
            if trainer.is_global_zero and (trainer.global_step > 0 or isinstance(failure, Interrupted | RunFailed)):
                _write_results_so_far(session, failure)
            sinks.close(trainer, "failed")
            if failure is error:
                raise
            raise failure from None


def _write_results_so_far(session: Session, failure: Exception) -> None:
    session.metrics |= session.task.last_metrics
    session.collect_metrics()
    final = summary.final_results(session.config.expect, session.trainer, session.metrics)
    failures.write_results(session.run_dir, session.outcome | final, failure)
