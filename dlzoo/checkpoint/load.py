"""Checkpoints: plain data, written whole or not at all, and rebuilt without trusting their author.

A checkpoint is what Lightning saves (weights, optimizer, loops, callbacks) and a ``dlzoo`` card: the format's version,
the resolved config as text, the overrides that made it, and the spec with all that was fitted on the training data.
It loads with ``weights_only=True``, so that no code in it can run, and the classes that it names for its net, task and
data are only built if they come from the packages that the house allows.
"""

from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf

from dlzoo.checkpoint import run_paths
from dlzoo.checkpoint import sidecar as beside
from dlzoo.config import allowlist as trust
from dlzoo.config import compose as config
from dlzoo.config.allowlist import Trust
from dlzoo.config.introspection import check_number, locate
from dlzoo.data.fingerprint import Fingerprint
from dlzoo.errors import UserError, short
from dlzoo.specs.inputs import from_plain, to_plain
from dlzoo.tasks.base import Task
from dlzoo.utils import archives as durable
from dlzoo.utils import untrusted
from dlzoo.utils.archives import Damaged, previous_of

FORMAT = 1
ALLOWED = {"net": ("dlzoo.nets.",), "task": ("dlzoo.tasks.",), "data": ("dlzoo.data.",)}
"""Where the ``_target_``s of a checkpoint may come from; everything else in it stays data."""


def make_card(cfg: DictConfig, overrides: Sequence[str], spec: Any, rows: Fingerprint | None = None) -> dict[str, Any]:
    """What a checkpoint must hold beside the weights to be rebuilt, and of the rows that it learned from; whom its user
    trusts is no part of it."""
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    plain.pop("trust", None)
    return {
        "format": FORMAT,
        "config": OmegaConf.to_yaml(OmegaConf.create(plain)),
        "overrides": [word for word in overrides if word.partition("=")[0].lstrip("+") != "trust"],
        "spec": to_plain(spec),
        "rows": rows.to_plain() if rows is not None else None,
    }


class CheckpointIO(TorchCheckpointIO):
    """How Lightning writes and reads checkpoints here: with the card, atomically, and as plain data only.

    The checkpoint that was there before stays beside the new one, if it is of this run and whole.

    Args:
        card: what `make_card` gives.
        run_dir: the run folder, from which the paths in a checkpoint start; None: they stay as they are.
    """

    def __init__(self, card: dict[str, Any], run_dir: Path | None = None) -> None:
        super().__init__()
        self.card = card
        self.run_dir = None if run_dir is None else run_dir.resolve()
        self.own: set[Path] = set()
        """Whole files of this run, or of the one that it continues."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = placed(Path(path))
        try:
            self.write(path, checkpoint)
        except (OSError, RuntimeError) as error:
            cause = durable.os_error(error)
            if cause is None:
                raise
            raise durable.unwritten(path, cause) from None

    def write(self, path: Path, checkpoint: dict[str, Any]) -> None:
        arrays, before = checkpoint.pop(beside.BESIDE, None), previous_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.remove_stale(path)
        beside.remove_unused(path)
        content = {**checkpoint, **beside.write(path, arrays), "dlzoo": self.card}
        if self.run_dir is not None and "callbacks" in content:
            content["callbacks"] = run_paths.stored(content["callbacks"], self.run_dir)
        kept = path in self.own and path.is_file()
        durable.write(path, lambda file: torch.save(content, file), keep=kept)
        self.own |= {path, before} if kept else {path}
        if before not in self.own:  # of another run
            before.unlink(missing_ok=True)
        beside.remove_unused(path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        path = Path(path).resolve()
        content = read(path, map_location)
        if self.run_dir is not None and "callbacks" in content:
            content["callbacks"] = run_paths.loaded(content["callbacks"], path, self.run_dir)
        self.own |= {other for other in path.parent.glob("*.ckpt") if is_whole(other)}
        return content | beside.read(path, content)

    def remove_checkpoint(self, path: Any) -> None:
        super().remove_checkpoint(path)
        previous_of(Path(path)).unlink(missing_ok=True)
        beside.remove_unused(Path(path))


def placed(path: Path) -> Path:
    """An absolute path whose last part is as it was given: a link there is replaced, not followed."""
    return path.parent.resolve() / path.name


def is_whole(path: Path) -> bool:
    """Whether a checkpoint and the arrays beside it are what was written."""
    try:
        beside.check(path, read(path))
    except UserError:
        return False
    return True


def whole(path: Path) -> Path:
    """The checkpoint to continue from: this one, or the one before it where this one is damaged, with a warning.

    Raises:
        UserError: neither can be used.
    """
    try:
        beside.check(path, read(path))
    except Damaged as damage:
        before = previous_of(path)
        if not is_whole(before):
            raise
        print(f"warning: {path} is {damage.reason}; {before}, the one before it, is used", file=sys.stderr)
        return before
    return path


def read(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The content of a checkpoint of this house.

    Raises:
        UserError: no such file, not a checkpoint, made by something else or by another version, or holding more than
            plain data; `Damaged`: cut off, or a bit is not what was written.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        if previous_of(path).is_file():
            raise Damaged(path, "missing")
        raise UserError(f"ckpt={path}: there is no such file; runs keep theirs in <run folder>/checkpoints/")
    durable.check(path)
    try:
        content = torch.load(path, map_location=map_location or "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"ckpt={path} holds more than plain data and is not loaded: {_first(error)}") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise Damaged(path, f"damaged or not a checkpoint: {_first(error)}") from None
    card = content.get("dlzoo") if isinstance(content, dict) else None
    if not isinstance(card, dict) or "state_dict" not in content:
        raise UserError(f"ckpt={path} was not written by dlzoo: it has no config and spec")
    words = card.get("overrides")
    are_words = isinstance(words, list) and all(isinstance(word, str) for word in words)
    if not isinstance(card.get("config"), str) or not are_words:
        raise UserError(f"ckpt={path} is damaged: its config is no text, or its overrides are no words")
    untrusted.check_yaml(card["config"], f"ckpt={path}: its config")
    weights = content["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise UserError(f"ckpt={path} is damaged: its state_dict is no mapping of names to tensors")
    if card.get("format") != FORMAT:
        raise UserError(
            f"ckpt={path} has format {card.get('format')}, this version of dlzoo reads {FORMAT}; train it again or "
            "evaluate it with the version that wrote it"
        )
    return content


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
        _refuse_strangers(plain.get(node) or {}, node, modules, Trust(tuple(packages)))
    return OmegaConf.create(plain)


def plain_config(content: dict[str, Any]) -> dict[str, Any]:
    """The config of a checkpoint as data.

    Raises:
        UserError: it has a reference, or says whom to trust.
    """
    cfg = OmegaConf.create(content["dlzoo"]["config"])
    assert isinstance(cfg, DictConfig)
    plain: Any = OmegaConf.to_container(cfg, resolve=False)
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
    config.check_claims(cfg.get("expect"))
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
    net = instantiate(cfg.net, _partial_=True)(spec)
    return instantiate(cfg.task, _partial_=True)(net, spec)


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
        raise UserError(f"ckpt={path} does not fit the net that it names: {_first(error)}") from None


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


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
