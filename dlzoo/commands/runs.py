"""List the runs in a folder, the newest first; tag, rename and delete them.

    dlzoo runs                                    the runs in outputs/
    dlzoo runs outputs/2026-11-29 tag=baseline
    dlzoo runs tag RUN baseline paper             RUN is a run folder, outputs/<date>/<time>-<model>-<data>
    dlzoo runs untag RUN paper
    dlzoo runs rename RUN lenet-final             in the same folder
    dlzoo runs delete RUN … yes=true

Options:
    tag        list only the runs that have this tag
    json       true for JSON output of the list (false)
    yes        true: delete (false: only say what would be deleted)

Only run folders are changed, none that is running or belongs to a sweep, and no link is followed. A folder with files
that no run writes is not deleted. Exit code 0 on success, 2 on an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dlzoo.api import runs
from dlzoo.commands import cli
from dlzoo.errors import UserError, visible
from dlzoo.utils.formatting import counted, format_metric, size_in_bytes


@dataclass(frozen=True, kw_only=True)
class Options:
    tag: str | None = None
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class DeleteOptions:
    yes: bool = False


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """List or change runs as the arguments specify."""
    if argv and argv[0] in ACTIONS:
        ACTIONS[argv[0]](argv[1:])
        return
    folders = [arg for arg in argv if not cli.NAMED.match(arg)]
    options, _ = cli.parse(Options, [arg for arg in argv if cli.NAMED.match(arg)])
    if len(folders) > 1:
        raise UserError(
            f"give one folder, or one of {', '.join(ACTIONS)} first: dlzoo runs {next(iter(ACTIONS))} RUN …"
        )
    listed = runs.entries(*folders or ["outputs"], tag=options.tag)
    if options.json:
        print(json.dumps([as_plain(entry) for entry in listed], indent=1))
    else:
        show(listed)


def as_plain(entry: runs.Entry) -> dict[str, object]:
    """A run as JSON."""
    started = entry.start.isoformat(timespec="seconds")
    return {**vars(entry), "path": str(entry.path), "started": started, "tags": [*entry.tags]}


def show(listed: Sequence[runs.Entry]) -> None:
    """The runs as a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not listed:
        print("no runs")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("run", "started", "model", "data", "test", "status", "tags"):
        table.add_column(heading, no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    for entry in listed:
        value = (
            f"{entry.metric.removeprefix('test/')} {format_metric(entry.metric, entry.value)}" if entry.metric else ""
        )
        started = f"{entry.start:%Y-%m-%d %H:%M}"
        cells = [str(entry.path), started, entry.model, entry.data, value, entry.status, ", ".join(entry.tags)]
        table.add_row(*(Text(visible(cell, keep="")) for cell in cells), size_in_bytes(entry.num_bytes))
    Console(highlight=False, width=10_000).print(table)  # no line wrapping
    total = sum(entry.num_bytes for entry in listed)
    print(f"{counted(len(listed), 'run')}, {size_in_bytes(total)}")


def add_tags(argv: Sequence[str]) -> None:
    run, *tags = at_least_two(argv, "tag RUN TAG …")
    print(f"tags   {', '.join(runs.tag(run, *tags))}")


def remove_tags(argv: Sequence[str]) -> None:
    run, *tags = at_least_two(argv, "untag RUN TAG …")
    print(f"tags   {', '.join(runs.untag(run, *tags)) or 'none'}")


def rename(argv: Sequence[str]) -> None:
    run, *names = at_least_two(argv, "rename RUN NAME")
    if len(names) > 1:
        raise UserError("give one new name: dlzoo runs rename RUN NAME")
    print(f"renamed   {visible(runs.rename(run, names[0]))}")


def delete(argv: Sequence[str]) -> None:
    options, _ = cli.parse(DeleteOptions, [arg for arg in argv if arg.startswith("yes=")])
    folders = [runs.run_folder(arg) for arg in argv if not arg.startswith("yes=")]
    if not folders:
        raise UserError("say which run: dlzoo runs delete RUN … yes=true")
    for folder in folders:  # all are checked before the first is deleted
        runs.check_deletable(folder)
    if not options.yes:
        sizes = [f"{folder} ({size_in_bytes(runs.entry_of(folder).num_bytes)})" for folder in folders]
        raise UserError(f"{', '.join(sizes)} would be deleted for good: add yes=true to delete")
    for folder in folders:
        print(f"deleted   {visible(folder)}   {size_in_bytes(runs.delete(folder))}")


def at_least_two(argv: Sequence[str], usage: str) -> Sequence[str]:
    """The arguments, if there is one after the run."""
    if len(argv) < 2:
        raise UserError(f"write dlzoo runs {usage}")
    return argv


ACTIONS: dict[str, Callable[[Sequence[str]], None]] = {
    "tag": add_tags,
    "untag": remove_tags,
    "rename": rename,
    "delete": delete,
}
