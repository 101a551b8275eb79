"""Lists the options of the parts that a command line chooses: value, type, range, and what the docstring says.

``dlzoo options model=vae data=mnist`` prints all of them, ``dlzoo train model=vae data=mnist --help`` those of the
model and the data. Nothing is imported for it but classes of a package that the user trusts.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from dlzoo.config import bounds, nested, options, renames, settings
from dlzoo.config.allowlist import Trust
from dlzoo.config.docstrings import summary
from dlzoo.config.options import REQUIRED, Option
from dlzoo.config.schema import NODES
from dlzoo.config.source_types import UNKNOWN
from dlzoo.errors import short
from dlzoo.utils.type_checks import readable

LEARNING = ("net", "task", "optimizer", "scheduler", "data")
"""The nodes that ``--help`` lists."""
SETTINGS = "settings"
"""The settings of a run, listed like a part."""
PARTS = (*NODES, SETTINGS)
TYPE_COLUMN = 36
UNWRITABLE = re.compile(r" or (Tensor|PathLike|Path|timedelta)\b")
"""Alternatives in a type that no config can give."""


class Listed(NamedTuple):
    """An option as it is listed."""

    key: str
    """As on the command line: ``net.hidden``."""
    value: object
    """In the config, or the default in the signature; `REQUIRED` if it has none."""
    option: Option

    def as_json(self) -> dict[str, object]:
        """Of plain values; ``value`` is null and ``required`` true if it must be given."""
        is_missing = self.value is REQUIRED or self.value == "???"
        return {
            "key": self.key,
            "value": None if is_missing else self.value,
            "required": is_missing,
            "default": None if self.option.default is REQUIRED else self.option.default,
            "type": type_of(self.option),
            "about": self.option.about,
        }


class ListedPart(NamedTuple):
    """A part with its options."""

    node: str
    """The node of the config, or `SETTINGS`."""
    key: str
    """Dotted: ``callbacks.checkpoint``."""
    target: str
    """Its class; empty for the settings."""
    about: str
    options: list[Listed]

    def as_json(self) -> dict[str, object]:
        """Of plain values."""
        return self._asdict() | {"options": [listed.as_json() for listed in self.options]}


def parts(cfg: DictConfig, nodes: Iterable[str] = PARTS, trusted: Trust | None = None) -> Iterator[ListedPart]:
    """The parts of a composed config, with those nested in them.

    Args:
        trusted: whose classes may be imported.
    """
    for node in nodes:
        if node == SETTINGS:
            yield _settings(cfg)
            continue
        for key, part in nested.targets(renames.updated(_plain(cfg, node)), node):
            known = options.read(str(part["_target_"]), trusted)
            if known is None:
                continue
            is_nested = key.count(".") > (node in ("callbacks", "logger"))
            listed = [
                Listed(f"{key}.{option.name}", part.get(option.name, option.default), option)
                for option in options.in_node(known, node, is_nested=is_nested)
                if not _is_part(part.get(option.name))
            ]
            yield ListedPart(node, key, known.target, known.about, listed)


def _settings(cfg: DictConfig) -> ListedPart:
    about = settings.about()
    listed = [
        Listed(key, _plain(cfg, key), Option(key, hint, REQUIRED, about[key], bounds.by_name(key)))
        for key, hint in settings.SETTINGS.items()
        if key in about
    ]
    return ListedPart(SETTINGS, SETTINGS, "", "keys at the top of the config", listed)


def lines(found: Iterable[ListedPart], width: int = 80) -> Iterator[str]:
    """The listing of some parts, at most ``width`` columns wide."""
    for part in found:
        yield ""
        yield from textwrap.wrap(f"{part.key}: {part.target or part.about}", width, subsequent_indent="    ")
        if not part.options:
            yield "  (no options)"
        for listed in part.options:
            yield from _entry(listed, width)


def _entry(listed: Listed, width: int) -> Iterator[str]:
    head = f"  {listed.key}={short(shown(listed.value), width - len(listed.key) - 3)}"
    types = textwrap.wrap(type_of(listed.option), width - TYPE_COLUMN) or [""]
    if len(head) < TYPE_COLUMN:
        yield f"{head:{TYPE_COLUMN}}{types.pop(0)}".rstrip()
    else:
        yield head
    yield from (f"{'':{TYPE_COLUMN}}{text}" for text in types if text)
    if listed.option.about:
        yield textwrap.indent(textwrap.shorten(summary(listed.option.about), width - 6, placeholder=" …"), " " * 6)


def type_of(option: Option) -> str:
    """The type and the range of an option in words; empty if unknown."""
    words = "" if option.type is UNKNOWN else UNWRITABLE.sub("", readable(option.type))
    return ", ".join(filter(None, [words, str(option.bounds) if option.bounds else ""]))


def _plain(cfg: DictConfig, key: str) -> Any:
    """The plain content of a key, with its references unresolved."""
    node = cfg._get_node(key)
    return OmegaConf.to_container(OmegaConf.create({key: node}), resolve=False)[key]  # type: ignore[index,call-overload]


def _is_part(value: object) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def shown(value: object) -> str:
    """A value as one writes it on the command line; empty for an option without a default.

    >>> shown(None), shown((8, 4)), shown("relu"), shown({"a": None})
    ('null', '[8, 4]', 'relu', '{a: null}')
    """
    if value is REQUIRED:
        return ""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {shown(item)}' for key, item in value.items())}}}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(shown, value))}]"
    return str(value)
