"""The command line before Hydra sees it: renamed and short keys spelled out, groups, names and keys checked.

Nothing here imports torch, so that a typo is answered at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from dlzoo.config import aliases, early_checks, groups, plugins, renames, yaml_files
from dlzoo.config.hydra_composition import composed
from dlzoo.config.overrides import (
    check_flags,
    chosen_names,
    extra_dirs,
    parse_all,
    readable,
    referenced_keys,
    split,
)
from dlzoo.config.schema import NODES
from dlzoo.config.settings import SETTINGS
from dlzoo.config.user_files import SWEEPER_PARAMS
from dlzoo.errors import UserError, ignored_option, nearest, short

MULTIRUN_MODE = "hydra.mode=MULTIRUN"
"""What ``-m`` is short for."""


def prepare(argv: Sequence[str]) -> list[str]:
    """The command line as Hydra should see it, with renamed keys replaced by their current names.

    Raises:
        UserError: a group, a name in a group, the first part of a key, or a folder of ``--config-dir`` does not exist.
            A key may be the user's, to refer to, if another override or a file in such a folder does.
    """
    flags, overrides = split(argv)
    check_flags(flags)
    if missing := next((path for path in extra_dirs(flags) if not path.is_dir()), None):
        raise UserError(f"--config-dir={short(missing, 200)}: there is no such folder")
    overrides = [_renamed(readable(override)) for override in overrides]
    if MULTIRUN_MODE in overrides:
        flags = [*flags, "-m"]
        overrides = [override for override in overrides if override != MULTIRUN_MODE]
    is_sweep = bool({"-m", "--multirun"} & {*flags})
    overrides = [*_sweeper_params(overrides, is_sweep=is_sweep)]
    overrides = [text for override in overrides for text in _spelled_out(override, is_sweep=is_sweep)]
    folders = groups.search_dirs(flags)
    known = groups.names(folders)
    referenced = {name for override in overrides for name in referenced_keys(override)}
    parsed = parse_all(overrides)
    may_have_keys = bool(extra_dirs(flags)) or _chooses_files_of_plugins(parsed, known)
    prepared = []
    for text, override in zip(overrides, parsed, strict=True):
        key = override.key_or_group
        if key in known:
            names = [*chosen_names(override, known[key])]
            if (spelled := aliases.with_known_names(text, key, names, known[key])) != text:
                print(f"notice: {short(text)} means {short(spelled)}", file=sys.stderr)
                text, names = spelled, [aliases.spelled(key, name, known[key]) for name in names]
            for name in names:
                if name not in known[key]:
                    remedy = _remedy(key, name, known[key])
                    raise UserError(f"{key}={name}: there is no such {_singular(key)}; {remedy}")
                if (hidden := plugins.hidden(key, name, folders)) is not None:
                    print(
                        f"warning: {key}={name} is not {short(hidden, 200)}, but the one before it: rename yours",
                        file=sys.stderr,
                    )
            prepared.append(text)
        elif key == "hydra":
            raise UserError(f"{short(text)}: Hydra's settings are set one by one, as hydra.<name>=…")
        elif key.split(".")[0].split("/")[0] == "hydra" or "@" in text.split("=")[0]:
            if "/" in key or override.package is not None:
                for name in chosen_names(override):
                    _check_name(key, name)
            prepared.append(text)
        else:
            if key.split(".")[0] not in referenced and not may_have_keys:
                _check_key(key, known, [other for other in overrides if other != text])
            prepared.append("++" + text if not text.startswith(("+", "~")) and "." in key else text)
    return [*flags, *prepared]


def _chooses_files_of_plugins(overrides: Sequence[Override], known: Mapping[str, Sequence[str]]) -> bool:
    """Whether a name on the command line is of none of dlzoo's files: those of others may add keys to refer to."""
    own = groups.names([yaml_files.CONFIG_DIR])
    names = {o.key_or_group: {*chosen_names(o, known[o.key_or_group])} for o in overrides if o.key_or_group in known}
    return any(names[group] - {*own.get(group, ()), "null"} for group in names)


def _spelled_out(override: str, *, is_sweep: bool) -> Iterator[str]:
    """An override with what its key is short for; prints a notice if that differs."""
    meant = [*aliases.expanded(override, is_sweep=is_sweep)]
    if meant != [override]:
        print(f"notice: {short(override)} means {short(' '.join(meant), 120)}", file=sys.stderr)
    return iter(meant)


def _singular(group: str) -> str:
    return "callback" if group == "callbacks" else group


def _sweeper_params(overrides: Sequence[str], *, is_sweep: bool) -> Iterator[str]:
    """The overrides, with those of ``hydra.sweeper.params`` as what they sweep: ``seed=0,1``.

    Raises:
        UserError: there are any, but no sweep.
    """
    for text, override in zip(overrides, parse_all(overrides), strict=True):
        key = override.key_or_group
        if not key.startswith(SWEEPER_PARAMS) or override.is_delete():
            yield text
            continue
        if not is_sweep:
            raise ignored_option(key, text.partition("=")[2], "-m")
        value, name = override.value(), key.removeprefix(SWEEPER_PARAMS)[1:]
        if isinstance(value, dict):
            yield from (f"{name}={values}" for name, values in value.items())
        else:
            yield f"{name}={value}" if isinstance(value, str) else f"{name}={text.partition('=')[2]}"


def _remedy(group: str, name: str, known: Sequence[str]) -> str:
    """What to give in place of a name that a group does not have."""
    if (file := plugins.not_installed(group, name)) is not None:
        base = file.parents[3]
        return (
            f"{file} is here, but its package is not an installed plugin: once, pip install -e "
            f"{base.parent if base.name == 'src' else base}, with an entry point in the group {plugins.GROUP}"
        )
    if name != "null":
        return nearest(name, known)
    return f"for none, write {group}=none" if "none" in known else f"for none, omit it; {nearest(name, known)}"


def _renamed(override: str) -> str:
    """An override with the current name of its key; prints a notice if that differs."""
    new = renames.updated_override(override)
    old_key, new_key = (text.partition("=")[0].lstrip("+~") for text in (override, new))
    if new_key != old_key:
        print(f"notice: {short(old_key)} is now {short(new_key)}", file=sys.stderr)
        return new
    return renames.override_with_positions(override)


def _check_name(group: str, name: str) -> None:
    """`UserError` if the name of a config is a path outside its group."""
    if name.startswith("/") or ".." in name.split("/"):
        raise UserError(f"{group}={short(name)} is a path, not the name of a config")


def _check_key(key: str, known: dict[str, list[str]], overrides: Sequence[str]) -> None:
    """`UserError` for the key of an override that begins with no node and no setting.

    Args:
        overrides: the others, which choose the parts whose options are suggested.
    """
    first = key.split(".")[0]
    nodes = {*NODES, *SETTINGS}
    if first not in nodes:
        close = nearest(first, {*nodes, *known})
        if not close.startswith("did you mean"):
            close = early_checks.nearest_option(key, _nodes_of(overrides), aliases.SHORT) or close
        raise UserError(f"{short(key)}: unknown key; {close}")
    if "." not in key and key in NODES and key not in known:
        raise UserError(f"{key}: choose it with model=, and set its options with {key}.<name>=…")


def _nodes_of(overrides: Sequence[str]) -> Mapping[str, object]:
    """The nodes of the config of these overrides, as far as they choose parts; those of the defaults if they cannot be
    composed."""
    known = groups.names()
    chosen = [text for text in overrides if text.partition("=")[0] in known]
    try:
        cfg, _ = composed(chosen, [], {})
    except UserError:
        cfg, _ = composed([], [], {})
    return {name: OmegaConf.to_container(cfg._get_node(name), resolve=False) for name in NODES if name in cfg}
