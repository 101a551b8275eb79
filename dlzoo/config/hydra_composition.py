"""Hydra's composition of the files, and its errors in words for the user."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig

from dlzoo.config import groups, yaml_files
from dlzoo.config.files import CheckedFiles
from dlzoo.config.overrides import search_path
from dlzoo.config.schema import NODES
from dlzoo.config.settings import SETTINGS
from dlzoo.errors import UserError, nearest, one_line


@contextlib.contextmanager
def hydra_files(contents: dict[Path, str]) -> Iterator[CheckedFiles]:
    """Inside, Hydra is initialized, and reads dlzoo's files and those of the plugins.

    Args:
        contents: of the user's config files that were read before; those read now are added.
    """
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(yaml_files.CONFIG_DIR), version_base="1.3"):
        yield CheckedFiles.install(contents)


def composed(overrides: Sequence[str], flags: Sequence[str], contents: dict[Path, str]) -> tuple[DictConfig, bool]:
    """The config that Hydra composes, and whether it read any of the user's files."""
    with hydra_files(contents) as files:
        try:
            cfg = hydra_compose("train", [*overrides, *search_path(flags)], return_hydra_config=True)
        except HydraException as error:
            raise UserError(explain(error)) from None
        except UserError:
            raise
        except ValueError as error:  # OmegaConf's, for a key below a list that is no number
            raise UserError(f"an override does not fit the config: {one_line(error, 200)}; omit it") from None
        except RecursionError:
            names = ", ".join(dict.fromkeys(files.user_files))
            raise UserError(f"{names}: the defaults list of this file includes the file itself") from None
    return cfg, bool(files.user_files)


def explain(error: Exception) -> str:
    """The message of a Hydra error for the user, with the closest name if a config is missing."""
    lines = [line.strip() for line in f"{error}".splitlines() if line.strip()]
    if error.__cause__ is not None and not isinstance(error.__cause__, HydraException):
        lines += [line.strip() for line in f"{error.__cause__}".splitlines()[:1]]
    text = " ".join(lines[:3])
    if several := re.match(r"Ambiguous value for argument '(.*?=.*?)'(?: |$)", text):
        return (
            f"{several[1]} has several values, and a run takes one: for a run of each add -m, or in Python use "
            'dlzoo.search(..., sampler="grid"); a list is [a,b], and a text with a comma stands in quotes'
        )
    if unknown := re.search(r"Could not override '(\w+)([\w.]*)'", text):
        if unknown[1] == "hydra":
            return f"hydra{unknown[2]}: Hydra has no such setting, or not with this choice of its parts"
        return f"{unknown[1]}: unknown key; {nearest(unknown[1], {*NODES, *SETTINGS, *groups.names()})}"
    missing = getattr(error, "missing_cfg_file", None)
    options = getattr(error, "options", None)
    if isinstance(missing, str):
        group, _, name = missing.rpartition("/")
        text = lines[0]
        if options or group in groups.names():
            text += f"; {nearest(name, options or groups.names()[group])}"
    return text
