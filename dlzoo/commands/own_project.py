"""The project of the user that a folder belongs to: a package with an entry point in the group ``dlzoo.plugins``."""

from __future__ import annotations

import importlib.util
import keyword
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from dlzoo.config import groups, plugins, run_files
from dlzoo.config.allowlist import NEVER_TRUSTED
from dlzoo.errors import UserError, one_line, short
from dlzoo.utils import files, untrusted

MAX_BYTES = 100_000
"""Of a pyproject.toml."""
MAX_DOTS = 300
"""In a line of it: time and memory to read a dotted key grow with the square of its length."""
NO_NAMES = {"null", "true", "false", "yes", "no", "on", "off", "none", "default"}
"""What YAML or a group of configs reads as something else."""


@dataclass(frozen=True)
class Project:
    """A project.

    Args:
        root: the folder of its pyproject.toml.
        module: what its entry point names: the package, or a package in it.
        folder: of that package.
    """

    root: Path
    module: str
    folder: Path

    @property
    def is_installed(self) -> bool:
        """Whether dlzoo finds this very folder as a plugin."""
        root, *parts = self.module.split(".")
        if root not in plugins.packages():
            return False
        spec = importlib.util.find_spec(root)
        places = (spec and spec.submodule_search_locations) or ()
        return self.folder in [Path(place).joinpath(*parts).resolve() for place in places]


def find(start: Path) -> Project:
    """The project of a folder: that of the nearest pyproject.toml, there or above.

    Raises:
        UserError: there is none, or it declares no plugin.
    """
    start = start.resolve()
    file = next((path for folder in (start, *start.parents) if (path := folder / "pyproject.toml").is_file()), None)
    if file is None:
        raise UserError(
            f"{start} belongs to no project: start one with dlzoo new project <name>, and call this in its folder"
        )
    module = _declared(file)
    parts = module.split(".")
    folder = next((f for base in ("src", ".") if (f := file.parent.joinpath(base, *parts)).is_dir()), None)
    if folder is None:
        raise UserError(
            f"{file}: its entry point names {module}, but there is neither a folder {'/'.join(['src', *parts])} nor "
            f"{'/'.join(parts)}"
        )
    if not run_files.is_inside(file.parent, folder):
        raise UserError(f"{folder} links outside the project in {file.parent}, so the files would be written elsewhere")
    return Project(file.parent, module, folder.resolve())


def _declared(file: Path) -> str:
    """What the entry point in a pyproject.toml names."""
    text = untrusted.read_text(file, MAX_BYTES)
    if any(line.count(".") > MAX_DOTS for line in text.splitlines()):
        raise UserError(f"{file} has a line with more than {MAX_DOTS} dots, which is not read; break the line")
    try:
        content: object = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers of thousands of digits
        raise UserError(f"{file} is not TOML: {one_line(error, 200)}") from None
    points = _at(content, "project", "entry-points", plugins.GROUP)
    module = str(next(iter(points.values()), "") if isinstance(points, dict) else "").partition(":")[0].strip()
    is_name = re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", module) and files.is_path(module.replace(".", "/"))
    if not is_name:
        name = re.sub(r"\W+", "_", f"{_at(content, 'project', 'name') or 'mypkg'}")
        raise UserError(
            f"{file} declares no plugin, so dlzoo would not find the files: add the lines "
            f'[project.entry-points."{plugins.GROUP}"] and {short(name)} = "{short(name)}", with the name of your '
            "package, then pip install -e ."
        )
    return module


def _at(node: object, *keys: str) -> object:
    """What is at these keys of nested tables; None if there is nothing."""
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node


def check_name(kind: str, name: str) -> None:
    """`UserError` unless a name can be that of a Python module and of a config."""
    if not _is_name(name):
        close = re.sub(r"\W+|(?<=[a-z0-9])(?=[A-Z])", "_", name).strip("_").lower()
        remedy = f"did you mean '{close}'?" if _is_name(close) else f"for example my_{kind}"
        raise UserError(
            f"{short(name)} cannot name a {kind}: write lowercase letters, digits and _, and no word of Python or "
            f"YAML, as it names a module and a config; {remedy}"
        )


def _is_name(text: str) -> bool:
    return bool(re.fullmatch(r"[a-z][a-z0-9_]{0,99}", text)) and not keyword.iskeyword(text) and text not in NO_NAMES


def check_unused(group: str, name: str) -> None:
    """`UserError` if a config of this name exists, in dlzoo or in a plugin."""
    if name in groups.names().get(group, []):
        file = plugins.config_files(group)[name]
        raise UserError(f"{group}={name} exists already, in {file}; choose another name")


def check_package(name: str) -> None:
    """`UserError` if a package of this name can be imported already, and would be hidden or hide the new one."""
    if name in NEVER_TRUSTED or importlib.util.find_spec(name) is not None:
        raise UserError(f"a package {name} is installed already; choose another name for the project")
