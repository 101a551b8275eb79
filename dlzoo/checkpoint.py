"""Checkpoints: plain data, written whole or not at all, and rebuilt without trusting their author.

A checkpoint is what Lightning saves (weights, optimizer, loops, callbacks) and a ``dlzoo`` card: the format's version,
the resolved config as text, the overrides that made it, and the spec with all that was fitted on the training data.
It loads with ``weights_only=True``, so that no code in it can run, and the classes that it names for its net, task and
data are only built if they come from the packages that the house allows.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf

from dlzoo import beside
from dlzoo.config import locate
from dlzoo.errors import UserError
from dlzoo.specs import from_plain, to_plain
from dlzoo.tasks.base import Task

FORMAT = 1
ALLOWED = {"net": ("dlzoo.nets.",), "task": ("dlzoo.tasks.",), "data": ("dlzoo.data.",)}
"""Where the ``_target_``s of a checkpoint may come from; everything else in it stays data."""


def make_card(cfg: DictConfig, overrides: Sequence[str], spec: Any) -> dict[str, Any]:
    """What a checkpoint must hold beside the weights to be rebuilt."""
    return {
        "format": FORMAT,
        "config": OmegaConf.to_yaml(cfg, resolve=True),
        "overrides": list(overrides),
        "spec": to_plain(spec),
    }


class CheckpointIO(TorchCheckpointIO):
    """How Lightning writes and reads checkpoints here: with the card, atomically, and as plain data only."""

    def __init__(self, card: dict[str, Any]) -> None:
        super().__init__()
        self.card = card

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write(path, checkpoint.pop(beside.BESIDE, None))
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save({**checkpoint, "dlzoo": self.card}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read(Path(path), map_location) | beside.read(Path(path))


def read(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The content of a checkpoint of this house.

    Raises:
        UserError: no such file, not a checkpoint, truncated, made by something else or by another version, or holding
            more than plain data.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"ckpt={path}: there is no such file; runs keep theirs in <run folder>/checkpoints/")
    try:
        content = torch.load(path, map_location=map_location or "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path):
            raise UserError(f"ckpt={path} holds more than plain data and is not loaded: {_first(error)}") from None
        raise UserError(f"ckpt={path} is damaged or not a checkpoint") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(f"ckpt={path} is damaged or cut off: {_first(error)}") from None
    card = content.get("dlzoo") if isinstance(content, dict) else None
    if not isinstance(card, dict) or "state_dict" not in content:
        raise UserError(f"ckpt={path} was not written by dlzoo: it has no config and spec")
    words = card.get("overrides")
    are_words = isinstance(words, list) and all(isinstance(word, str) for word in words)
    if not isinstance(card.get("config"), str) or not are_words:
        raise UserError(f"ckpt={path} is damaged: its config is no text, or its overrides are no words")
    if card.get("format") != FORMAT:
        raise UserError(
            f"ckpt={path} has format {card.get('format')}, this version of dlzoo reads {FORMAT}; train it again or "
            "evaluate it with the version that wrote it"
        )
    return content


def config_of(content: dict[str, Any]) -> DictConfig:
    """The config of a checkpoint, with every ``_target_`` in its net, task and data checked against the allow-list.

    Raises:
        UserError: a target that is not allowed, named with its place.
    """
    cfg = OmegaConf.create(content["dlzoo"]["config"])
    assert isinstance(cfg, DictConfig)
    for node, packages in ALLOWED.items():
        _refuse_strangers(OmegaConf.to_container(cfg.get(node) or OmegaConf.create({})), node, packages)
    return cfg


def load_task(path: str | Path) -> tuple[Task, DictConfig]:
    """The trained task on the CPU in evaluation mode, and its config; the data are not needed."""
    content = read(path)
    task, cfg = build(content)
    restore(task, content, path)
    return task.eval(), cfg


def build(content: dict[str, Any]) -> tuple[Task, DictConfig]:
    """The task that the card of a checkpoint describes, with fresh weights, and its config."""
    cfg = config_of(content)
    spec = from_plain(content["dlzoo"]["spec"])
    net = instantiate(cfg.net, _partial_=True)(spec)
    return instantiate(cfg.task, _partial_=True)(net, spec), cfg


def restore(task: Task, content: dict[str, Any], path: str | Path) -> None:
    """Put the weights of a checkpoint into a task; `UserError` if its net is another."""
    try:
        task.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise UserError(f"ckpt={path} does not fit the net that it names: {_first(error)}") from None


def _refuse_strangers(node: Any, place: str, packages: tuple[str, ...]) -> None:
    if isinstance(node, dict):
        target = node.get("_target_")
        if target is not None:
            found = None
            if isinstance(target, str) and target.startswith(packages):
                found = locate(target, f"{place}._target_")
            if not isinstance(found, type) or not found.__module__.startswith(packages):
                raise UserError(
                    f"the checkpoint wants to build {place}._target_={target}; only classes from "
                    f"{', '.join(p + '*' for p in packages)} are allowed"
                )
        for key, value in node.items():
            _refuse_strangers(value, f"{place}.{key}", packages)
    elif isinstance(node, list):
        for i, value in enumerate(node):
            _refuse_strangers(value, f"{place}[{i}]", packages)
    elif isinstance(node, str) and "${" in node:  # it could bring in a _target_ from where nobody looked
        raise UserError(
            f"the checkpoint's config has the reference {place}={node}; dlzoo writes none into a checkpoint"
        )


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
