"""Overrides on the command line: parsing, quoting, and splitting them from the flags."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override
from hydra.errors import HydraException

from dlzoo.config.nested import walk
from dlzoo.errors import UserError, nearest, short

SHOW_ONLY = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion"}
"""Flags of Hydra that only print something."""
TAKES_VALUE = {
    "--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--package", "-p", "--cfg", "-c", "--info",
    "-i",
}  # fmt: skip
FLAGS = {*SHOW_ONLY, "--resolve", "--package", "-p", "--run", "-r", "--multirun", "-m", "-sc", "--config-dir", "-cd"}
"""The flags that a command line may have."""
MAX_CHARACTERS = 10_000
"""Of an override; Hydra's parser takes seconds for as many."""
MAX_STORED = 2_000
MAX_STORED_CHARACTERS = 20_000
"""Of all overrides in a file, which are parsed before anything else is known about them."""


def check_stored_size(overrides: Sequence[str], source: object) -> None:
    """`UserError` if a file stores more overrides than any command line has."""
    total = sum(map(len, overrides))
    if total > MAX_STORED_CHARACTERS or len(overrides) > MAX_STORED:
        raise UserError(
            f"{source} stores {len(overrides):,} overrides of {total:,} characters, more than any command line"
        )


def parsed(override: str) -> Override:
    """An override, parsed by Hydra's grammar.

    Raises:
        HydraException: it is invalid, too long or too deep, or contains a number with more digits than Python converts.
    """
    if len(override) > MAX_CHARACTERS:
        raise HydraException(f"{len(override):,} characters; at most {MAX_CHARACTERS:,}")
    try:
        return OverridesParser.create().parse_override(override)
    except (ValueError, RecursionError) as error:
        raise HydraException(f"{error}") from None


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's own flags with their values, and the overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    for arg in argv:
        optional_value = {"--info", "-i"} & set(flags[-1:]) and "=" in arg
        if arg.startswith("-") or (flags and flags[-1] in TAKES_VALUE and not optional_value):
            flags.append(arg)
        else:
            overrides.append(arg)
    return flags, overrides


def check_flags(flags: Sequence[str]) -> None:
    """Raise `UserError` for a flag of Hydra that a run does not take: ``--experimental-rerun`` would load a pickle,
    which can run any code. Hydra's parser also accepts abbreviations, which the checks of flags would miss."""
    for flag in (flag.partition("=")[0] for flag in flags if flag.startswith("-")):
        if flag in ("--config-path", "-cp", "--config-name", "-cn"):
            raise UserError(f"{flag}: a run always uses dlzoo's own train.yaml; add your files with --config-dir")
        if flag not in FLAGS:
            raise UserError(f"{short(flag)}: there is no such flag; {nearest(flag, FLAGS)}")


def quoted(key: str, text: object) -> str:
    """``key="text"``, which Hydra reads as this text, whatever characters it contains.

    >>> print(quoted("data.path", 'the "best" of'), quoted("data.path", "C:\\\\"))
    data.path="the \\"best\\" of" data.path="C:\\\\"
    """
    if "${" in f"{text}":
        raise UserError(f"{key}={short(text)}: ${{ starts a reference in a config: choose a name without it")
    return _in_quotes(key, f"{text}")


def _in_quotes(key: str, text: str) -> str:
    text = re.sub(r'(\\*)"', r'\1\1\\"', text)
    ends = re.sub(r"(\\+)\Z", r"\1\1", text)
    return f'{key}="{ends}"'


def key_of(override: str) -> str:
    """The key of an override, without the plus signs that add it.

    >>> key_of("++optimizer.lr=0.1"), key_of("seed=0,1")
    ('optimizer.lr', 'seed')
    """
    return override.partition("=")[0].lstrip("+")


def is_given(key: str, overrides: Sequence[str]) -> bool:
    """Whether an override sets this key."""
    return any(key_of(override) == key for override in overrides)


def value_of(override: str | None) -> str:
    """The value of an override as text, without the quotes that Hydra removes; empty for None.

    >>> value_of('ckpt="a \\\\"b\\\\" c.ckpt"'), value_of("ckpt=a.ckpt"), value_of("ckpt=null"), value_of(None)
    ('a "b" c.ckpt', 'a.ckpt', 'null', '')
    """
    if override is None:
        return ""
    try:
        value = parsed(override).value()
    except HydraException:
        value = None
    return value if isinstance(value, str) else override.partition("=")[2]


def all_values(overrides: Sequence[str]) -> dict[str, object]:
    """The values of overrides by dotted key, including choices of groups and the values nested in dicts and lists.

    >>> all_values(["net.hidden=[8]", "++callbacks.mine={_target_: a.B}"])["callbacks.mine._target_"]
    'a.B'
    """
    values: dict[str, object] = {}
    for text in overrides:
        try:
            override = parsed(text)
        except HydraException:
            continue  # reported when the config is composed
        if not override.is_sweep_override() and not override.is_delete():
            values |= dict(walk(override.value(), override.key_or_group))
    return values


def readable(override: str) -> str:
    """An override with its value in quotes, if Hydra's grammar does not allow characters in it.

    So a path with accents, or a file named ``a,b.csv``, does not need quotes inside the shell's quotes.
    """
    key, equals, value = override.partition("=")
    is_path = bool(value) and os.path.exists(os.path.expanduser(value))
    try:
        is_sweep = parsed(override).is_sweep_override()
        return quoted(key, value) if is_path and is_sweep else override
    except HydraException:
        if is_path:
            return quoted(key, value)
        return _in_quotes(key, value) if equals and not value.startswith(("[", "{", "'", '"')) else override


def extra_dirs(flags: Sequence[str]) -> list[Path]:
    """The folders of ``--config-dir``."""
    joined = [flag.partition("=")[2] for flag in flags if flag.startswith("--config-dir=")]
    return [Path(b) for a, b in itertools.pairwise(flags) if a in ("--config-dir", "-cd")] + [Path(f) for f in joined]


def only_config_dirs(flags: Sequence[str]) -> Sequence[str]:
    """The flags of a command that takes none but ``--config-dir``.

    Raises:
        UserError: there is another flag, or a folder does not exist.
    """
    check_flags(flags)
    for flag in flags:
        if flag.startswith("-") and flag.partition("=")[0] not in ("--config-dir", "-cd"):
            raise UserError(f"{short(flag)}: this command takes no flag but --config-dir")
    if missing := next((path for path in extra_dirs(flags) if not path.is_dir()), None):
        raise UserError(f"--config-dir={short(missing, 200)}: there is no such folder")
    return flags


def search_path(flags: Sequence[str]) -> list[str]:
    """The override that makes Hydra's compose search these folders."""
    folders = [quoted("", f"file://{path.resolve()}")[1:] for path in extra_dirs(flags)]
    return [f"hydra.searchpath=[{','.join(folders)}]"] if folders else []


def parse_all(overrides: Sequence[str]) -> list[Override]:
    """The overrides, parsed.

    Raises:
        UserError: names the first invalid one.
    """
    result = []
    for text in overrides:
        try:
            result.append(parsed(text))
        except HydraException:
            hint = "write key=value" if "=" not in text else "quote a value with special characters: 'key=\"…\"'"
            raise UserError(f"{short(text, 1000)} is not a valid override; {hint}") from None
    return result


def matching(override: Override, pattern: Glob, known: Sequence[str]) -> list[str]:
    """The names that ``glob(…)`` matches.

    Raises:
        UserError: none.
    """
    names = pattern.filter(list(known))
    if not names:
        group = override.key_or_group
        raise UserError(f"{short(override.input_line)} matches no {group}; choose from: {', '.join(known)}")
    return names


def referenced_keys(text: str) -> list[str]:
    """The first parts of the keys that a text refers to.

    >>> referenced_keys("net.hidden=[${width},${net.depth}]")
    ['width', 'net']
    """
    return re.findall(r"\$\{\s*(\w+)\s*[.\[}]", text)


def chosen_names(override: Override, known: Sequence[str] = ()) -> Iterator[str]:
    """The names that a group override chooses: one, a list, or a sweep; ``null``, which is no name, is written out.

    Args:
        known: the names in the group, for ``glob(…)``.

    Raises:
        UserError: a pattern matches none of them.
    """
    if override.is_delete():
        return
    value = override.value()
    if isinstance(value, Glob):
        yield from matching(override, value, known)
        return
    values = value.list if isinstance(value, ChoiceSweep) else value if isinstance(value, list) else [value]
    for item in values:
        yield from ("null" if v is None else str(v) for v in (item if isinstance(item, list) else [item]))
