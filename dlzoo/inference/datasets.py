"""The data that a checkpoint is tested on: those of its run, or compatible ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlzoo.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from dlzoo.data.base import DataModule
    from dlzoo.specs.base import Spec


TRAINER_OPTIONS = ("accelerator", "precision", "deterministic", "limit_test_batches")
"""Trainer options that are kept when testing again, to reproduce the run's metrics."""


def composed(stored: DictConfig, data: str | None, overrides: Sequence[str], trust: str | None = None) -> DictConfig:
    """A checked config with the data to test on.

    Other data come with their own defaults, the run's seed and no claims; limits on the number of batches apply to
    the run's data only.
    """
    from omegaconf import open_dict

    from dlzoo.config import compose as config
    from dlzoo.config import schema
    from dlzoo.config.allowlist import packages_in
    from dlzoo.config.introspection import arguments, locate

    plain = ["callbacks=measures", "logger=none", f"seed={stored.get('seed', 0)}"]
    trainer = stored.get("trainer") or {}
    kept = {key: trainer[key] for key in TRAINER_OPTIONS if isinstance(trainer.get(key), str | int | float)}
    if data is not None:
        cfg = config.compose(
            [*plain, f"data={data}", *(override for override in overrides if override.startswith("data."))]
        )
        kept.pop("limit_test_batches", None)
    else:
        cfg = config.compose(plain)
        with open_dict(cfg):
            cfg.data = stored.data
            cfg.expect = stored.get("expect") or []
            cfg.names.data = stored.names.data
            if "data_dir" in arguments(locate(cfg.data._target_, "data._target_")):
                cfg.data.data_dir = cfg.data_dir
        _override(cfg, [override for override in overrides if override.startswith("data.")])
    if kept.get("accelerator") != "cpu":
        kept["accelerator"] = "auto"  # the run's accelerator may not be here
    with open_dict(cfg):
        cfg.data.pop("augment", None)  # only training batches are augmented
        cfg.trainer.update(kept)
    _override(cfg, [override for override in overrides if override.startswith("trainer.")])
    schema.check(cfg, overrides, packages_in(trust))
    return cfg


def build_data(cfg: DictConfig, trained: Spec) -> DataModule:
    """The data of a config from `composed`, encoding rows with the checkpoint's fitted statistics and vocabulary.

    Nothing is downloaded. `UserError` if they are incompatible with the checkpoint.
    """
    from hydra.errors import InstantiationException

    from dlzoo.config import instantiate as build

    try:
        source = build.build_data(cfg.data)
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | TypeError):
            raise UserError(str(error.__cause__)) from None
        raise
    source.adopt(trained)
    check_fit(trained, source.declare(), f"data={cfg.names.data}")
    return source


def check_fit(trained: Spec, given: Spec, data: str) -> None:
    """Reject incompatible data, naming the difference.

    Statistics and class counts may differ; a unit that only one of them declares is no difference.
    """
    if difference := trained.difference(given):
        ours, theirs = difference
        raise UserError(f"{data} does not fit this checkpoint: it was trained on {ours}, but {data} gives {theirs}")


def _override(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Apply ``key=value`` overrides, in Hydra's grammar, to a config that Hydra did not compose."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    from dlzoo.config import overrides as config_overrides

    overrides = [config_overrides.readable(override) for override in overrides]
    for text, override in zip(overrides, OverridesParser.create().parse_overrides(list(overrides)), strict=True):
        if override.is_sweep_override():
            raise UserError(f"{text}: give one value; a list is written [a,b]")
        OmegaConf.update(cfg, override.key_or_group, override.value(), force_add=True)
