"""Checkpoints: plain data, written atomically, and rebuilt without trusting their author.

A checkpoint is what Lightning saves (weights, optimizer, loops, callbacks) and a ``dlzoo`` manifest: format version,
the resolved config as text, its overrides, and the spec with everything that was fitted on the training data.
It loads with ``weights_only=True``, so that no code in it can run, and the classes that it names for its net, task and
data are only built if they come from allowed packages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dlzoo.config import nested, renames, schema, yaml_files
from dlzoo.config.allowlist import METRICS, NEVER_TRUSTED, Trust, check_part
from dlzoo.config.instantiate import build_net, net_class, task_class
from dlzoo.config.introspection import check_arguments, check_number, locate
from dlzoo.config.locations import LOCATION_KEYS, refusal_reason
from dlzoo.config.memory_check import metric_states
from dlzoo.config.stored_overrides import check_no_references
from dlzoo.errors import UserError, first_line, short
from dlzoo.specs.base import Spec
from dlzoo.specs.plain import spec_from_plain
from dlzoo.tasks.base import Task
from dlzoo.utils.checkpoint_files import manifest_in, read
from dlzoo.utils.files import is_file_name
from dlzoo.utils.state_checks import mapping

ALLOWED = {"net": ("dlzoo.nets.",), "task": ("dlzoo.tasks.",), "data": ("dlzoo.data.",)}
"""Allowed modules of the ``_target_``s in a checkpoint; everything else in it is treated as data."""


MAX_UNSTORED = 2**24
"""Numbers that a task may hold besides its weights: a confusion matrix of 4,096 classes, or 64 MiB."""


def placed(path: Path) -> Path:
    """An absolute path with its last part unresolved: a symlink there is replaced, not followed."""
    return path.parent.resolve() / path.name


def config_of(content: Mapping[str, object], packages: Sequence[str] = ()) -> DictConfig:
    """The config of a checkpoint, with every ``_target_`` in its net, task and data checked against the allow-list.

    Output folders and download mirrors of its run are omitted: the defaults or the current options apply.

    Args:
        packages: packages that the user trusts.

    Raises:
        UserError: a target that is not allowed, a reference, or an address, named with its key.
    """
    plain = plain_config(content)
    data = plain.get("data")
    if isinstance(data, dict):
        plain["data"] = {key: value for key, value in data.items() if key not in LOCATION_KEYS}
    _check_names(plain.get("names"))
    Trust(tuple(packages)).check_environment(plain.get("data"))
    for node, modules in ALLOWED.items():
        part = plain.get(node) or {}
        _check_part(part, node, modules, Trust(tuple(packages)))
        if isinstance(part, dict) and "_target_" in part:
            check_arguments(part, node, schema.RUNTIME_ARGUMENTS.get(node, set()))
    return OmegaConf.create(plain)


def _check_names(names: object) -> None:
    """`UserError` unless these are names of configs: commands make file names of them."""
    for key, name in ({"": names} if not isinstance(names, dict | None) else names or {}).items():
        if name is not None and not (is_file_name(name) and re.match(r"\w", name)):
            raise UserError(f"the checkpoint's config has names.{short(key)}={short(name)}, no name of a config")


def plain_config(content: Mapping[str, object]) -> dict[str, object]:
    """The config of a checkpoint as data.

    Raises:
        UserError: it contains a reference, or names packages to trust.
    """
    cfg = yaml_files.create(manifest_in(content)["config"], "the checkpoint's config")
    if not isinstance(cfg, DictConfig):
        raise UserError("the checkpoint's config is damaged: it is not a mapping")
    plain = renames.updated(OmegaConf.to_container(cfg, resolve=False))
    assert isinstance(plain, dict)
    check_no_references(plain, "", "the checkpoint's config")
    if plain.get("trust") is not None:
        raise UserError("the checkpoint's config names packages to trust: only the command line may set trust=")
    return plain


def load_task(path: str | Path, packages: Sequence[str] = ()) -> tuple[Task, DictConfig]:
    """The trained task on the CPU in evaluation mode, and its config; the data are not needed."""
    content = read(path)
    task, cfg = build(content, packages)
    _check_present(cfg, "data")
    schema.check_claims(cfg.get("expect"))
    restore(task, content, path)
    return task.eval(), cfg


def _check_present(cfg: DictConfig, *nodes: str) -> None:
    """`UserError` if a node is missing in the config of a checkpoint."""
    if missing := [node for node in nodes if not isinstance(cfg.get(node), DictConfig)]:
        raise UserError(f"the checkpoint is damaged: its config has no {missing[0]}")


def build(content: Mapping[str, object], packages: Sequence[str] = ()) -> tuple[Task, DictConfig]:
    """The task that a checkpoint's manifest describes, with fresh weights, and its config."""
    cfg = config_of(content, packages)
    _check_present(cfg, "net", "task")
    spec = spec_from_plain(manifest_in(content).get("spec"))
    _check_spec(cfg, spec)
    if "state_dict" in content:
        with torch.device("meta"):
            _check_size(_built(cfg, spec), mapping(content["state_dict"], "state_dict"))
    return _built(cfg, spec), cfg


def _check_spec(cfg: DictConfig, spec: Spec) -> None:
    """`UserError` unless the net takes such data, and the task such targets: of others they may build without end."""
    for node, given, known in (
        ("net", spec, net_class(cfg.net).accepts),
        ("task", spec.target, task_class(cfg.task).targets),
    ):
        if not isinstance(given, known):
            raise UserError(
                f"the checkpoint does not match itself: its data are {spec.describe()}, which {node}._target_="
                f"{short(cfg[node]['_target_'])} does not take"
            )


def _built(cfg: DictConfig, spec: Spec) -> Task:
    return instantiate(cfg.task, _partial_=True)(build_net(cfg.net, cfg.task, spec), spec)


def _check_size(task: Task, weights: Mapping[str, object]) -> None:
    """`UserError` if a task on the meta device has more weights than the checkpoint stores, or far more of what none
    stores: constants of nets, and what metrics accumulate.

    A config of a few bytes can describe a net that exceeds any machine's memory.
    """
    wanted = _num_stored(task.state_dict())
    given = _num_stored(weights if all(t.device.type != "meta" for t in _dense(weights)) else {})
    if wanted > given:
        raise UserError(f"the checkpoint does not match its net, which has {wanted:,} weights; {given:,} are stored")
    stored = {id(t) for t in task.state_dict(keep_vars=True).values()}
    others = [t for t in (*task.buffers(), *metric_states(task)) if id(t) not in stored]
    if (held := sum(t.numel() for t in others)) > given + MAX_UNSTORED:
        raise UserError(
            f"the checkpoint's net and metrics need {held:,} numbers besides its {given:,} weights; at most "
            f"{MAX_UNSTORED:,} more"
        )


def _num_stored(weights: Mapping[str, object]) -> int:
    """The number of weights in memory; those that share memory count once, since a tensor may claim any size."""
    given: dict[int, int] = {}
    for t in _dense(weights):
        storage = t.untyped_storage()
        claimed = given.get(storage._cdata, 0) + t.numel()
        given[storage._cdata] = min(claimed, storage.nbytes() // t.element_size())
    return sum(given.values())


def _dense(weights: Mapping[str, object]) -> list[torch.Tensor]:
    return [t for t in weights.values() if isinstance(t, torch.Tensor) and t.layout == torch.strided]


def restore(task: Task, content: Mapping[str, object], path: str | Path) -> None:
    """Load the weights of a checkpoint into a task; `UserError` if they do not match its net."""
    weights = mapping(content["state_dict"], "state_dict")
    try:
        task.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"ckpt={path} does not match its net: {first_line(error)}") from None


def _check_part(node: object, place: str, modules: tuple[str, ...], trusted: Trust) -> None:
    for where, value in nested.walk(node, place):
        key = where.rpartition(".")[2]
        check_number(where, value)
        if key == "_target_":
            _check_target(value, where, place, modules, trusted)
        elif re.match(r"_\w+_(\[|$)", key):
            raise UserError(f"the checkpoint's config has {where}: dlzoo has no such option")
        elif reason := refusal_reason(where, value):
            raise UserError(f"the checkpoint's config has {where}={short(value)}: {reason}")


def _check_target(target: object, where: str, node: str, modules: tuple[str, ...], trusted: Trust) -> None:
    if isinstance(target, str) and (trusted.covers(target) or target in METRICS):
        check_part(trusted.resolve(target, where), target, node, where.removesuffix("._target_"))
        return
    cls = locate(target, where) if isinstance(target, str) and target.startswith(modules) else None
    if not isinstance(cls, type) or not cls.__module__.startswith(modules):
        root = short(target).partition(".")[0]
        can_be_trusted = isinstance(target, str) and cls is None and root not in NEVER_TRUSTED
        raise UserError(
            f"the checkpoint wants to build {where}={short(target)}; only classes from "
            f"{', '.join(f'{module}*' for module in modules)} are allowed"
            + can_be_trusted
            * f", or from a package that you trust: add trust={root}"
        )
