"""Checkpoints: plain data, written atomically, and rebuilt without trusting their author.

A checkpoint is what Lightning saves (weights, optimizer, loops, callbacks) and a ``dlzoo`` manifest: format version,
the resolved config as text, its overrides, and the spec with everything that was fitted on the training data.
It loads with ``weights_only=True``, so that no code in it can run, and the classes that it names for its net, task and
data are only built if they come from allowed packages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dlzoo.config import allowlist as trust
from dlzoo.config import renames, schema
from dlzoo.config.allowlist import Trust
from dlzoo.config.instantiate import build_net
from dlzoo.config.introspection import check_arguments, check_number, locate
from dlzoo.errors import UserError, short
from dlzoo.specs.plain import from_plain
from dlzoo.tasks.base import Task
from dlzoo.utils.checkpoint_files import _first_line, read

ALLOWED = {"net": ("dlzoo.nets.",), "task": ("dlzoo.tasks.",), "data": ("dlzoo.data.",)}
"""Allowed modules of the ``_target_``s in a checkpoint; everything else in it is treated as data."""


def placed(path: Path) -> Path:
    """An absolute path with its last part unresolved: a symlink there is replaced, not followed."""
    return path.parent.resolve() / path.name


def config_of(content: dict[str, Any], packages: Sequence[str] = ()) -> DictConfig:
    """The config of a checkpoint, with every ``_target_`` in its net, task and data checked against the allow-list.

    Output folders and download mirrors of its run are omitted: the defaults or the current options apply.

    Args:
        packages: packages that the user trusts.

    Raises:
        UserError: a target that is not allowed, a reference, or an address, named with its key.
    """
    plain = plain_config(content)
    if isinstance(plain.get("data"), dict):
        plain["data"] = {key: value for key, value in plain["data"].items() if key not in trust.WRITTEN}
    for node, modules in ALLOWED.items():
        part = plain.get(node) or {}
        _check_part(part, node, modules, Trust(tuple(packages)))
        if isinstance(part, dict) and "_target_" in part:
            check_arguments(part, node, schema.RUNTIME_ARGUMENTS.get(node, set()))
    return OmegaConf.create(plain)


def plain_config(content: dict[str, Any]) -> dict[str, Any]:
    """The config of a checkpoint as data.

    Raises:
        UserError: it contains a reference, or names packages to trust.
    """
    cfg = OmegaConf.create(content["dlzoo"]["config"])
    assert isinstance(cfg, DictConfig)
    plain: Any = renames.updated(OmegaConf.to_container(cfg, resolve=False))
    trust.check_plain(plain, "", "the checkpoint's config")
    if plain.get("trust") is not None:
        raise UserError("the checkpoint's config names packages to trust: only the command line may set trust=")
    return plain


def load_task(path: str | Path, packages: Sequence[str] = ()) -> tuple[Task, DictConfig]:
    """The trained task on the CPU in evaluation mode, and its config; the data are not needed."""
    content = read(path)
    task, cfg = build(content, packages)
    if missing := [node for node in ALLOWED if not isinstance(cfg.get(node), DictConfig)]:
        raise UserError(f"ckpt={path} is damaged: its config has no {missing[0]}")
    schema.check_claims(cfg.get("expect"))
    restore(task, content, path)
    return task.eval(), cfg


def build(content: dict[str, Any], packages: Sequence[str] = ()) -> tuple[Task, DictConfig]:
    """The task that a checkpoint's manifest describes, with fresh weights, and its config."""
    cfg = config_of(content, packages)
    spec = from_plain(content["dlzoo"]["spec"])
    if "state_dict" in content:
        with torch.device("meta"):
            _check_size(_built(cfg, spec), content["state_dict"])
    return _built(cfg, spec), cfg


def _built(cfg: DictConfig, spec: Any) -> Task:
    return instantiate(cfg.task, _partial_=True)(build_net(cfg, spec), spec)


def _check_size(task: Task, weights: dict[str, Any]) -> None:
    """`UserError` if a task on the meta device has more weights than the checkpoint stores.

    A config of a few bytes can describe a net that exceeds any machine's memory.
    """
    wanted = sum(t.numel() for t in task.state_dict().values() if isinstance(t, torch.Tensor))
    tensors = [t for t in weights.values() if isinstance(t, torch.Tensor) and t.layout == torch.strided]
    given = sum(min(t.numel(), t.untyped_storage().nbytes() // t.element_size()) for t in tensors)
    if wanted > given:
        raise UserError(f"the checkpoint does not match its net, which has {wanted:,} weights; {given:,} are stored")


def restore(task: Task, content: dict[str, Any], path: str | Path) -> None:
    """Load the weights of a checkpoint into a task; `UserError` if they do not match its net."""
    try:
        task.load_state_dict(content["state_dict"])
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"ckpt={path} does not match its net: {_first_line(error)}") from None


def _check_part(node: Any, place: str, modules: tuple[str, ...], trusted: Trust) -> None:
    for where, value in trust.walk(node, place):
        key = where.rpartition(".")[2]
        check_number(where, value)
        if key == "_target_":
            _check_target(value, where, place, modules, trusted)
        elif re.match(r"_\w+_(\[|$)", key):
            raise UserError(f"the checkpoint's config has {where}: dlzoo has no such option")
        elif reason := trust.forbidden(where, value):
            raise UserError(f"the checkpoint's config has {where}={short(value)}: {reason}")


def _check_target(target: Any, where: str, node: str, modules: tuple[str, ...], trusted: Trust) -> None:
    is_text = isinstance(target, str)
    if is_text and trusted.names(target):
        trust.check_part(trusted.find(target, where), target, node, where.removesuffix("._target_"))
        return
    cls = locate(target, where) if is_text and target.startswith(modules) else None
    if not isinstance(cls, type) or not cls.__module__.startswith(modules):
        root = short(target).partition(".")[0]
        can_be_trusted = is_text and cls is None and root not in trust.NOT_TRUSTED
        raise UserError(
            f"the checkpoint wants to build {where}={short(target)}; only classes from "
            f"{', '.join(f'{module}*' for module in modules)} are allowed"
            + can_be_trusted
            * f", or from a package that you trust: add trust={root}"
        )
