"""Mistakes that are found before torch is imported: unknown options, and a model of another kind of data.

Everything is checked again, and more precisely, once the classes are imported (`dlzoo.config.introspection`,
`dlzoo.config.instantiate.check_fit`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from dlzoo.config import nested, plugins, renames, source
from dlzoo.config.allowlist import is_built_in, is_of_plugin
from dlzoo.config.overrides import key_of
from dlzoo.config.schema import NODES, RUNTIME_ARGUMENTS
from dlzoo.config.yaml_files import ERRORS
from dlzoo.errors import SpecError, UserError, nearest

SEVERAL_KINDS = {
    "dlzoo.specs.environments.EnvSpec": "dlzoo.specs.environments.StatesSpec",
    "dlzoo.specs.inputs.TableSpec": "dlzoo.specs.named.NamedSpec",
}
"""Kinds of data whose options or files decide whether they are of another kind."""


def check(cfg: DictConfig, overrides: Sequence[str], *, reads_user_files: bool) -> None:
    """Check the parts of a composed config whose options the command line sets.

    Args:
        cfg: with Hydra's node.
        overrides: those of the command line.
        reads_user_files: whether the config may also contain files of the user; then all parts are checked.
    """
    given = [f"{key_of(override)}." for override in overrides]
    nodes: dict[str, object] = {}
    for name in NODES:
        node = cfg._get_node(name, validate_access=False)  # None for a part that is removed: ~callbacks
        plain = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else None
        nodes[name] = renames.updated(plain)
        for key, part in nested.targets(nodes[name], name):
            if not reads_user_files and not any(text.startswith(f"{key}.") for text in given):
                continue
            is_part = key == name or (name in ("callbacks", "logger") and key.count(".") == 1)
            check_options(part, key, RUNTIME_ARGUMENTS.get(name, set()) if is_part else set())
    check_kinds(nodes, cfg.hydra.runtime.choices)


def check_options(part: Mapping[str, object], path: str, runtime: set[str]) -> None:
    """`UserError` for an option that the part does not have; nothing is concluded from a source that is not known.

    Args:
        part: its ``_target_`` and its options.
        path: dotted key of the part.
        runtime: arguments that are passed when the part is built.
    """
    name = _class_of(part)
    arguments = source.arguments(name) if name is not None else None
    if arguments is None or not arguments.is_complete:
        return
    allowed = arguments.names - runtime
    for key in part:
        if key not in allowed and key not in ("_target_", "_partial_"):
            raise UserError(f"{path}.{key}: {name} has no such option; {nearest(str(key), allowed)}")


def nearest_option(key: str, nodes: Mapping[str, object], others: Sequence[str]) -> str:
    """The end of an error message: the option of a part whose name is closest to a key, or nothing.

    Args:
        nodes: of the config.
        others: further keys.
    """
    options = {name: name for name in others}
    for node in ("callbacks", "logger", "scheduler", "optimizer", "task", "net", "data", "trainer"):
        for path, part in nested.targets(nodes.get(node), node):
            name = _class_of(part)
            arguments = source.arguments(name) if name is not None else None
            runtime = RUNTIME_ARGUMENTS.get(node, set())
            options |= {
                option: f"{path}.{option}" for option in (arguments.names if arguments else frozenset()) - runtime
            }
    close = nearest(key.rpartition(".")[2], options)
    name = close.removeprefix("did you mean '").removesuffix("'?")
    return close.replace(f"'{name}'", f"'{options[name]}'") if name in options else ""


def check_kinds(nodes: Mapping[str, object], names: Mapping[str, object]) -> None:
    """Refuse a model for another kind of data.

    Args:
        nodes: of the config.
        names: the choice in each group.

    Raises:
        SpecError: names the models for this kind of data.
    """
    data = _class_of(nodes.get("data"))
    kinds = source.declared_classes(data, "kind") if data is not None else None
    accepted = _accepted(nodes.get("net"))
    if not kinds or len(kinds) > 1 or accepted is None:
        return
    bases = {located.name for located in source.lineage(kinds[0]) if located is not None}
    possible = bases | {SEVERAL_KINDS[kind] for kind in bases & {*SEVERAL_KINDS}}
    if possible & {*accepted}:
        return
    takes, gives = ([source.text_attribute(name, "what") or "other data" for name in s] for s in (accepted, kinds))
    fitting = [
        name for name, file in plugins.config_files("model").items() if bases & {*(_accepted(_net_in(file)) or ())}
    ]
    raise SpecError(
        f"{names.get('model')} takes {' and '.join(takes)}, but data={names.get('data')} gives {gives[0]}; models for "
        f"{gives[0]}: {', '.join(fitting)}"
    )


def _accepted(net: object) -> list[str] | None:
    """The kinds of spec that a net accepts; None if unknown."""
    name = _class_of(net)
    return source.declared_classes(name, "accepts") if name is not None else None


def _class_of(part: object) -> str | None:
    """The dotted name of a part's class, if any config may name it: then its source may be read."""
    name = part.get("_target_") if isinstance(part, Mapping) else None
    return name if isinstance(name, str) and (is_built_in(name) or is_of_plugin(name)) else None


def _net_in(file: Path) -> object:
    """The net in the file of a model; None if a plugin's file cannot be read."""
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, *ERRORS):
        return None
    return content.get("net") if isinstance(content, dict) else None
