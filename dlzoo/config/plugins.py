"""Installed packages that extend dlzoo: their classes are trusted by name, and their configs can be chosen by name.

A distribution is a plugin if it declares an entry point in the group ``dlzoo.plugins``:

    [project.entry-points."dlzoo.plugins"]
    mylab = "mylab"

The entry point names a package (or a module in it). Nothing of it is imported here: a class is imported when a config
names it. The folder ``configs`` of the package, with one folder per group (``configs/model/mynet.yaml``), is searched
after dlzoo's own: a plugin cannot replace a config of dlzoo.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from dlzoo.config.yaml_files import CONFIG_DIR
from dlzoo.errors import short, visible

GROUP = "dlzoo.plugins"


class Plugin(NamedTuple):
    """A package that an installed distribution declares."""

    package: str
    """Its root: ``mylab`` of ``mylab.zoo``."""
    configs: Path | None
    """Its folder of configs; None if it has none."""


def installed() -> tuple[Plugin, ...]:
    """The plugins of this environment, by the names of their packages."""
    return _installed(tuple((entry, _changed(entry)) for entry in sys.path))


def packages() -> tuple[str, ...]:
    """The packages of the plugins."""
    return tuple(dict.fromkeys(plugin.package for plugin in installed()))


def config_dirs() -> list[Path]:
    """The plugins' folders of configs."""
    return [*dict.fromkeys(plugin.configs for plugin in installed() if plugin.configs is not None)]


def config_files(group: str) -> dict[str, Path]:
    """The files of a group by name, in alphabetical order: dlzoo's own and those of the plugins."""
    return dict(sorted({file.stem: file for file in _candidates(group, [CONFIG_DIR, *config_dirs()])}.items()))


def hidden(group: str, name: str, folders: Sequence[Path]) -> Path | None:
    """A file of this name that is never read, because a folder earlier in the search path has one, too.

    Args:
        folders: of configs, in the order in which they are searched.
    """
    files = [path for folder in folders if (path := folder / group / f"{name}.yaml").is_file()]
    return files[1] if len(files) > 1 else None


def not_installed(group: str, name: str) -> Path | None:
    """A file of this name in a package of the current folder, or of a project in it; for a message, it is not read."""
    if not name.isidentifier():
        return None
    patterns = (f"{places}*/configs/{group}/{name}.yaml" for places in ("", "src/", "*/src/"))
    return next((file for pattern in patterns for file in Path().glob(pattern)), None)


def _candidates(group: str, folders: Sequence[Path]) -> Iterator[Path]:
    """The files of a group; those that take precedence come last."""
    for folder in reversed(folders):
        yield from (folder / group).glob("*.yaml")


def _changed(entry: str) -> int:
    """When a folder of ``sys.path`` was changed: what is installed meanwhile is found."""
    try:
        return os.stat(entry or ".").st_mtime_ns
    except OSError:
        return 0


@cache
def _installed(search_path: tuple[tuple[str, int], ...]) -> tuple[Plugin, ...]:
    """Reading the entry points of all distributions takes hundredths of a second.

    Args:
        search_path: ``sys.path`` with the time of each folder, on which the result depends.
    """
    modules = sorted(set(filter(None, map(_module_of, _entry_points()))))
    return tuple(Plugin(module.partition(".")[0], _config_dir(module)) for module in modules)


def _entry_points() -> Iterator[metadata.EntryPoint]:
    """Those of the group. Distributions whose entry points cannot be read are skipped with a warning."""
    try:
        yield from metadata.entry_points(group=GROUP)
    except (TypeError, ValueError):  # one of them is damaged, perhaps of a package that has nothing to do with dlzoo
        for distribution in metadata.distributions():
            try:
                yield from distribution.entry_points.select(group=GROUP)
            except (TypeError, ValueError):
                name = visible(getattr(distribution, "_path", "a distribution"), keep="")
                print(f"warning: the entry points in {name} cannot be read and are ignored", file=sys.stderr)


def _module_of(point: metadata.EntryPoint) -> str | None:
    """What an entry point names; None, with a warning, if it is not the name of a module."""
    match = point.pattern.match(point.value)
    if match is not None and all(map(str.isidentifier, match["module"].split("."))):
        return str(match["module"])
    shown = f"{short(point.name)} = {short(point.value)}"
    print(f"warning: the entry point {shown} in {GROUP} names no package and is ignored", file=sys.stderr)
    return None


def _config_dir(module: str) -> Path | None:
    """The folder ``configs`` of a package, which is not imported."""
    root, *parts = module.split(".")
    try:
        spec = importlib.util.find_spec(root)
    except (ImportError, ValueError):
        return None
    for location in (spec and spec.submodule_search_locations) or ():
        folder = Path(location).joinpath(*parts, "configs")
        if folder.is_dir():
            return folder.resolve()
    return None
