"""The data that a checkpoint is tested on: its own, or others that fit it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlzoo.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from dlzoo.data.base import DataModule
    from dlzoo.specs.base import Spec


TRAINER_OPTIONS = ("accelerator", "precision", "deterministic", "limit_test_batches")
"""What the test of a run takes from its trainer, so that testing again gives its figures."""


def composed(stored: DictConfig, data: str | None, overrides: Sequence[str], trust: str | None = None) -> DictConfig:
    """A checked config whose data are to be tested on.

    Other data bring their own defaults, the run's seed and no claims; limits on the number of batches were meant for
    the run's own data.
    """
    from omegaconf import open_dict

    from dlzoo.config import compose as config
    from dlzoo.config import schema
    from dlzoo.config.allowlist import packages_in
    from dlzoo.config.introspection import arguments, locate

    plain = ["callbacks=measures", "logger=none", f"seed={stored.get('seed', 0)}"]
    ours = stored.get("trainer") or {}
    kept = {key: ours[key] for key in TRAINER_OPTIONS if isinstance(ours.get(key), str | int | float)}
    if data is not None:
        cfg = config.compose([*plain, f"data={data}", *(word for word in overrides if word.startswith("data."))])
        kept.pop("limit_test_batches", None)
    else:
        cfg = config.compose(plain)
        with open_dict(cfg):
            cfg.data = stored.data
            cfg.expect = stored.get("expect") or []
            cfg.names.data = stored.names.data
            if "data_dir" in arguments(locate(cfg.data._target_, "data._target_")):
                cfg.data.data_dir = cfg.data_dir
        _override(cfg, [word for word in overrides if word.startswith("data.")])
    if kept.get("accelerator") != "cpu":
        kept["accelerator"] = "auto"  # the run's accelerator may not be here
    with open_dict(cfg):
        cfg.data.pop("augment", None)  # only training batches are augmented
        cfg.trainer.update(kept)
    _override(cfg, [word for word in overrides if word.startswith("trainer.")])
    schema.check(cfg, overrides, packages_in(trust))
    return cfg


def build_data(cfg: DictConfig, trained: Spec) -> DataModule:
    """The data of a config made by `composed`, which encode their rows as the checkpoint has learned to.

    Nothing is downloaded. `UserError` if they do not fit the checkpoint.
    """
    from hydra.errors import InstantiationException

    from dlzoo.config import instantiate as build

    try:
        source = build.build_data(cfg)
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | TypeError):
            raise UserError(str(error.__cause__)) from None
        raise
    source.adopt(trained)
    check_fit(trained, source.declare(), f"data={cfg.names.data}")
    return source


def check_fit(trained: Spec, given: Spec, data: str) -> None:
    """Refuse data that the checkpoint was not trained for, saying what each has.

    Statistics and class counts may differ; a unit that one of them does not know is no difference.
    """
    if difference := trained.difference(given):
        ours, theirs = difference
        raise UserError(f"{data} does not fit this checkpoint: it was trained on {ours}, but {data} gives {theirs}")


def _override(cfg: DictConfig, words: Sequence[str]) -> None:
    """Apply ``key=value`` words to a config that Hydra did not compose, in Hydra's own grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    from dlzoo.config import overrides as config_overrides

    words = [config_overrides.readable(word) for word in words]
    for word, override in zip(words, OverridesParser.create().parse_overrides(list(words)), strict=True):
        if override.is_sweep_override():
            raise UserError(f"{word}: give one value; a list is written [a,b]")
        OmegaConf.update(cfg, override.key_or_group, override.value(), force_add=True)
