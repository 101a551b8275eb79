"""Overrides of the command line: parsed, quoted, split from the flags."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException

from dlzoo.errors import UserError, short

BUILD_NOTHING = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion"}
"""Flags of Hydra that only show something."""


def parsed(word: str) -> Override:
    """An override by Hydra's grammar.

    Raises:
        HydraException: it is none, or holds a number with more digits than Python converts.
    """
    try:
        return OverridesParser.create().parse_override(word)
    except ValueError as error:
        raise HydraException(f"{error}") from None


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's own flags (with their values), and the overrides."""
    takes_value = {"--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--package", "-p"}
    takes_value |= {"--cfg", "-c", "--info", "-i", "--experimental-rerun"}
    flags: list[str] = []
    words: list[str] = []
    for word in argv:
        optional_value = {"--info", "-i"} & set(flags[-1:]) and "=" in word
        if word.startswith("-") or (flags and flags[-1] in takes_value and not optional_value):
            flags.append(word)
        else:
            words.append(word)
    return flags, words


def quoted(key: str, text: object) -> str:
    """``key="text"``, which Hydra reads as this text, whatever signs are in it.

    >>> print(quoted("data.path", 'the "best" of'), quoted("data.path", "C:\\\\"))
    data.path="the \\"best\\" of" data.path="C:\\\\"
    """
    if "${" in f"{text}":
        raise UserError(f"{key}={short(text)}: ${{ begins a reference in a config: choose a name without it")
    return _in_quotes(key, f"{text}")


def _in_quotes(key: str, text: str) -> str:
    text = re.sub(r'(\\*)"', r'\1\1\\"', text)
    ends = re.sub(r"(\\+)\Z", r"\1\1", text)
    return f'{key}="{ends}"'


def value_of(word: str | None) -> str:
    """The value of an override as text, without the quotes that Hydra takes away; empty where there is none.

    >>> value_of('ckpt="a \\\\"b\\\\" c.ckpt"'), value_of("ckpt=a.ckpt"), value_of("ckpt=null"), value_of(None)
    ('a "b" c.ckpt', 'a.ckpt', 'null', '')
    """
    if word is None:
        return ""
    try:
        value = parsed(word).value()
    except HydraException:
        value = None
    return value if isinstance(value, str) else word.partition("=")[2]


def readable(word: str) -> str:
    """An override with its value in quotes, where Hydra's grammar does not know the signs in it.

    So a path with accents, or a file named ``a,b.csv``, need no quotes that the shell would take away.
    """
    key, equals, value = word.partition("=")
    is_path = bool(value) and os.path.exists(os.path.expanduser(value))
    try:
        override = parsed(word)
        return quoted(key, value) if is_path and override.is_sweep_override() else word
    except HydraException:
        if is_path:
            return quoted(key, value)
        return _in_quotes(key, value) if equals and not value.startswith(("[", "{", "'", '"')) else word


def extra_dirs(flags: Sequence[str]) -> list[Path]:
    """The folders of ``--config-dir``."""
    joined = [flag.partition("=")[2] for flag in flags if flag.startswith("--config-dir=")]
    return [Path(b) for a, b in itertools.pairwise(flags) if a in ("--config-dir", "-cd")] + [Path(f) for f in joined]


def search_path(flags: Sequence[str]) -> list[str]:
    """Those folders, as Hydra's compose wants them."""
    folders = [quoted("", f"file://{path.resolve()}")[1:] for path in extra_dirs(flags)]
    return [f"hydra.searchpath=[{','.join(folders)}]"] if folders else []


def _parse(words: Sequence[str]) -> list[Override]:
    overrides = []
    for word in words:
        try:
            overrides.append(parsed(word))
        except HydraException:
            hint = "write key=value" if "=" not in word else "quote a value that holds special characters: 'key=\"…\"'"
            raise UserError(f"{short(word, 1000)}: this is not an override; {hint}") from None
    return overrides


def _names(override: Override) -> Iterator[str]:
    """The names that a group override chooses: one, a list, or a sweep."""
    value = override.value()
    values = value.list if isinstance(value, ChoiceSweep) else value if isinstance(value, list) else [value]
    for item in values:
        yield from (str(v) for v in (item if isinstance(item, list) else [item]) if v is not None)
