"""Settings of a sweep: the group ``sweep=`` and the keys ``sweep.<name>=`` of a command line."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from omegaconf import OmegaConf

from dlzoo.config import compose as config
from dlzoo.config import stored_overrides
from dlzoo.config.allowlist import Trust
from dlzoo.errors import UserError, at_least, nearest, short
from dlzoo.sweep import space as spaces
from dlzoo.utils import type_checks
from dlzoo.utils.processes import check_processes

SamplerName = Literal["random", "tpe", "gp"]
PrunerName = Literal["none", "median", "halving", "hyperband"]

HIGHER_IS_BETTER = ("accuracy", "f1", "r2", "bleu")
LOWER_IS_BETTER = ("loss", "rmse", "mae", "mse", "mape", "smape", "mase", "perplexity", "distance", "error")


@dataclass(frozen=True)
class Settings:
    """Settings of a search; a grid uses only ``metric``, ``mode`` and ``jobs``."""

    sampler: SamplerName = "tpe"
    """How values are sampled: at random, by a tree-structured Parzen estimator, or by a Gaussian process."""
    pruner: PrunerName = "none"
    """Which pruner decides after each epoch whether a trial continues."""
    trials: int = 20
    """Total number over all processes and restarts: completed, pruned and failed."""
    jobs: int = 1
    """Number of trials that run at the same time, each in a process of its own, which share processors and GPUs."""
    epochs: int | None = None
    """Total epochs over all trials; the search ends when either limit is reached."""
    min_epochs: int = 1
    """Epochs before a trial may be pruned."""
    factor: int = 3
    """Reduction factor of halving and hyperband: one in ``factor`` trials is promoted from each rung."""
    metric: str | None = None
    """Metric that trials are compared by; null: the task's monitored metric in a grid, val/loss in a search."""
    mode: Literal["min", "max"] | None = None
    """Whether lower or higher is better; null: inferred from the metric's name."""
    winner: Literal["retrain", "train_val", "none"] = "retrain"
    """Retrain the best trial and test it; train_val: on the validation rows too, for its best number of epochs."""
    seed: int = 0
    """Seed of the sampler; the trials themselves train with the run's ``seed``."""
    storage: str | None = None
    """An Optuna storage URL, to share a study between machines; null: a file in the sweep folder, for processes."""
    name: str | None = None
    """Name of the study and its folder; null: derived from the search, so that the same command resumes it."""
    space: dict[str, object] = field(default_factory=dict)
    """See dlzoo/sweep/space.py."""
    words: list[str] = field(default_factory=list)
    """Overrides that every trial starts with; the command line takes precedence."""

    def direction(self, metric: str) -> Literal["min", "max"]:
        """Whether a lower or a higher value of a metric is better.

        >>> Settings().direction("val/accuracy"), Settings().direction("val/loss")
        ('max', 'min')
        """
        name = metric.rpartition("/")[2]
        if self.mode is not None:
            return self.mode
        if any(part in name for part in HIGHER_IS_BETTER):
            return "max"
        if any(part in name for part in LOWER_IS_BETTER):
            return "min"
        raise UserError(
            f"sweep.metric={metric}: its name does not say which way is better; add sweep.mode=min or sweep.mode=max"
        )


def read(overrides: Sequence[str], flags: Sequence[str] = ()) -> Settings:
    """Read the settings from the overrides of ``sweep``, with Hydra's flags.

    Raises:
        UserError: an unknown setting or one of the wrong type.
    """
    plain: Any = OmegaConf.to_container(
        config.compose_with_hydra(overrides, flags).get("sweep") or OmegaConf.create({})
    )
    fields = {entry.name for entry in dataclasses.fields(Settings)}
    hints = typing.get_type_hints(Settings)
    for name, value in plain.items():
        if name not in fields:
            raise UserError(f"sweep.{name}: there is no such setting; {nearest(str(name), fields)}")
        type_checks.check_value(value, hints[name], f"sweep.{name}")
    settings = Settings(**plain)
    at_least(
        1, "sweep", trials=settings.trials, jobs=settings.jobs, epochs=settings.epochs, min_epochs=settings.min_epochs
    )
    at_least(2, "sweep", factor=settings.factor)
    check_processes("sweep.jobs", settings.jobs)
    return settings


def check_files(settings: Settings, trusted: Trust, known: Sequence[str]) -> None:
    """Raise `UserError` if a sweep's files do more than choose options of a run, since such files are shared around.

    Args:
        known: keys that an override may start with.
    """
    for override in (*settings.words, *spaces.words_of(spaces.from_yaml(settings.space))):
        if stored_overrides.check([override], "sweep", trusted, known) != [override]:
            raise UserError(f"sweep sets {short(override)}: where a run writes may only be set on the command line")
    if settings.storage is not None and "sweep.storage" not in trusted.cli_values:
        raise UserError(f"sweep.storage={short(settings.storage)} is set in a file: only the command line may set it")
    if settings.name is not None and ("/" in settings.name or settings.name in (".", "..")):
        raise UserError(f"sweep.name={short(settings.name)}: give the name of a folder, not a path")
