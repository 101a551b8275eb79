"""What a sweep is to do: the group ``sweep=`` and the keys ``sweep.<name>=`` of a command line."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from omegaconf import OmegaConf

from dlzoo.config import allowlist as trust
from dlzoo.config import compose as config
from dlzoo.config.allowlist import Trust
from dlzoo.errors import UserError, at_least, nearest, short
from dlzoo.utils import type_checks

SamplerName = Literal["random", "tpe", "gp"]
PrunerName = Literal["none", "median", "halving", "hyperband"]

HIGHER_IS_BETTER = ("accuracy", "f1", "r2", "bleu")
LOWER_IS_BETTER = ("loss", "rmse", "mae", "mse", "mape", "smape", "mase", "perplexity", "distance", "error")


@dataclass(frozen=True)
class Settings:
    """Of a search; a grid has only ``metric`` and ``mode``."""

    sampler: SamplerName = "tpe"
    """How the next values are chosen: at random, by a tree-structured Parzen estimator, by a Gaussian process."""
    pruner: PrunerName = "none"
    """Who says after each epoch whether a trial goes on."""
    trials: int = 20
    """In all, of every process and earlier start: finished, stopped early and failed."""
    epochs: int | None = None
    """That all trials may train together; whichever of the two is reached first ends the search."""
    min_epochs: int = 1
    """Before a trial may be stopped."""
    factor: int = 3
    """Of the trials that reach a rung of halving or hyperband, one in so many goes on."""
    metric: str | None = None
    """What is compared; null: the task's own in a grid, val/loss in a search."""
    mode: Literal["min", "max"] | None = None
    """Whether its lowest or highest is best; null: as its name says."""
    winner: Literal["retrain", "train_val", "none"] = "retrain"
    """Train the best trial once more and test it; train_val: on validation rows too, for its best number of epochs."""
    seed: int = 0
    """Of the choices; the trials train with the run's own ``seed``."""
    storage: str | None = None
    """A URL of Optuna's, for many machines; null: a file in the sweep's folder, for many processes."""
    name: str | None = None
    """Of the study and its folder; null: made from what is searched, so that the same command goes on with it."""
    space: dict[str, Any] = field(default_factory=dict)
    """See dlzoo/sweep/space.py."""
    words: list[str] = field(default_factory=list)
    """Overrides that every trial starts with; the command line wins over them."""

    def direction(self, metric: str) -> Literal["min", "max"]:
        """Whether a metric's lowest or highest value is its best.

        >>> Settings().direction("val/accuracy"), Settings().direction("val/loss")
        ('max', 'min')
        """
        name = metric.rpartition("/")[2]
        if self.mode is not None:
            return self.mode
        if any(word in name for word in HIGHER_IS_BETTER):
            return "max"
        if any(word in name for word in LOWER_IS_BETTER):
            return "min"
        raise UserError(f"sweep.metric={metric}: give sweep.mode=min or sweep.mode=max with it")


def read(words: Sequence[str], flags: Sequence[str] = ()) -> Settings:
    """The settings from the words about ``sweep``, with Hydra's flags.

    Raises:
        UserError: an unknown setting or one of the wrong type.
    """
    plain: Any = OmegaConf.to_container(config.compose_with_hydra(words, flags).get("sweep") or OmegaConf.create({}))
    fields = {entry.name for entry in dataclasses.fields(Settings)}
    hints = typing.get_type_hints(Settings)
    for name, value in plain.items():
        if name not in fields:
            raise UserError(f"sweep.{name}: there is no such setting; {nearest(str(name), fields)}")
        type_checks.check_value(value, hints[name], f"sweep.{name}")
    found = Settings(**plain)
    at_least(1, "sweep", trials=found.trials, epochs=found.epochs, min_epochs=found.min_epochs)
    at_least(2, "sweep", factor=found.factor)
    return found


def check_files(found: Settings, trusted: Trust, known: Sequence[str]) -> None:
    """`UserError` if the files of a sweep do more than choose options of a run: they are passed on from hand to hand.

    Args:
        known: what an override may begin with.
    """
    texts = [f"{key}={value}" for key, entry in found.space.items() for value in _values(entry)]
    for word in (*found.words, *texts):
        if trust.check_stored([word], "sweep", trusted, known) != [word]:
            raise UserError(f"sweep brings the word {short(word)}: where a run writes is for the command line")
    if found.storage is not None and "sweep.storage" not in trusted.typed:
        raise UserError(f"sweep.storage={short(found.storage)} is set by a file: give it on the command line")
    if found.name is not None and ("/" in found.name or found.name in (".", "..")):
        raise UserError(f"sweep.name={short(found.name)}: this names a folder, and is no path")


def _values(entry: Any) -> list[Any]:
    """Of an entry of a space: its choices; any value stands for those of a range."""
    if isinstance(entry, list):
        return entry
    return [choice for part in entry.values() for choice in _values(part)] if isinstance(entry, dict) else [0]
