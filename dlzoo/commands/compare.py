"""Compare runs: how their configs differ, what each reached, and their curves in one figure.

    dlzoo compare outputs/a outputs/b
    dlzoo compare outputs/multirun/2026-11-24/09-00-00 output=sweep.png

Arguments are run folders, or folders that contain runs, such as that of a sweep. Options:
    output     the figure with the curves, PNG, SVG or PDF (compare.png)

Exit code 0 on success, 2 on an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlzoo.commands import cli
from dlzoo.config import run_files
from dlzoo.config.nested import flatten
from dlzoo.errors import UserError, short, visible
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

    from dlzoo.callbacks.metrics_csv import Row
    from dlzoo.training.results import RunResults

IGNORED_KEYS = ("output_dir", "expect", "grid", "names", "profile", "logger", "trust")
"""Keys of a config that have no influence on training."""

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#9A9A9A")
"""Of the runs, in turn: the colour-blind-safe palette of Okabe & Ito."""
STYLES = ("-", (0, (5, 2)), (0, (1, 1.5)))
MAX_PANELS = 6
MAX_CHARACTERS = 40
"""Of a value in a table."""


@dataclass(frozen=True, kw_only=True)
class Options:
    output: str = "compare.png"


@dataclass(frozen=True)
class Run:
    """A run as its folder describes it; ``results`` is empty if it failed or has not finished."""

    folder: Path
    config: dict[str, object]
    results: RunResults
    epochs: list[Row]


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
    if output.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(f"output={options.output}: the extension must be .png, .svg or .pdf")
    runs = [read_run(folder) for name in folders for folder in runs_under(name)]
    if len(runs) < 2:
        raise UserError("give at least two runs to compare, such as outputs/a outputs/b, or the folder of a sweep")
    show(runs)
    figure = overlaid(runs)
    if figure is None:
        print("curves    none of the runs has a metrics.csv")
        return
    from dlzoo.visualization import plots

    plots.save(figure, output)
    print(f"curves    {output}")


def runs_under(name: str) -> list[Path]:
    """The folder itself if it is a run folder, else the run folders inside it."""
    folder = paths.existing(name, "run")
    if (folder / ".hydra" / "config.yaml").is_file():
        return [folder]
    folders = sorted(
        (path.parent.parent for path in paths.paths_in(folder) if path.match(".hydra/config.yaml")), key=_natural_order
    )
    if not folders:
        raise UserError(f"{name} is not a run folder and contains none: a run folder has a file .hydra/config.yaml")
    return folders


def read_run(folder: Path) -> Run:
    """Everything that a run has written so far."""
    from dlzoo.callbacks import metrics_csv
    from dlzoo.training import results

    settings = {key: value for key, value in run_files.config(folder).items() if key not in IGNORED_KEYS}
    curves = run_files.find(folder, "metrics.csv")
    return Run(
        folder,
        run_files.choices(folder) | {key: _short(key, value) for key, value in flatten(settings).items()},
        results.read(folder),
        [] if curves is None else metrics_csv.read_rows(curves),
    )


def differences(configs: Sequence[Mapping[str, object]]) -> dict[str, list[str]]:
    """The keys whose values differ between the configs, with the value of each; ``-`` if a config lacks the key.

    >>> differences([{"seed": 0, "net": "a"}, {"seed": 1, "net": "a", "ema": 0.9}])
    {'seed': ['0', '1'], 'ema': ['-', '0.9']}
    """
    keys = dict.fromkeys(key for config in configs for key in config)
    values_of = {key: [_as_override(config[key]) if key in config else "-" for config in configs] for key in keys}
    differing = {key: values for key, values in values_of.items() if len(set(values)) > 1}
    rows = {key: values for key, values in differing.items() if not _is_redundant(key, values, differing)}
    callbacks = [{key.split(".")[1] for key in config if key.startswith("callbacks.")} for config in configs]
    if not_shared := callbacks[0].union(*callbacks) - callbacks[0].intersection(*callbacks):
        rows["differing callbacks"] = [",".join(sorted(names & not_shared)) or "-" for names in callbacks]
    return rows


def _is_redundant(key: str, values: Sequence[str], differing: Mapping[str, object]) -> bool:
    """Paths of data; options of callbacks that only some runs have; a class that a choice implies: optimizer=sgd."""
    node, _, rest = key.partition(".")
    choice = "model" if node in ("net", "task") else node
    return (
        key.endswith("data_dir")
        or (node == "callbacks" and rest != "" and "-" in values)
        or (rest == "_target_" and choice in differing)
    )


def show(runs: Sequence[Run]) -> None:
    """Names, differences of the configs, metrics."""
    from rich.console import Console

    console = Console(highlight=False, width=10_000)  # no line wrapping
    names = letters(len(runs))
    for name, run in zip(names, runs, strict=True):
        state = "" if run.results else "   (unfinished or failed)"
        console.print(f"{name}  {visible(os.path.relpath(run.folder), keep='')}{state}", markup=False)
    rows = differences([run.config for run in runs])
    console.print()
    console.print(_table("config", names, rows) if rows else "The configs are the same.")
    console.print()
    console.print(_table("results", names, results_table(runs)))


def results_table(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Metrics of test, baselines and the last validation, then the cost."""
    from dlzoo.utils.formatting import format_metric

    all_names = dict.fromkeys(name for run in runs for name in run.results.get("metrics", {}))
    order = ("test/", "baseline/", "val/")
    metrics = sorted((n for n in all_names if n.startswith(order)), key=lambda n: order.index(n.split("/")[0] + "/"))
    rows = {n: [format_metric(n, run.results.get("metrics", {}).get(n)) for run in runs] for n in metrics}
    rows["epochs"] = [str(run.results.get("epochs", len(run.epochs))) for run in runs]
    rows["fit (s)"] = [_number(run.results.get("seconds", {}).get("fit"), ".1f") for run in runs]
    rows["parameters"] = [_number(run.results.get("num_parameters"), ",") for run in runs]
    return rows


def overlaid(runs: Sequence[Run]) -> Figure | None:
    """A panel for each metric: validation thick, training thin; None if no run has a curve."""
    from matplotlib.lines import Line2D

    from dlzoo.visualization import curves, layout

    columns = dict.fromkeys(
        key for run in runs for row in run.epochs for key in row if key.startswith(("train/", "val/"))
    )
    shown = sorted(dict.fromkeys(key.partition("/")[2] for key in columns), key=lambda name: name != "loss")[
        :MAX_PANELS
    ]
    if not shown:
        return None
    fig, panels = layout.new_panels(len(shown), width=4.6, height=3.3)
    styles = [
        {"color": COLOURS[i % len(COLOURS)], "linestyle": STYLES[i // len(COLOURS) % 3]} for i in range(len(runs))
    ]
    for ax, name in zip(panels, shown, strict=True):
        layout.style(ax, title=curves.DISPLAY_NAMES.get(name, name.replace("_", " ")), x="epoch")
        drawn: list[float] = []
        for run, style in zip(runs, styles, strict=True):
            for split, width, alpha in (("train", 1.0, 0.45), ("val", 2.0, 1.0)):
                epochs, values = curves.curve(run.epochs, f"{split}/{name}")
                ax.plot(epochs, values, linewidth=width, alpha=alpha, **style)  # type: ignore[arg-type]
                drawn += values
        if drawn and min(drawn) > 0 and max(drawn) > 50 * min(drawn):
            ax.set_yscale("log")
        curves.whole_epochs(ax, [row["epoch"] for run in runs for row in run.epochs])
    names = labels(runs)
    lines = [Line2D([], [], linewidth=2, **style) for style in styles]  # type: ignore[arg-type]
    layout.legend_below(fig, lines, names, title="train thin, val thick")
    return fig


def labels(runs: Sequence[Run]) -> list[str]:
    """Letters, each with the first values in which the runs differ."""
    from dlzoo.visualization.layout import shorten

    differing = list(differences([run.config for run in runs]).values())
    texts = []
    for i, name in enumerate(letters(len(runs))):
        shown = [values[i] for values in differing if values[i] not in ("null", "-")][:3]
        texts.append(shorten(f"{name}  {', '.join(shown)}".strip(), 30 if len(runs) <= 8 else 16))
    return texts


def letters(num: int) -> list[str]:
    """A, B, …, Z, A1, B1, …: short names of the runs.

    >>> letters(3)
    ['A', 'B', 'C']
    """
    return [chr(65 + i % 26) + (str(i // 26) if i >= 26 else "") for i in range(num)]


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


def _as_override(value: object) -> str:
    """As it would be written on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_as_override, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def _number(value: float | None, spec: str) -> str:
    return "-" if value is None else f"{value:{spec}}"


def _short(key: str, value: object) -> object:
    """Only the class name of a ``_target_``."""
    return str(value).rpartition(".")[2] if key.endswith("_target_") else value


def _natural_order(path: Path) -> list[Any]:
    """A sort key that compares numbers within a name by value, so that 10 comes after 9."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", str(path)))]
