"""Compare runs: how their configs differ, what each reached, and their curves in one figure.

    dlzoo compare outputs/a outputs/b
    dlzoo compare outputs/multirun/2026-11-24/09-00-00 output=sweep.png
    dlzoo compare outputs output=page.html

Arguments are run folders, or folders that contain runs, such as that of a sweep. Options:
    output     the figure with the curves, PNG, SVG or PDF (compare.png); or one HTML page with a table to sort and
               filter, the curves in one chart and the pictures side by side, which needs no network

Exit code 0 on success, 2 on an error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlzoo.api.comparison import Comparison, compare
from dlzoo.commands import cli
from dlzoo.errors import UserError, short, visible
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    from rich.table import Table

MAX_CHARACTERS = 40
"""Of a value in a table."""


@dataclass(frozen=True, kw_only=True)
class Options:
    output: str = "compare.png"


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Compare the runs that the arguments name."""
    is_folder = [
        Path(arg).expanduser().is_dir() or "=" not in arg for arg in argv
    ]  # the name of a folder may contain =
    folders = [arg for arg, folder in zip(argv, is_folder, strict=True) if folder]
    options, _ = cli.parse(Options, [arg for arg, folder in zip(argv, is_folder, strict=True) if not folder])
    output = paths.writable(options.output, "output")
    if output.suffix.lower() not in (".png", ".svg", ".pdf", ".html"):
        raise UserError(f"output={options.output}: the extension must be .png, .svg, .pdf or .html")
    comparison = compare(folders)
    show(comparison)
    if output.suffix.lower() == ".html":
        print(f"page      {visible(comparison.page(output), keep='')}")
        return
    figure = comparison.plot()
    if figure is None:
        print("curves    none of the runs has a metrics.csv")
        return
    from dlzoo.visualization import plots

    plots.save(figure, output)
    print(f"curves    {output}")


def show(comparison: Comparison) -> None:
    """Names, differences of the configs, metrics."""
    from rich.console import Console

    console = Console(highlight=False, width=10_000)  # no line wrapping
    for name, run in zip(comparison.names, comparison.runs, strict=True):
        state = "" if run.results else "   (unfinished or failed)"
        console.print(f"{name}  {visible(os.path.relpath(run.path), keep='')}{state}", markup=False)
    rows = comparison.differences
    console.print()
    console.print(_table("config", comparison.names, rows) if rows else "The configs are the same.")
    console.print()
    console.print(_table("results", comparison.names, comparison.results))


def _table(heading: str, names: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(heading, no_wrap=True)
    for name in names:
        table.add_column(name, justify="right")
    for key, values in rows.items():
        table.add_row(
            Text(short(key, 200)),
            *(Text(short(value, MAX_CHARACTERS + 1)) for value in values),
        )
    return table
