"""Validates every key of a composed config against the argument that it sets."""

from __future__ import annotations

import sys
import typing
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from dlzoo.config import allowlist, nested, optimizer_options, renames, trainer_options
from dlzoo.config import introspection as signatures
from dlzoo.config.allowlist import Trust
from dlzoo.config.locations import check_locations
from dlzoo.config.overrides import is_given, referenced_keys
from dlzoo.config.settings import SETTINGS, Claim
from dlzoo.errors import UserError, ignored_option, nearest, short
from dlzoo.utils import type_checks
from dlzoo.utils.processes import check_processes

NODES = ("net", "task", "data", "optimizer", "scheduler", "trainer", "callbacks", "logger")
"""The parts of a run that are built from one or several ``_target_``s."""

REQUIRED = {"net": "model", "task": "model", "data": "data", "trainer": "trainer"}
"""The nodes that a run cannot do without, with the group that chooses each."""

PACKAGED_GROUPS = ("experiment", "model", "transfer")
"""Groups whose files set keys of the whole config."""

RUNTIME_ARGUMENTS = {
    "net": {"spec"},
    "task": {"net", "spec", "optimizer", "scheduler"},
    "optimizer": {"params"},
    "scheduler": {"optimizer", "plan"},
    "trainer": {"callbacks", "logger", "plugins", "default_root_dir"},
    "logger": {"save_dir"},
}
"""Arguments that are passed when a part is built, so a config must not set them."""


def check(cfg: DictConfig, overrides: Sequence[str] = (), packages: Sequence[str] = ()) -> None:
    """Validate every key of a composed config against the argument that it sets, and resolve its references in place.

    Args:
        overrides: those of the command line; only they may name untrusted parts, and locations outside the run folder.
        packages: packages that the user trusts in addition to ``trust=`` of the overrides.

    Raises:
        UserError: an unknown key, a ``_target_`` that does not exist, an argument that it does not accept, or a value
            of the wrong type.
    """
    own = _own_keys(cfg)
    _check_settings(cfg)
    if cfg.get("ckpt") is None and cfg.get("on_nan") == "stop" and is_given("skip_limit", overrides):
        raise ignored_option("skip_limit", cfg.skip_limit, "on_nan=skip")
    trusted = Trust.of(overrides, packages)
    if {*allowlist.packages_of(cfg.get("trust"))} - {*trusted.packages}:
        raise UserError(f"trust={cfg.trust} is set in a file: only the command line may set it")
    OmegaConf.resolve(cfg)
    with open_dict(cfg):
        for key in own:
            del cfg[key]
    _rename(cfg)
    plain: Any = OmegaConf.to_container(cfg, throw_on_missing=False)
    for key, value in nested.walk(plain):  # assembled from several strings, or escaped by a backslash
        if isinstance(value, str) and "${" in value:
            raise UserError(f"{key}={short(value)}: a reference must not resolve to another reference")
    check_locations(plain, trusted)
    trusted.check_environment(plain.get("data"))
    trainer = plain.get("trainer")
    check_processes("trainer.devices", trainer.get("devices") if isinstance(trainer, dict) else None)
    trainer_options.check(trainer)
    optimizer_options.check(plain.get("optimizer"))
    trainer_options.check_monitors(plain.get("callbacks"))
    for name, group in REQUIRED.items():
        if plain.get(name) is None:
            raise UserError(f"{name}=null: a run needs one; choose {group}=…, and do not remove it")
        if isinstance(plain[name], dict) and "_target_" not in plain[name]:
            raise UserError(f"{name}: only options of a part are set, but none is chosen: choose {group}=…")
    for name in NODES:
        node = plain.get(name)
        if node is None or (name == "optimizer" and node == {}):  # optimizer=none
            continue
        if not isinstance(node, dict):
            raise UserError(f"{name}={node} must be a group of settings, not a value; see dlzoo train --help")
        if name == "optimizer" and "_target_" not in node:
            raise UserError(
                f"optimizer=none, but optimizer.{min(map(str, node))} is set: choose an optimizer, such as "
                "optimizer=adam, or omit the option"
            )
        for key, part in node.items() if name in ("callbacks", "logger") else [("", node)]:
            path = f"{name}.{key!s}" if key != "" else name
            if part is None:
                continue
            if not isinstance(part, dict) or "_target_" not in part:
                raise UserError(f"{path}: unknown key; {nearest(str(key), {*node} - {key})}")
            _check_part(part, name, path, trusted)


def _own_keys(cfg: DictConfig) -> list[str]:
    """The keys at the top that are the user's, which others refer to.

    Raises:
        UserError: nothing refers to a key that dlzoo does not know.
    """
    unknown = [key for key in map(str, cfg) if key not in NODES and key not in SETTINGS]
    if not unknown:
        return []
    values = nested.walk(OmegaConf.to_container(cfg, resolve=False))
    referenced = {name for _, value in values if isinstance(value, str) for name in referenced_keys(value)}
    for key in unknown:
        if key in PACKAGED_GROUPS:
            raise UserError(
                f"{key}: the file of {key}=… sets keys below {key}; its first line must be '# @package _global_'"
            )
        if key not in referenced:
            raise UserError(f"{key}: unknown key; {nearest(key, [*NODES, *SETTINGS])}")
    return unknown


def _check_part(part: dict[str, object], node: str, path: str, trusted: Trust) -> None:
    """Check a part with everything nested in it: first what would be built, then the options.

    Args:
        node: the node of the config.
        path: dotted key of the part.
    """
    targets = [*nested.targets(part, path)]
    for key, options in targets:
        target = options["_target_"]
        allowlist.check_part(trusted.resolve(target, f"{key}._target_"), f"{target}", node, key)
    for key, options in targets:
        signatures.check_arguments(options, key, RUNTIME_ARGUMENTS.get(node, set()) if key == path else set())


def _rename(cfg: DictConfig) -> None:
    """Replace old names of parts and options by the current ones, with a notice for each."""
    for name in NODES:
        node = cfg.get(name)
        plain = OmegaConf.to_container(node, throw_on_missing=False) if OmegaConf.is_config(node) else {}
        notices: list[str] = []
        for key, part in nested.targets(plain, name):
            old = part["_target_"]
            if isinstance(old, str) and (new := renames.current(old)) != old:
                notices.append(f"{key}._target_: {old} is now {new}")
            old_keys = renames.options_of(part | {"_target_": renames.current(old) if isinstance(old, str) else old})
            notices += [f"{key}.{old_key} is now {key}.{new_key}" for old_key, new_key in old_keys.items()]
        for notice in notices:
            print(f"notice: {short(notice, 300)}", file=sys.stderr)
        if notices:
            with open_dict(cfg):
                cfg[name] = renames.updated(plain)
    parts: Any = {name: cfg.get(name) for name in ("net", "task")}
    parts = {name: OmegaConf.to_container(node) for name, node in parts.items() if OmegaConf.is_config(node)}
    if (weights := renames.named_loss_weights(parts)) is not None:
        shown = ", ".join(f"{name}: {weight}" for name, weight in weights.items())
        print(
            f"notice: task.loss_weights={renames.positioned_weights(parts['task']['loss_weights'])} is now "
            f"task.loss_weights={{{shown}}}",
            file=sys.stderr,
        )
        OmegaConf.update(cfg, "task.loss_weights", weights, merge=False)


def _check_settings(cfg: DictConfig) -> None:
    for key, hint in SETTINGS.items():
        if hint in (int, str, bool) and key != "skip_limit":
            type_checks.check_value(cfg.get(key), hint, key)
    if cfg.get("lr_find") not in typing.get_args(SETTINGS["lr_find"]):
        raise UserError(f"lr_find={cfg.get('lr_find')} must be true, false or use")
    if cfg.get("on_nan", "stop") not in typing.get_args(SETTINGS["on_nan"]):
        raise UserError(f"on_nan={cfg.on_nan} must be stop or skip")
    limit = cfg.get("skip_limit", 1)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise UserError(f"skip_limit={limit} must be an integer, 1 or more")
    signatures.check_number("seed", cfg.seed)
    grid = cfg.get("grid") or {}
    is_mapping = isinstance(grid, dict | DictConfig)
    if (
        not is_mapping
        or not all(isinstance(overrides, ListConfig) for overrides in grid.values())
        or {*grid} not in (set(), {"rows", "columns"})
    ):
        raise UserError(
            "grid must contain two lists of overrides, rows and columns: rows=[optimizer=sgd,optimizer=adam]"
        )
    check_claims(cfg.get("expect"))


def check_claims(expect: object) -> None:
    """`UserError` unless these are claims that `dlzoo.training.results.judge` can compare with metrics."""
    claims = expect or []
    if not isinstance(claims, list | ListConfig) or not all(isinstance(claim, dict | DictConfig) for claim in claims):
        raise UserError(f"expect={short(claims)} must be a list of claims: [{{metric: test/accuracy, min: 0.9}}]")
    for claim in claims:
        for key in claim:
            if key not in Claim.__annotations__:
                raise UserError(f"expect.{key}: unknown key; {nearest(key, ['metric', 'min', 'max', 'each'])}")
        if "metric" not in claim or ("min" in claim) == ("max" in claim):
            raise UserError(f"expect: {OmegaConf.to_container(claim)} needs a metric, and either min or max")
        bounds = [claim[key] for key in ("min", "max", "each") if key in claim]
        is_number = all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in bounds)
        if not isinstance(claim.metric, str) or not is_number or not isinstance(claim.get("source", ""), str | None):
            raise UserError(
                f"expect: {short(OmegaConf.to_container(claim))}: metric and source must be strings, and min, "
                "max and each numbers"
            )
