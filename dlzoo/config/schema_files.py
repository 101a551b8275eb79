"""The JSON Schemas of config files: one of a whole config, for experiments and models, and one of each other group.

The names in a defaults list decide what else may be set: with ``override /model: vae`` the options of ``net`` are those
of that net. What a file does not decide may be any option that some part has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path

from dlzoo.config import json_schema, nested, options, settings
from dlzoo.config.allowlist import ALLOWED_TARGETS, PARTS, Trust
from dlzoo.config.bounds import by_name
from dlzoo.config.group_files import ABOUT, File, files_by_group
from dlzoo.config.json_schema import Schema, ref
from dlzoo.config.options import Part
from dlzoo.config.schema import NODES
from dlzoo.config.yaml_files import CONFIG_DIR
from dlzoo.errors import UserError, nearest, short

DRAFT = "https://json-schema.org/draft/2020-12/schema"
WHOLE = "config"
"""The schema of files that set keys of the whole config: experiments, models, train.yaml."""
NAMED = ("callbacks", "logger")
"""The nodes with several parts, each of which has a name."""
INTERNAL = ("names",)
"""Settings that no file sets."""
SWEEP = "dlzoo.sweep.settings.Settings"


def schema_name(file: File) -> str:
    """The name of the schema that describes a file."""
    return WHOLE if file.is_whole or file.path.parent == CONFIG_DIR else file.group


@dataclass(frozen=True)
class Schemas:
    """The schemas of all files in some folders of configs.

    Args:
        folders: dlzoo's own, and those of the user.
        trusted: whose packages may be imported, to read the options of their classes.
    """

    folders: Sequence[Path] = (CONFIG_DIR,)
    trusted: Trust = field(default_factory=Trust)

    @cached_property
    def groups(self) -> dict[str, list[File]]:
        """The files of each group; one of the user replaces one of the same name."""
        return files_by_group(self.folders)

    @property
    def names(self) -> list[str]:
        """The schemas: of the whole config, and of each group whose files describe one part."""
        parts = [group for group, files in self.groups.items() if any(self._is_known(file.package) for file in files)]
        return [WHOLE, *parts]

    def _is_known(self, package: str) -> bool:
        """Whether a part of this name has a description; a stranger's file may be of any."""
        return package == "sweep" or package in NAMED or package in self.targets

    def name_of(self, group: str) -> str:
        """The schema of a group's files.

        Raises:
            UserError: there is no such group.
        """
        if group in self.names:
            return group
        if group in self.groups:
            return WHOLE
        raise UserError(f"group={short(group)}: there is no such group; {nearest(group, [*self.groups, WHOLE])}")

    def described(self, name: str) -> str:
        """Which files a schema describes."""
        whole = [group for group in self.groups if group not in self.names]
        return f"a whole config: {', '.join(whole)}" if name == WHOLE else f"the group {name}"

    def schema(self, name: str) -> Schema:
        """One of `names`."""
        body, definitions = (self._whole(), self._definitions) if name == WHOLE else self._group(name)
        return {
            "$schema": DRAFT,
            "$comment": _versions(),
            **body,
            "$defs": _with_needed(body, definitions),
        }

    @cached_property
    def targets(self) -> dict[str, dict[str, Part]]:
        """By the key of a node, or of a part inside one, the classes that files or any config may name there."""
        named: dict[str, set[str]] = {node: {*_allowed(node)} for node in NODES}
        for file in (file for files in self.groups.values() for file in files):
            for key, target in file.targets():
                node, _, _ = key.partition(".")
                named.setdefault(node if node in NAMED else key, set()).add(target)
        found: dict[str, dict[str, Part]] = {}
        for key, targets in named.items():
            parts = {target: options.read(target, self.trusted) for target in sorted(targets)}
            found[key] = {target: part for target, part in parts.items() if part is not None}
        return found

    @cached_property
    def _definitions(self) -> dict[str, Schema]:
        found: dict[str, Schema] = {"reference": json_schema.REFERENCE}
        inner = [key for key in self.targets if "." in key]
        for key, parts in self.targets.items():
            node = key.partition(".")[0]
            for target, part in parts.items():
                found[target] = json_schema.of_part(part, options.in_node(part, node, is_nested=key != node))
                for place in inner:
                    name = place.rpartition(".")[2]
                    if place == f"{node}.{name}" and name in found[target]["properties"]:
                        about = found[target]["properties"][name]
                        found[target]["properties"][name] = {"description": about.get("description", ""), **ref(place)}
        for key, parts in self.targets.items():
            chosen = json_schema.when_target(ref(f"{key} by _target_"), ref(f"any {key}"))
            found[f"{key} by _target_"] = json_schema.by_target(parts)
            found[f"any {key}"] = json_schema.of_any(parts, found)
            found[key] = json_schema.unless_reference({"type": ["object", "null"], **chosen})
        for node in NAMED:
            found[node] = self._named(node)
        found["sweep"] = self._sweep()
        return found

    def _sweep(self) -> Schema:
        part = options.from_source(SWEEP)
        if part is None:
            raise LookupError(SWEEP)
        schema = json_schema.of_part(part, part.options)
        del schema["properties"]["_target_"]
        return schema | {"description": part.about}

    def _named(self, node: str) -> Schema:
        """The parts of a node by name: those of the shipped files have a known class."""
        known = {
            key.partition(".")[2]: target
            for file in self.groups.get(node, ())
            for key, target in file.targets()
            if key.count(".") == 1 and target in self.targets[node]
        }
        other = {"type": ["object", "null"], "required": ["_target_"], **ref(f"{node} by _target_")}
        parts = {
            name: {
                "description": self.targets[node][target].about,
                "type": ["object", "null"],
                **json_schema.when_target(ref(f"{node} by _target_"), _unless_null(ref(target))),
            }
            for name, target in sorted(known.items())
        }
        return {
            "type": ["object", "null"],
            "properties": parts,
            "additionalProperties": json_schema.unless_reference(other),
        }

    def _whole(self) -> Schema:
        about = settings.about()
        plain = {
            key: json_schema.of_option(options.Option(key, hint, options.REQUIRED, about.get(key, ""), by_name(key)))
            for key, hint in settings.SETTINGS.items()
            if key not in INTERNAL
        }
        plain["sweep"] = {"description": "Settings of a search.", **_unless_null(ref("sweep"))}
        nodes = {node: self._node(node) for node in NODES}
        own = {"defaults": self._defaults_list(None), "hydra": {"description": "Only dlzoo's own files set it."}}
        return {
            "type": ["object", "null"],
            "properties": {**own, **nodes, **plain},
            "additionalProperties": False,
            "allOf": [*self._choices()],
        }

    def _node(self, node: str) -> Schema:
        """A node of the whole config; `_choices` says which options it has if the file does not name its class."""
        about = f"{ABOUT.get(node, ABOUT[NODE_GROUPS[node]])}; the group {NODE_GROUPS[node]} chooses its class"
        if node in NAMED:
            return {"description": about, **ref(node)}
        known = {"if": {"required": ["_target_"]}, "then": ref(f"{node} by _target_")}
        return {"description": about, **json_schema.unless_reference({"type": ["object", "null"], **known})}

    def _choices(self) -> Iterator[Schema]:
        """What the names in a defaults list decide about each node."""
        for node, group in NODE_GROUPS.items():
            if node in NAMED:
                continue
            direct = self._by_class(node, group)
            for target, names in direct.items():
                yield _when(_chooses(group, names), node, target)
            decided = [_chooses(group)]
            if group not in ("model", "data"):
                for target, names in self._by_model(node, group).items():
                    condition = {"allOf": [_chooses("model", names), {"not": _chooses(group)}]}
                    yield _when(condition, node, target)
                decided.append(_chooses("model"))
            yield _when({"not": {"anyOf": decided}}, node, f"any {node}")

    def _by_class(self, node: str, group: str) -> dict[str, list[str]]:
        """The names in a group by the class that each chooses for a node."""
        found: dict[str, list[str]] = {}
        for file in self.groups.get(group, ()):
            target = self._class(file, node)
            if target in self.targets[node]:
                found.setdefault(str(target), []).append(file.name)
        return found

    def _class(self, file: File, node: str) -> str | None:
        """The class of a node that a file chooses, itself or through the files that it is based on."""
        target = dict(file.targets()).get(node)
        entries = file.content.get("defaults")
        if target is not None or not isinstance(entries, list):
            return target
        based = {other.name: other for other in self.groups[file.group] if other.name in entries}
        return next((found for other in based.values() if (found := self._class(other, node))), None)

    def _by_model(self, node: str, group: str) -> dict[str, list[str]]:
        """The names of models by the class that each gives a node of another group, where no name is given there."""
        by_name = {file.name: self._class(file, node) for file in self.groups.get(group, ())}
        default = File(CONFIG_DIR / "train.yaml").chosen(group)
        found: dict[str, list[str]] = {}
        for model in self.groups.get("model", ()):
            target = by_name.get(model.chosen(group) or default or "")
            if target in self.targets[node]:
                found.setdefault(str(target), []).append(model.name)
        return found

    def _group(self, name: str) -> tuple[Schema, Mapping[str, Schema]]:
        """A file of a group that describes one part, or named ones, and the definitions for it.

        Beside the options of its part a file has a defaults list.
        """
        package = next(file.package for file in self.groups[name] if self._is_known(file.package))
        own = {"defaults": ref("defaults")}
        definitions = self._definitions | {"defaults": self._defaults_list(name)}
        if package == "sweep" or package in NAMED:
            root = definitions[package]
            return root | {"type": ["object", "null"], "properties": own | root["properties"]}, definitions
        extended = [*self.targets[package], f"any {package}"]
        definitions |= {
            key: self._definitions[key] | {"properties": own | self._definitions[key]["properties"]} for key in extended
        }
        chosen = json_schema.when_target(ref(f"{package} by _target_"), _unless_null(ref(f"any {package}")))
        return {"type": ["object", "null"], **chosen}, definitions

    def _defaults_list(self, own: str | None) -> Schema:
        """A defaults list.

        Args:
            own: the group of the file; None if it is not known.
        """
        names = {group: [file.name for file in files] for group, files in self.groups.items()}
        overrides = {
            f"override /{group}": {
                "description": ABOUT.get(group, f"The choice in the group {group}"),
                "examples": choices,
                "if": {"type": "array"},
                "then": {"items": {"enum": choices}},
                "else": {"enum": [*choices, None]},
            }
            for group, choices in names.items()
        }
        text: Schema = {"type": "string"}
        if own is not None:
            text = {"anyOf": [{"enum": ["_self_", *names[own]]}, {"type": "string", "pattern": "/"}]}
        other: Schema = {r"^override (/?hydra/|/?\w+/)": {}, r"^(optional )?/?[\w/@.]+$": {}}
        choice = {"properties": overrides, "patternProperties": other, "additionalProperties": False}
        item: Schema = {"if": {"type": "object"}, "then": choice, "else": text}
        return {"description": "The configs that this one is based on.", "type": "array", "items": item}


NODE_GROUPS = {
    "net": "model",
    "task": "model",
    "data": "data",
    "optimizer": "optimizer",
    "scheduler": "scheduler",
    "trainer": "trainer",
    "callbacks": "callbacks",
    "logger": "logger",
}
"""The group that chooses each node."""


def _allowed(node: str) -> Iterator[str]:
    """The classes of PyTorch and Lightning that any config may name in a node."""
    starts = {"optimizer": "torch.optim.", "callbacks": f"{PARTS['callbacks'].rpartition('.')[0]}.callbacks."}
    starts |= {"logger": "lightning.pytorch.loggers.", "trainer": "lightning.pytorch.Trainer"}
    return (target for target in ALLOWED_TARGETS if node in starts and target.startswith(starts[node]))


def _chooses(group: str, names: Sequence[str] | None = None) -> Schema:
    """Whether a defaults list chooses one of these names in a group, or any."""
    key = f"override /{group}"
    choice = {"type": "object", "required": [key]} | ({"properties": {key: {"enum": names}}} if names else {})
    return {"required": ["defaults"], "properties": {"defaults": {"type": "array", "contains": choice}}}


def _when(condition: Schema, node: str, definition: str) -> Schema:
    """What a node may be under a condition, if it does not name its class."""
    part = {"if": {"type": "object", "not": {"required": ["_target_"]}}, "then": ref(definition)}
    return {"if": condition, "then": {"properties": {node: part}}}


def _unless_null(schema: Schema) -> Schema:
    return {"if": {"type": "object"}, "then": schema}


def _with_needed(body: Schema, definitions: Mapping[str, Schema]) -> dict[str, Schema]:
    """The definitions that a schema refers to, and those that they refer to."""
    needed: dict[str, Schema] = {}
    open_nodes: list[object] = [body]
    while open_nodes:
        for key, value in nested.walk(open_nodes.pop()):
            name = str(value).removeprefix("#/$defs/").partition("/")[0]
            if key.endswith("$ref") and name not in needed:
                needed[name] = definitions[name]
                open_nodes.append(definitions[name])
    return dict(sorted(needed.items()))


def _versions() -> str:
    found = ", ".join(f"{name} {metadata.version(name).partition('+')[0]}" for name in ("torch", "lightning"))
    return f"Written by `dlzoo schema`; the options of PyTorch's and Lightning's classes are those of {found}."


def as_text(schema: Schema) -> str:
    """A schema as its file contains it: each property and each definition in a line, so that a change is one line."""
    return f"{{\n{_lines(schema, 2)}\n}}\n"


def _lines(node: Schema, levels: int) -> str:
    """The entries of an object, each in a line; those with many entries in turn, down to some level."""
    lines = []
    for key, value in node.items():
        is_long = levels > 1 and key in ("properties", "$defs") and isinstance(value, dict)
        shown = f"{{\n{_lines(value, levels - 1)}\n}}" if is_long else json.dumps(value, ensure_ascii=False)
        lines.append(f"{json.dumps(key)}: {shown}")
    return ",\n".join(lines)
