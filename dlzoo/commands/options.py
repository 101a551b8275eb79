"""List every option of a run: its value, type and range, and what it does.

    dlzoo options model=vae data=mnist    the options of all parts, with the values of this command line
    dlzoo options data                    what each name in a group is
    dlzoo options                         the groups

The command line is that of dlzoo train.

Options:
    part      one part: net, task, data, optimizer, scheduler, trainer, callbacks, logger, settings
    format    json: for programs

Exit code 0 on success, 2 on an error.
"""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from dlzoo.commands import cli
from dlzoo.config import compose, group_files, groups, overrides, part_help
from dlzoo.config import options as part_options
from dlzoo.config.allowlist import Trust
from dlzoo.config.group_files import File
from dlzoo.config.prepare import prepare
from dlzoo.errors import UserError, nearest, visible

WIDTHS = (60, 120)
"""The narrowest and the widest listing."""


PartName = Literal["net", "task", "data", "optimizer", "scheduler", "trainer", "callbacks", "logger", "settings"]


@dataclass(frozen=True, kw_only=True)
class Options:
    part: PartName | None = None
    format: Literal["text", "json"] = "text"


def main() -> None:
    """The command."""
    cli.execute(show, __doc__)


def show(argv: Sequence[str]) -> None:
    """Print the groups, the names in one, or the options of a command line."""
    own = [word for word in argv if word.startswith(("part=", "format="))]
    options, _ = cli.parse(Options, own)
    flags, words = overrides.split([word for word in argv if word not in own])
    files_of = group_files.files_by_group(groups.search_dirs(overrides.only_config_dirs(flags)))
    names = [word for word in words if "=" not in word]
    if words and not names:
        _show_parts(flags, words, options)
        return
    if unknown := [name for name in names if name not in files_of]:
        raise UserError(f"{unknown[0]}: there is no such group; {nearest(unknown[0], files_of)}")
    if len(words) > 1 or own:
        raise UserError("give one group, such as dlzoo options data, or the overrides of a run")
    rows = (
        _names(files_of[names[0]]) if names else ((f"{name}=", _about(name, files)) for name, files in files_of.items())
    )
    print("\n".join(_table(rows)))


def _show_parts(flags: Sequence[str], words: Sequence[str], options: Options) -> None:
    argv = prepare([*flags, *words])
    contents = compose.check_hydra(argv)
    flags, prepared = overrides.split(argv)
    cfg = compose.compose_with_hydra(prepared, flags, contents)
    nodes = part_help.PARTS if options.part is None else (options.part,)
    found = part_help.parts(cfg, nodes, Trust.of(prepared))
    if options.format == "json":
        print(json.dumps([part.as_json() for part in found], indent=2, default=str))
    else:
        print("\n".join(part_help.lines(found, _width())).lstrip("\n"))


def _about(group: str, files: Sequence[File]) -> str:
    return f"{group_files.ABOUT.get(group, 'yours')} ({len(files)})"


def _names(files: Sequence[File]) -> Iterator[tuple[str, str]]:
    """The names in a group with the first sentence of each file, or else of the class that it names."""
    for file in files:
        target = next((target for _, target in file.targets()), "")
        part = None if file.about else part_options.from_source(target)
        yield file.name, file.about or (part.about if part is not None else "")


def _table(rows: Iterator[tuple[str, str]]) -> Iterator[str]:
    table = [(visible(name), visible(about)) for name, about in rows]
    column = max(len(name) for name, _ in table) + 2
    for name, about in table:
        yield f"{name:{column}}{textwrap.shorten(about, max(_width() - column, 20), placeholder=' …')}".rstrip()


def _width() -> int:
    least, most = WIDTHS
    return min(max(shutil.get_terminal_size((80, 24)).columns, least), most)
