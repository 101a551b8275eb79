"""From the command line to a checked config: what Hydra leaves open is closed here.

Three gates, each before any data are read: `prepare` looks at the words of the command line (groups and keys, no torch
needed), Hydra composes the files, and `check` holds every key against the argument that it becomes. So a value can be
set without listing its default in YAML first (``net.hidden=[300,100]``), and a typo is an error wherever it stands.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from dlzoo.config import allowlist as trust
from dlzoo.config import introspection as signatures
from dlzoo.config.allowlist import Trust
from dlzoo.config.files import CheckedFiles
from dlzoo.errors import UserError, nearest, short

_PACKAGE = Path(__file__).resolve().parents[1]
CONFIG_DIR = next(path for path in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if path.is_dir())
"""The YAML files: inside an installed wheel, beside the package in a checkout."""

OmegaConf.register_new_resolver("mixed_precision", lambda: _mixed_precision(), replace=True)
OmegaConf.register_new_resolver("sync_batchnorm", lambda accelerator: on_gpus(accelerator), replace=True)

NODES = ("net", "task", "data", "optimizer", "scheduler", "trainer", "callbacks", "logger")
"""The parts of a run that are built from a ``_target_``, or from several."""

SETTINGS = (
    "seed",
    "deterministic",
    "compile",
    "cache_features",
    "profile",
    "data_dir",
    "output_dir",
    "ckpt",
    "resume",
    "test",
    "on_nan",
    "skip_limit",
    "lr_find",
    "expect",
    "grid",
    "sweep",
    "trust",
    "names",
)
"""The other keys at the top of a config."""

BUILD_NOTHING = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion"}
"""Flags of Hydra that only show something."""

RUNTIME_ARGUMENTS = {
    "net": {"spec"},
    "task": {"net", "spec", "optimizer", "scheduler"},
    "optimizer": {"params"},
    "scheduler": {"optimizer", "plan"},
    "trainer": {"callbacks", "logger", "plugins", "default_root_dir"},
    "logger": {"save_dir"},
}
"""Arguments that build.py fills in: a config may not."""


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
    """The command line as Hydra should see it.

    Raises:
        UserError: a group, a name in a group, or the first part of a key does not exist.
    """
    flags, words = split(argv)
    words = [readable(word) for word in words]
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


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The config of ``train.py`` with these overrides, for scripts and tests (no Hydra folders, no logging)."""
    cfg = compose_with_hydra(overrides)
    return with_names(cfg, cfg.hydra.runtime.choices)


def compose_with_hydra(overrides: Sequence[str] = (), flags: Sequence[str] = ()) -> DictConfig:
    """As `compose`, but as Hydra gives it: with its own node ``hydra``, and without ``names``.

    Raises:
        UserError: a mistake, or a file of ``--config-dir`` that sets what is for the command line alone.
    """
    _, words = split(prepare([*flags, *overrides]))
    cfg, has_foreign = _composed(words, flags)
    if has_foreign:
        own, _ = _composed([word for word in words if word.lstrip("+~").startswith("hydra")], flags)
        _check_untouched(cfg, own, trust.typed_values(words))
    if not isinstance(cfg.get("seed"), int):  # stands in the name of a folder, before anything else is checked
        raise UserError(f"seed={cfg.get('seed')}: this must be a whole number")
    return cfg


def check_hydra(argv: Sequence[str]) -> None:
    """`UserError` if Hydra itself, before any check of ours, would build something that is no part of it.

    Its own flags, such as ``--help``, build nothing.
    """
    flags, words = split(argv)
    if other := {flag.split("=")[0] for flag in flags} & {"--config-path", "-cp", "--config-name", "-cn"}:
        raise UserError(f"{min(other)}: a run starts from dlzoo's own train.yaml; add files of yours with --config-dir")
    if not {*flags} & BUILD_NOTHING:
        for variant in _variants(words):
            cfg = compose_with_hydra(variant, flags)
            trust.check_hydra(OmegaConf.to_container(cfg.hydra, resolve=False))


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


def _composed(words: Sequence[str], flags: Sequence[str]) -> tuple[DictConfig, bool]:
    """What Hydra makes of these words, and whether files other than ours had a part in it."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        files = CheckedFiles.take_the_place_of_hydras()
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


def check(cfg: DictConfig, overrides: Sequence[str] = (), packages: Sequence[str] = ()) -> None:
    """Hold every key of a composed config against the argument that it becomes; its references are resolved for good.

    Args:
        overrides: what was typed: only that may name parts that nobody vouched for, and places outside of the run.
        packages: that the user trusts besides ``trust=`` of the overrides.

    Raises:
        UserError: a key that nothing reads, a ``_target_`` that does not exist, an argument that it does not take, or
            a value of the wrong type.
    """
    keys: list[Any] = list(cfg)
    for key in keys:
        if key not in NODES and key not in SETTINGS:
            raise UserError(f"{key}: nothing reads this key; {nearest(str(key), [*NODES, *SETTINGS])}")
    _check_settings(cfg)
    trusted = Trust.of(overrides, packages)
    if {*trust.packages_of(cfg.get("trust"))} - {*trusted.packages}:
        raise UserError(f"trust={cfg.trust} is set by a file: it is for the command line")
    OmegaConf.resolve(cfg)
    plain: Any = OmegaConf.to_container(cfg, throw_on_missing=False)
    assert isinstance(plain, dict)
    for key, value in trust.walk(plain):  # made of several texts, or with a backslash before it
        if isinstance(value, str) and "${" in value:
            raise UserError(f"{key}={short(value)}: what a reference stands for must not be a reference again")
    trust.check_places(plain, trusted)
    for name in NODES:
        node = plain.get(name)
        several = name in ("callbacks", "logger")
        if node is None:
            continue
        if not isinstance(node, dict):
            raise UserError(f"{name}={node}: {name} is a group of settings, not a value; see python train.py --help")
        for key, part in node.items() if several else [("", node)]:
            path = f"{name}.{key!s}" if several else name
            if part is None:
                continue
            if not isinstance(part, dict) or "_target_" not in part:
                raise UserError(f"{path}: nothing reads this key; {nearest(str(key), {*node} - {key})}")
            found = [*signatures.targets(part, path)]
            for where, target_node in found:
                target = target_node["_target_"]
                trust.check_part(trusted.find(target, f"{where}._target_"), target, name, where)
            for where, target_node in found:
                signatures.check_arguments(
                    target_node, where, RUNTIME_ARGUMENTS.get(name, set()) if where == path else set()
                )


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
        value = OverridesParser.create().parse_override(word).value()
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
        override = OverridesParser.create().parse_override(word)
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
    parser = OverridesParser.create()
    parsed = []
    for word in words:
        try:
            parsed.append(parser.parse_override(word))
        except HydraException:
            hint = "write key=value" if "=" not in word else "quote a value that holds special characters: 'key=\"…\"'"
            raise UserError(f"{word}: this is not an override; {hint}") from None
    return parsed


def _names(override: Override) -> Iterator[str]:
    """The names that a group override chooses: one, a list, or a sweep."""
    value = override.value()
    values = value.list if isinstance(value, ChoiceSweep) else value if isinstance(value, list) else [value]
    for item in values:
        yield from (str(v) for v in (item if isinstance(item, list) else [item]) if v is not None)


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


def _check_settings(cfg: DictConfig) -> None:
    import typeguard

    types: dict[str, Any] = {"seed": int, "data_dir": str, "output_dir": str}
    types |= dict.fromkeys(("deterministic", "compile", "cache_features", "profile", "test"), bool)
    for key, hint in types.items():
        try:
            typeguard.check_type(cfg.get(key), hint)
        except typeguard.TypeCheckError:
            raise UserError(f"{key}={cfg.get(key)}: this must be {signatures.readable(hint)}") from None
    if cfg.get("lr_find") not in (True, False, "use"):
        raise UserError(f"lr_find={cfg.get('lr_find')}: this must be true, false or use")
    if cfg.get("on_nan", "stop") not in ("stop", "skip"):
        raise UserError(f"on_nan={cfg.on_nan}: this must be stop or skip")
    limit = cfg.get("skip_limit", 1)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise UserError(f"skip_limit={limit}: this must be a whole number, 1 or more")
    signatures.check_number("seed", cfg.seed)
    grid = cfg.get("grid") or {}
    is_mapping = isinstance(grid, dict | DictConfig)
    if (
        not is_mapping
        or not all(isinstance(words, ListConfig) for words in grid.values())
        or {*grid} not in (set(), {"rows", "columns"})
    ):
        raise UserError("grid: it holds two lists of overrides, rows and columns: rows=[optimizer=sgd,optimizer=adam]")
    check_claims(cfg.get("expect"))


def check_claims(expect: Any) -> None:
    """`UserError` unless these are claims that `dlzoo.training.results.judge` can hold against metrics."""
    claims = expect or []
    if not isinstance(claims, list | ListConfig) or not all(isinstance(claim, dict | DictConfig) for claim in claims):
        raise UserError(f"expect={short(claims)}: this must be a list of claims: [{{metric: test/accuracy, min: 0.9}}]")
    for claim in claims:
        for key in claim:
            if key not in ("metric", "min", "max", "source"):
                raise UserError(f"expect.{key}: nothing reads this key; {nearest(key, ['metric', 'min', 'max'])}")
        if "metric" not in claim or ("min" in claim) == ("max" in claim):
            raise UserError(f"expect: {OmegaConf.to_container(claim)} needs a metric and either min or max")
        bound = claim.get("min", claim.get("max"))
        is_number = isinstance(bound, int | float) and not isinstance(bound, bool)
        if not isinstance(claim.metric, str) or not is_number or not isinstance(claim.get("source", ""), str | None):
            raise UserError(
                f"expect: {short(OmegaConf.to_container(claim))}: metric and source must be texts, min or max a number"
            )
