"""Checkpoints: plain data, written whole or not at all, and rebuilt without trusting their author.

A checkpoint is what Lightning saves (weights, optimizer, loops, callbacks) and a ``dlzoo`` card: the format's version,
the resolved config as text, the overrides that made it, and the spec with all that was fitted on the training data.
It loads with ``weights_only=True``, so that no code in it can run, and the classes that it names for its net, task and
data are only built if they come from the packages that the house allows.
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
"""Where the ``_target_``s of a checkpoint may come from; everything else in it stays data."""


def placed(path: Path) -> Path:
    """An absolute path whose last part is as it was given: a link there is replaced, not followed."""
    return path.parent.resolve() / path.name


def config_of(content: dict[str, Any], packages: Sequence[str] = ()) -> DictConfig:
    """The config of a checkpoint, with every ``_target_`` in its net, task and data checked against the allow-list.

    Where its run wrote, and what it would download from, is left out: the defaults hold, or what is given now.

    Args:
        packages: whose parts the user trusts.

    Raises:
        UserError: a target that is not allowed, a reference, or an address, named with its place.
    """
    plain = plain_config(content)
    if isinstance(plain.get("data"), dict):
        plain["data"] = {key: value for key, value in plain["data"].items() if key not in trust.WRITTEN}
    for node, modules in ALLOWED.items():
        part = plain.get(node) or {}
        _refuse_strangers(part, node, modules, Trust(tuple(packages)))
        if isinstance(part, dict) and "_target_" in part:
            check_arguments(part, node, schema.RUNTIME_ARGUMENTS.get(node, set()))
    return OmegaConf.create(plain)


def plain_config(content: dict[str, Any]) -> dict[str, Any]:
    """The config of a checkpoint as data.

    Raises:
        UserError: it has a reference, or says whom to trust.
    """
    cfg = OmegaConf.create(content["dlzoo"]["config"])
    assert isinstance(cfg, DictConfig)
    plain: Any = renames.updated(OmegaConf.to_container(cfg, resolve=False))
    trust.check_plain(plain, "", "the checkpoint's config")
    if plain.get("trust") is not None:
        raise UserError("the checkpoint's config names packages to trust: that is for the command line")
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
    """The task that the card of a checkpoint describes, with fresh weights, and its config."""
    cfg = config_of(content, packages)
    spec = from_plain(content["dlzoo"]["spec"])
    if "state_dict" in content:
        with torch.device("meta"):
            _check_size(_built(cfg, spec), content["state_dict"])
    return _built(cfg, spec), cfg


def _built(cfg: DictConfig, spec: Any) -> Task:
    return instantiate(cfg.task, _partial_=True)(build_net(cfg, spec), spec)


def _check_size(task: Task, weights: dict[str, Any]) -> None:
    """`UserError` if a task, which takes no memory yet, would take more than the weights that it is built for.

    A config of a few bytes can name a net larger than any machine.
    """
    wanted = sum(t.numel() for t in task.state_dict().values() if isinstance(t, torch.Tensor))
    tensors = [t for t in weights.values() if isinstance(t, torch.Tensor) and t.layout == torch.strided]
    given = sum(min(t.numel(), t.untyped_storage().nbytes() // t.element_size()) for t in tensors)
    if wanted > given:
        raise UserError(
            f"the checkpoint does not fit the net that it names, which has {wanted:,} weights; {given:,} are stored"
        )


def restore(task: Task, content: dict[str, Any], path: str | Path) -> None:
    """Put the weights of a checkpoint into a task; `UserError` if its net is another."""
    try:
        task.load_state_dict(content["state_dict"])
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"ckpt={path} does not fit the net that it names: {_first_line(error)}") from None


def _refuse_strangers(node: Any, place: str, modules: tuple[str, ...], trusted: Trust) -> None:
    for where, value in trust.walk(node, place):
        key = where.rpartition(".")[2]
        check_number(where, value)
        if key == "_target_":
            _check_target(value, where, place, modules, trusted)
        elif re.match(r"_\w+_(\[|$)", key):
            raise UserError(f"the checkpoint's config has {where}: dlzoo gives its parts no such option")
        elif reason := trust.forbidden(where, value):
            raise UserError(f"the checkpoint's config has {where}={short(value)}: {reason}")


def _check_target(target: Any, where: str, node: str, modules: tuple[str, ...], trusted: Trust) -> None:
    is_text = isinstance(target, str)
    if is_text and trusted.names(target):
        trust.check_part(trusted.find(target, where), target, node, where.removesuffix("._target_"))
        return
    found = locate(target, where) if is_text and target.startswith(modules) else None
    if not isinstance(found, type) or not found.__module__.startswith(modules):
        root = short(target).partition(".")[0]
        own = is_text and found is None and root not in trust.NOT_TRUSTED
        raise UserError(
            f"the checkpoint wants to build {where}={short(target)}; only classes from "
            f"{', '.join(f'{module}*' for module in modules)} are allowed"
            + own
            * f", or from a package that you trust: add trust={root}"
        )
