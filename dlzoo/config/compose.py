"""From the command line to a composed config, with the checks that Hydra lacks.

There are three steps, all before any data are read: `prepare` checks the groups and keys of the command line (without
importing torch), Hydra composes the files, and `dlzoo.config.schema.check` validates every key against the argument
that it sets. So an option can be set without listing its default in YAML (``net.hidden=[300,100]``), and a typo is an
error anywhere.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from dlzoo.config import aliases, early_checks, hydra_settings, renames
from dlzoo.config.files import CheckedFiles, check_expansion
from dlzoo.config.nested import flatten
from dlzoo.config.overrides import (
    SHOW_ONLY,
    all_values,
    check_flags,
    chosen_names,
    extra_dirs,
    matching,
    parse_all,
    readable,
    referenced_keys,
    search_path,
    split,
)
from dlzoo.config.schema import NODES, SETTINGS
from dlzoo.config.yaml_files import CONFIG_DIR
from dlzoo.errors import UserError, ignored_option, nearest, short

OmegaConf.register_new_resolver("mixed_precision", lambda: _mixed_precision(), replace=True)
OmegaConf.register_new_resolver("sync_batchnorm", lambda accelerator: on_gpus(accelerator), replace=True)


def groups(config_dirs: Sequence[Path] | None = None) -> dict[str, list[str]]:
    """The config groups, and the names in each."""
    names: dict[str, set[str]] = {}
    for root in [CONFIG_DIR] if config_dirs is None else config_dirs:
        for file in root.glob("*/*.yaml"):
            names.setdefault(file.parent.name, set()).add(file.stem)
    names.pop("hydra", None)
    return {group: sorted(names[group]) for group in sorted(names)}


MULTIRUN_MODE = "hydra.mode=MULTIRUN"
"""What ``-m`` is short for."""
SWEEPER_PARAMS = "hydra.sweeper.params"
"""Where Hydra's sweeper takes what to sweep from, besides the command line."""


def known_keys(flags: Sequence[str] = ()) -> list[str]:
    """What the key of an override may begin with: nodes, settings and groups."""
    return [*NODES, *SETTINGS, *groups([CONFIG_DIR, *extra_dirs(flags)])]


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
    known = groups([CONFIG_DIR, *extra_dirs(flags)])
    referenced = {name for override in overrides for name in referenced_keys(override)}
    prepared = []
    for text, override in zip(overrides, parse_all(overrides), strict=True):
        key = override.key_or_group
        if key in known:
            names = [*chosen_names(override, known[key])]
            if (spelled := aliases.with_known_names(text, key, names, known[key])) != text:
                print(f"notice: {short(text)} means {short(spelled)}", file=sys.stderr)
                text, names = spelled, [aliases.spelled(key, name, known[key]) for name in names]
            for name in names:
                if name not in known[key]:
                    raise UserError(
                        f"{key}={name}: there is no such {_singular(key)}; {_remedy(key, name, known[key])}"
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
            if key.split(".")[0] not in referenced and not extra_dirs(flags):
                _check_key(key, known, [other for other in overrides if other != text])
            prepared.append("++" + text if not text.startswith(("+", "~")) and "." in key else text)
    return [*flags, *prepared]


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


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The config of ``train.py`` with these overrides, for scripts and tests (no Hydra folders, no logging)."""
    cfg = compose_with_hydra(overrides)
    return with_names(cfg, cfg.hydra.runtime.choices)


def compose_with_hydra(
    overrides: Sequence[str] = (), flags: Sequence[str] = (), contents: dict[Path, str] | None = None
) -> DictConfig:
    """Like `compose`, but as Hydra returns it: with its own node ``hydra``, and without ``names``.

    Args:
        contents: of the user's config files that were read before; those read now are added.

    Raises:
        UserError: a mistake, or a file of ``--config-dir`` that sets what only the command line may set.
    """
    _, overrides = split(prepare([*flags, *overrides]))
    contents = {} if contents is None else contents
    cfg, has_user_files = _composed(overrides, flags, contents)
    if has_user_files:
        reference, _ = _composed([text for text in overrides if text.lstrip("+~").startswith("hydra")], flags, contents)
        _check_recorded(cfg, [*overrides, *search_path(flags)])
        _check_user_files(cfg, reference, all_values(overrides))
        check_expansion(cfg)
    if not isinstance(cfg.get("seed"), int):  # part of the run folder's name, before anything else is checked
        raise UserError(f"seed={cfg.get('seed')} must be an integer")
    return cfg


def check_hydra(argv: Sequence[str]) -> dict[Path, str] | None:
    """Check that Hydra itself, which runs before our other checks, builds nothing but its own parts; and what else is
    known about the composed config without importing torch.

    Returns the contents of the user's config files, for `as_checked`; None for flags of Hydra that only show
    something, such as ``--help``, without any such file.

    Raises:
        UserError: it would build something else, or an option does not exist.
    """
    flags, overrides = split(argv)
    has_user_files = any(flag.startswith(("-cd", "--config-d")) for flag in flags)
    if {*flags} & SHOW_ONLY and not has_user_files:  # with these files, even --help configures their logging
        return None
    contents: dict[Path, str] = {}
    for variant in _variants(overrides):
        cfg = compose_with_hydra(variant, flags, contents)
        hydra_settings.check(OmegaConf.to_container(cfg.hydra, resolve=False))
        early_checks.check(cfg, variant, reads_user_files=has_user_files)
    return contents


def _variants(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Command lines without sweeps, which together contain each value of each sweep."""
    pairs = [*zip(overrides, parse_all(overrides), strict=True)]
    fixed = [text for text, override in pairs if not override.is_sweep_override()]
    swept = [override for _, override in pairs if override.is_discrete_sweep()]
    choices = [[f"{o.get_key_element()}={value}" for value in _swept_values(o)] for o in swept]
    yield [*fixed, *(values[0] for values in choices)]
    for i, values in enumerate(choices):
        for value in values[1:]:
            yield [*fixed, *(value if k == i else other[0] for k, other in enumerate(choices))]


def _swept_values(override: Override) -> list[str]:
    value = override.value()
    if isinstance(value, Glob):
        return matching(override, value, groups().get(override.key_or_group, []))
    return [*override.sweep_string_iterator()]


def _composed(overrides: Sequence[str], flags: Sequence[str], contents: dict[Path, str]) -> tuple[DictConfig, bool]:
    """The config that Hydra composes, and whether it read any of the user's files."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        files = CheckedFiles.install(contents)
        try:
            cfg = hydra_compose("train", [*overrides, *search_path(flags)], return_hydra_config=True)
        except HydraException as error:
            raise UserError(explain(error)) from None
        except RecursionError:
            names = ", ".join(dict.fromkeys(files.user_files))
            raise UserError(f"{names}: the defaults list of this file includes the file itself") from None
    return cfg, bool(files.user_files)


COMMAND_LINE_ONLY = ("output_dir", "data_dir", "ckpt", "resume", "trust")
"""Settings that the user's files may not set."""


def _check_user_files(cfg: DictConfig, reference: DictConfig, cli_values: Mapping[str, object]) -> None:
    """`UserError` if the user's files changed Hydra's settings, or where the run writes.

    Args:
        reference: the config without the user's files.
        cli_values: the values on the command line, by dotted key.
    """

    def settings(config: DictConfig) -> dict[str, object]:
        return flatten(_fixed_settings(OmegaConf.to_container(config.hydra, resolve=False)), "hydra")

    expected, given = settings(reference), settings(cfg)
    for key in sorted({*expected, *given}):
        if expected.get(key) != given.get(key):
            message = f"{key}={short(given.get(key))} is set in a file"
            hint = "; give what to sweep there: -m seed=0,1" if key.startswith(SWEEPER_PARAMS) else ""
            raise UserError(f"{message}: only the command line may set Hydra's settings{hint}")
    for key in COMMAND_LINE_ONLY:
        value, default = (config._get_node(key) for config in (cfg, reference))
        if key not in cli_values and f"{value}" != f"{default}":
            raise UserError(f"{key}={short(value)} is set in a file: only the command line may set it")


def _check_recorded(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """`UserError` if a file added to Hydra's record of the command line, which is trusted.

    Hydra appends the overrides of the command line to the lists that it finds in the config.
    """
    recorded = [*cfg.hydra.overrides.hydra, *cfg.hydra.overrides.task]
    if sorted(map(str, recorded)) != sorted(overrides):
        given = [text for text in map(str, recorded) if text not in overrides]
        raise UserError(f"hydra.overrides={short(given)} is set in a file: only the command line may set overrides")


def _fixed_settings(node: object) -> object:
    """Hydra's node without what it derives from the choices and the overrides of the command line."""
    if not isinstance(node, dict):
        return node
    job = {k: v for k, v in node["job"].items() if k != "override_dirname"}
    runtime = {k: v for k, v in node["runtime"].items() if k != "choices"}
    return {k: v for k, v in node.items() if k != "overrides"} | {"job": job, "runtime": runtime}


def explain(error: Exception) -> str:
    """The message of a Hydra error for the user, with the closest name if a config is missing."""
    lines = [line.strip() for line in f"{error}".splitlines() if line.strip()]
    if error.__cause__ is not None and not isinstance(error.__cause__, HydraException):
        lines += [line.strip() for line in f"{error.__cause__}".splitlines()[:1]]
    text = " ".join(lines[:3])
    if unknown := re.search(r"Could not override '(\w+)([\w.]*)'", text):
        if unknown[1] == "hydra":
            return f"hydra{unknown[2]}: Hydra has no such setting, or not with this choice of its parts"
        return f"{unknown[1]}: unknown key; {nearest(unknown[1], {*NODES, *SETTINGS, *groups()})}"
    missing = getattr(error, "missing_cfg_file", None)
    options = getattr(error, "options", None)
    if isinstance(missing, str):
        group, _, name = missing.rpartition("/")
        text = lines[0]
        if options or group in groups():
            text += f"; {nearest(name, options or groups()[group])}"
    return text


def with_names(cfg: DictConfig, choices: Mapping[str, str | None]) -> DictConfig:
    """The config with the names of its parts: ``names.model``, ``names.data``, …

    Args:
        choices: the choice in each group.
    """
    names = {group: choices.get(group) for group in ("model", "data", "experiment")}
    with open_dict(cfg):
        cfg.names = names
        cfg.pop("hydra", None)
    return cfg


def _mixed_precision() -> str:
    import torch

    return "16-mixed" if torch.cuda.is_available() and not torch.cuda.is_bf16_supported() else "bf16-mixed"


def on_gpus(accelerator: str) -> bool:
    """Whether ``trainer.accelerator`` selects GPUs of CUDA on this machine."""
    import torch

    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


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
    known = groups()
    chosen = [text for text in overrides if text.partition("=")[0] in known]
    try:
        cfg, _ = _composed(chosen, [], {})
    except UserError:
        cfg, _ = _composed([], [], {})
    return {name: OmegaConf.to_container(cfg._get_node(name), resolve=False) for name in NODES if name in cfg}
