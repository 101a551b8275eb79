"""The config groups and their names, in the folders of dlzoo, its plugins and the user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dlzoo.config import plugins, yaml_files
from dlzoo.config.group_files import files_by_group
from dlzoo.config.overrides import extra_dirs
from dlzoo.config.schema import NODES
from dlzoo.config.settings import SETTINGS


def search_dirs(flags: Sequence[str] = ()) -> list[Path]:
    """The folders of configs in the order in which they are searched: dlzoo's, the plugins', the user's."""
    return [yaml_files.CONFIG_DIR, *plugins.config_dirs(), *extra_dirs(flags)]


def names(config_dirs: Sequence[Path] | None = None) -> dict[str, list[str]]:
    """The config groups, and the names in each.

    Args:
        config_dirs: the folders to look in; by default dlzoo's and those of the installed plugins.
    """
    found = files_by_group(search_dirs() if config_dirs is None else config_dirs)
    return {group: [file.name for file in files] for group, files in found.items()}


def known_keys(flags: Sequence[str] = ()) -> list[str]:
    """What the key of an override may begin with: nodes, settings and groups."""
    return [*NODES, *SETTINGS, *names(search_dirs(flags))]
