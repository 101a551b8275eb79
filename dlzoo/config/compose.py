"""From the command line to a checked config: what Hydra leaves open is closed here.

Three gates, each before any data are read: `prepare` looks at the words of the command line (groups and keys, no torch
needed), Hydra composes the files, and `check` holds every key against the argument that it becomes. So a value can be
set without listing its default in YAML first (``net.hidden=[300,100]``), and a typo is an error wherever it stands.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from dlzoo.config import allowlist as trust
from dlzoo.config import renames
from dlzoo.config.files import CheckedFiles
from dlzoo.config.overrides import BUILD_NOTHING, _names, _parse, extra_dirs, readable, search_path, split
from dlzoo.config.schema import NODES, SETTINGS
from dlzoo.errors import UserError, nearest, short

_PACKAGE = Path(__file__).resolve().parents[1]
CONFIG_DIR = next(path for path in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if path.is_dir())
"""The YAML files: inside an installed wheel, beside the package in a checkout."""

OmegaConf.register_new_resolver("mixed_precision", lambda: _mixed_precision(), replace=True)
OmegaConf.register_new_resolver("sync_batchnorm", lambda accelerator: on_gpus(accelerator), replace=True)


def groups(config_dirs: Sequence[Path] | None = None) -> dict[str, list[str]]:
    """The config groups and the names in each."""
    found: dict[str, set[str]] = {}
    for root in [CONFIG_DIR] if config_dirs is None else config_dirs:
        for file in root.glob("*/*.yaml"):
            found.setdefault(file.parent.name, set()).add(file.stem)
    found.pop("hydra", None)
    return {group: sorted(names) for group, names in sorted(found.items())}


def known_keys(flags: Sequence[str] = ()) -> list[str]:
    """What an override may begin with: nodes, settings and groups."""
    return [*NODES, *SETTINGS, *groups([CONFIG_DIR, *extra_dirs(flags)])]


def prepare(argv: Sequence[str]) -> list[str]:
    """The command line as Hydra should see it, keys of earlier versions under their present names.

    Raises:
        UserError: a group, a name in a group, or the first part of a key does not exist.
    """
    flags, words = split(argv)
    words = [_renamed(readable(word)) for word in words]
    known = groups([CONFIG_DIR, *extra_dirs(flags)])
    ready = []
    for word, override in zip(words, _parse(words), strict=True):
        key = override.key_or_group
        if key in known:
            for name in _names(override):
                if name not in known[key]:
                    raise UserError(f"{key}={name}: there is no such {key}; {nearest(name, known[key])}")
            ready.append(word)
        elif key.split(".")[0].split("/")[0] == "hydra" or "@" in word.split("=")[0]:
            if "/" in key or override.package is not None:
                for name in _names(override):
                    _check_name(key, name)
            ready.append(word)
        else:
            _check_key(key, known)
            ready.append("++" + word if not word.startswith(("+", "~")) and "." in key else word)
    return [*flags, *ready]


def _renamed(word: str) -> str:
    """An override under its present key; a line on stderr if that is another."""
    new = renames.updated_override(word)
    old_key, new_key = (w.partition("=")[0].lstrip("+~") for w in (word, new))
    if new_key != old_key:
        print(f"notice: {old_key} is now {new_key}", file=sys.stderr)
        return new
    return word


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The config of ``train.py`` with these overrides, for scripts and tests (no Hydra folders, no logging)."""
    cfg = compose_with_hydra(overrides)
    return with_names(cfg, cfg.hydra.runtime.choices)


def compose_with_hydra(
    overrides: Sequence[str] = (), flags: Sequence[str] = (), texts: dict[Path, str] | None = None
) -> DictConfig:
    """As `compose`, but as Hydra gives it: with its own node ``hydra``, and without ``names``.

    Args:
        texts: of the files that are not ours, as far as they were read before; those that are read now are added.

    Raises:
        UserError: a mistake, or a file of ``--config-dir`` that sets what is for the command line alone.
    """
    _, words = split(prepare([*flags, *overrides]))
    texts = {} if texts is None else texts
    cfg, has_foreign = _composed(words, flags, texts)
    if has_foreign:
        own, _ = _composed([word for word in words if word.lstrip("+~").startswith("hydra")], flags, texts)
        _check_untouched(cfg, own, trust.typed_values(words))
    if not isinstance(cfg.get("seed"), int):  # stands in the name of a folder, before anything else is checked
        raise UserError(f"seed={cfg.get('seed')}: this must be a whole number")
    return cfg


def check_hydra(argv: Sequence[str]) -> dict[Path, str] | None:
    """`UserError` if Hydra itself, before any check of ours, would build something that is no part of it.

    Gives the texts of the files that are not ours, for `as_checked`; None for Hydra's own flags, such as ``--help``,
    which build nothing.
    """
    flags, words = split(argv)
    if other := {flag.split("=")[0] for flag in flags} & {"--config-path", "-cp", "--config-name", "-cn"}:
        raise UserError(f"{min(other)}: a run starts from dlzoo's own train.yaml; add files of yours with --config-dir")
    if {*flags} & BUILD_NOTHING:
        return None
    texts: dict[Path, str] = {}
    for variant in _variants(words):
        cfg = compose_with_hydra(variant, flags, texts)
        trust.check_hydra(OmegaConf.to_container(cfg.hydra, resolve=False))
    return texts


def _variants(words: Sequence[str]) -> Iterator[list[str]]:
    """Command lines without sweeps: each value of each sweep is in one of them at least."""
    parsed = [*zip(words, _parse(words), strict=True)]
    fixed = [word for word, override in parsed if not override.is_sweep_override()]
    swept = [override for _, override in parsed if override.is_discrete_sweep()]
    choices = [[f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()] for o in swept]
    yield [*fixed, *(values[0] for values in choices)]
    for i, values in enumerate(choices):
        for value in values[1:]:
            yield [*fixed, *(value if k == i else other[0] for k, other in enumerate(choices))]


def _composed(words: Sequence[str], flags: Sequence[str], texts: dict[Path, str]) -> tuple[DictConfig, bool]:
    """What Hydra makes of these words, and whether files other than ours had a part in it."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        files = CheckedFiles.take_the_place_of_hydras(texts)
        try:
            cfg = hydra_compose("train", [*words, *search_path(flags)], return_hydra_config=True)
        except HydraException as error:
            raise UserError(explain(error)) from None
        except RecursionError:
            raise UserError(
                f"{', '.join(dict.fromkeys(files.foreign))}: the defaults of this file lead to it"
            ) from None
    return cfg, bool(files.foreign)


FOR_THE_COMMAND_LINE = ("output_dir", "data_dir", "ckpt", "resume", "trust")
"""Settings that no file but our own sets."""


def _check_untouched(cfg: DictConfig, own: DictConfig, typed: Mapping[str, Any]) -> None:
    """`UserError` if files that are not ours changed Hydra's settings, or others that say where a run writes."""

    def plain(config: DictConfig) -> dict[str, Any]:
        return flat(_settings_of_hydra(OmegaConf.to_container(config.hydra, resolve=False)), "hydra")

    ours, now = plain(own), plain(cfg)
    for key in sorted({*ours, *now}):
        if ours.get(key) != now.get(key):
            raise UserError(f"{key}={short(now.get(key))} is set by a file: Hydra's settings are for the command line")
    for key in FOR_THE_COMMAND_LINE:
        raw, usual = (config._get_node(key) for config in (cfg, own))
        if key not in typed and f"{raw}" != f"{usual}":
            raise UserError(f"{key}={short(raw)} is set by a file: it is for the command line")


def _settings_of_hydra(node: Any) -> dict[str, Any]:
    """Hydra's node without what it notes there of this start."""
    job = {k: v for k, v in node["job"].items() if k not in ("override_dirname", "num", "id", "name", "config_name")}
    return {k: v for k, v in node.items() if k not in ("overrides", "runtime", "searchpath", "mode")} | {"job": job}


def explain(error: Exception) -> str:
    """The sentence that a Hydra error has for the user, with the nearest right name where one is missing."""
    lines = [line.strip() for line in f"{error}".splitlines() if line.strip()]
    if error.__cause__ is not None and not isinstance(error.__cause__, HydraException):
        lines += [line.strip() for line in f"{error.__cause__}".splitlines()[:1]]
    text = " ".join(lines[:3])
    missing = getattr(error, "missing_cfg_file", None)
    options = getattr(error, "options", None)
    if isinstance(missing, str):
        group, _, name = missing.rpartition("/")
        text = lines[0]
        if options or group in groups():
            text += f"; {nearest(name, options or groups()[group])}"
    return text


def with_names(cfg: DictConfig, choices: Any) -> DictConfig:
    """The config with the names that the user knows its parts by: ``names.model``, ``names.data``, …"""
    names = {group: choices.get(group) for group in ("model", "data", "experiment")}
    with open_dict(cfg):
        cfg.names = names
        cfg.pop("hydra", None)
    return cfg


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """A nest of dicts by dotted keys.

    >>> flat({"net": {"hidden": [8], "_target_": "dlzoo.nets.mlp.MLP"}})
    {'net.hidden': [8], 'net._target_': 'dlzoo.nets.mlp.MLP'}
    """
    if not isinstance(node, dict) or not node:
        return {prefix: node}
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def to_text(cfg: DictConfig) -> str:
    """The resolved config as YAML."""
    return OmegaConf.to_yaml(cfg, resolve=True)


def _mixed_precision() -> str:
    import torch

    return "16-mixed" if torch.cuda.is_available() and not torch.cuda.is_bf16_supported() else "bf16-mixed"


def on_gpus(accelerator: str) -> bool:
    import torch

    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def _check_name(group: str, name: str) -> None:
    """`UserError` if the name of a config is a path that leaves its group."""
    if name.startswith("/") or ".." in name.split("/"):
        raise UserError(f"{group}={short(name)}: this is a path, not the name of a config")


def _check_key(key: str, known: dict[str, list[str]]) -> None:
    first = key.split(".")[0]
    nodes = {*NODES, *SETTINGS}
    if first not in nodes:
        raise UserError(f"{key}: there is no such key; {nearest(first, {*nodes, *known})}")
    if "." not in key and key in NODES and key not in known:
        raise UserError(f"{key}: choose it with model=; its options are {key}.<name>=…")
