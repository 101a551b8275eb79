"""Hold every key of a composed config against the argument that it becomes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from dlzoo.config import allowlist as trust
from dlzoo.config import introspection as signatures
from dlzoo.config import renames, run_dir
from dlzoo.config.allowlist import Trust
from dlzoo.errors import UserError, ignored_option, nearest, short
from dlzoo.utils import type_checks
from dlzoo.utils.processes import check_processes

NODES = ("net", "task", "data", "optimizer", "scheduler", "trainer", "callbacks", "logger")
"""The parts of a run that are built from a ``_target_``, or from several."""


SETTINGS = (
    "seed",
    "deterministic",
    "compile",
    "cache_features",
    "profile",
    "data_dir",
    "output_dir",
    "ckpt",
    "resume",
    "test",
    "on_nan",
    "skip_limit",
    "lr_find",
    "expect",
    "grid",
    "sweep",
    "trust",
    "names",
)
"""The other keys at the top of a config."""


RUNTIME_ARGUMENTS = {
    "net": {"spec"},
    "task": {"net", "spec", "optimizer", "scheduler"},
    "optimizer": {"params"},
    "scheduler": {"optimizer", "plan"},
    "trainer": {"callbacks", "logger", "plugins", "default_root_dir"},
    "logger": {"save_dir"},
}
"""Arguments that build.py fills in: a config may not."""


def check(cfg: DictConfig, overrides: Sequence[str] = (), packages: Sequence[str] = ()) -> None:
    """Hold every key of a composed config against the argument that it becomes; its references are resolved for good.

    Args:
        overrides: what was typed: only that may name parts that nobody vouched for, and places outside of the run.
        packages: that the user trusts besides ``trust=`` of the overrides.

    Raises:
        UserError: a key that nothing reads, a ``_target_`` that does not exist, an argument that it does not take, or
            a value of the wrong type.
    """
    keys: list[Any] = list(cfg)
    for key in keys:
        if key not in NODES and key not in SETTINGS:
            raise UserError(f"{key}: nothing reads this key; {nearest(str(key), [*NODES, *SETTINGS])}")
    _check_settings(cfg)
    if cfg.get("ckpt") is None and cfg.get("on_nan") == "stop" and run_dir.is_given("skip_limit", overrides):
        raise ignored_option("skip_limit", cfg.skip_limit, "on_nan=skip")
    trusted = Trust.of(overrides, packages)
    if {*trust.packages_of(cfg.get("trust"))} - {*trusted.packages}:
        raise UserError(f"trust={cfg.trust} is set by a file: it is for the command line")
    OmegaConf.resolve(cfg)
    _rename(cfg)
    plain: Any = OmegaConf.to_container(cfg, throw_on_missing=False)
    assert isinstance(plain, dict)
    for key, value in trust.walk(plain):  # made of several texts, or with a backslash before it
        if isinstance(value, str) and "${" in value:
            raise UserError(f"{key}={short(value)}: what a reference stands for must not be a reference again")
    trust.check_places(plain, trusted)
    trainer = plain.get("trainer")
    check_processes("trainer.devices", trainer.get("devices") if isinstance(trainer, dict) else None)
    _check_launch(trainer)
    for name in NODES:
        node = plain.get(name)
        several = name in ("callbacks", "logger")
        if node is None or (name == "optimizer" and node == {}):  # optimizer=none
            continue
        if name == "optimizer" and isinstance(node, dict) and "_target_" not in node:
            raise UserError(
                f"optimizer=none, but optimizer.{min(map(str, node))} is set: choose an optimizer, such as "
                "optimizer=adam, or leave the option out"
            )
        if not isinstance(node, dict):
            raise UserError(f"{name}={node}: {name} is a group of settings, not a value; see python train.py --help")
        for key, part in node.items() if several else [("", node)]:
            path = f"{name}.{key!s}" if several else name
            if part is None:
                continue
            if not isinstance(part, dict) or "_target_" not in part:
                raise UserError(f"{path}: nothing reads this key; {nearest(str(key), {*node} - {key})}")
            found = [*signatures.targets(part, path)]
            for where, target_node in found:
                target = target_node["_target_"]
                trust.check_part(trusted.find(target, f"{where}._target_"), target, name, where)
            for where, target_node in found:
                signatures.check_arguments(
                    target_node, where, RUNTIME_ARGUMENTS.get(name, set()) if where == path else set()
                )


def _rename(cfg: DictConfig) -> None:
    """Put parts and options under their present names; a line on stderr for each name of an earlier version."""
    for name in NODES:
        node: Any = cfg.get(name)
        node = OmegaConf.to_container(node, throw_on_missing=False) if OmegaConf.is_config(node) else {}
        for place, part in signatures.targets(node, name):
            old = part["_target_"]
            if isinstance(old, str) and (new := renames.current(old)) != old:
                print(f"notice: {place}._target_: {old} is now {new}", file=sys.stderr)
                OmegaConf.update(cfg, f"{place}._target_", new)
                part["_target_"] = new
            for old_key, new_key in renames.options_of(part).items():
                print(f"notice: {place}.{old_key} is now {place}.{new_key}", file=sys.stderr)
                OmegaConf.update(cfg, f"{place}.{new_key}", part[old_key], force_add=True)
                with open_dict(cfg):
                    OmegaConf.select(cfg, place).pop(old_key)


def _check_launch(trainer: Any) -> None:
    """`UserError` for the Trainer's strategies and profilers, by name, that no run of dlzoo can work with."""
    options = trainer if isinstance(trainer, dict) else {}
    strategy, profiler = options.get("strategy"), options.get("profiler")
    if isinstance(strategy, str) and any(word in strategy for word in ("spawn", "fork", "notebook")):
        raise UserError(f"trainer.strategy={short(strategy)}: no run is started so; take trainer=ddp")
    if isinstance(profiler, str) and profiler not in PROFILERS:
        raise UserError(f"trainer.profiler={short(profiler)} is unknown; {nearest(profiler, PROFILERS)}")


PROFILERS = ("simple", "advanced", "pytorch")
"""Lightning's, by name; others are for machines that dlzoo does not train on."""


def _check_settings(cfg: DictConfig) -> None:
    import typeguard

    types: dict[str, Any] = {"seed": int, "data_dir": str, "output_dir": str}
    types |= dict.fromkeys(("deterministic", "compile", "cache_features", "profile", "test"), bool)
    for key, hint in types.items():
        try:
            typeguard.check_type(cfg.get(key), hint)
        except typeguard.TypeCheckError:
            raise UserError(f"{key}={cfg.get(key)}: this must be {type_checks.readable(hint)}") from None
    if cfg.get("lr_find") not in (True, False, "use"):
        raise UserError(f"lr_find={cfg.get('lr_find')}: this must be true, false or use")
    if cfg.get("on_nan", "stop") not in ("stop", "skip"):
        raise UserError(f"on_nan={cfg.on_nan}: this must be stop or skip")
    limit = cfg.get("skip_limit", 1)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise UserError(f"skip_limit={limit}: this must be a whole number, 1 or more")
    signatures.check_number("seed", cfg.seed)
    grid = cfg.get("grid") or {}
    is_mapping = isinstance(grid, dict | DictConfig)
    if (
        not is_mapping
        or not all(isinstance(words, ListConfig) for words in grid.values())
        or {*grid} not in (set(), {"rows", "columns"})
    ):
        raise UserError("grid: it holds two lists of overrides, rows and columns: rows=[optimizer=sgd,optimizer=adam]")
    check_claims(cfg.get("expect"))


def check_claims(expect: Any) -> None:
    """`UserError` unless these are claims that `dlzoo.training.results.judge` can hold against metrics."""
    claims = expect or []
    if not isinstance(claims, list | ListConfig) or not all(isinstance(claim, dict | DictConfig) for claim in claims):
        raise UserError(f"expect={short(claims)}: this must be a list of claims: [{{metric: test/accuracy, min: 0.9}}]")
    for claim in claims:
        for key in claim:
            if key not in ("metric", "min", "max", "source"):
                raise UserError(f"expect.{key}: nothing reads this key; {nearest(key, ['metric', 'min', 'max'])}")
        if "metric" not in claim or ("min" in claim) == ("max" in claim):
            raise UserError(f"expect: {OmegaConf.to_container(claim)} needs a metric and either min or max")
        bound = claim.get("min", claim.get("max"))
        is_number = isinstance(bound, int | float) and not isinstance(bound, bool)
        if not isinstance(claim.metric, str) or not is_number or not isinstance(claim.get("source", ""), str | None):
            raise UserError(
                f"expect: {short(OmegaConf.to_container(claim))}: metric and source must be texts, min or max a number"
            )
