"""From the command line to a composed config, with the checks that Hydra lacks.

There are three steps, all before any data are read: `prepare` checks the groups and keys of the command line (without
importing torch), Hydra composes the files, and `dlzoo.config.schema.check` validates every key against the argument
that it sets. So an option can be set without listing its default in YAML (``net.hidden=[300,100]``), and a typo is an
error anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.types import Glob, Override
from omegaconf import DictConfig, OmegaConf, open_dict

from dlzoo.config import early_checks, groups, hydra_settings, user_files
from dlzoo.config.files import check_expansion
from dlzoo.config.hydra_composition import composed
from dlzoo.config.overrides import (
    SHOW_ONLY,
    all_values,
    matching,
    parse_all,
    search_path,
    split,
)
from dlzoo.config.prepare import prepare
from dlzoo.errors import UserError

OmegaConf.register_new_resolver("mixed_precision", lambda: _mixed_precision(), replace=True)
OmegaConf.register_new_resolver("sync_batchnorm", lambda accelerator: on_gpus(accelerator), replace=True)


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
    cfg, has_user_files = composed(overrides, flags, contents)
    if has_user_files:
        reference, _ = composed([text for text in overrides if text.lstrip("+~").startswith("hydra")], flags, contents)
        user_files.check_recorded(cfg, [*overrides, *search_path(flags)])
        user_files.check(cfg, reference, all_values(overrides))
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
        early_checks.check(cfg, variant, reads_user_files=has_user_files or bool(contents))
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
        return matching(override, value, groups.names().get(override.key_or_group, []))
    return [*override.sweep_string_iterator()]


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
