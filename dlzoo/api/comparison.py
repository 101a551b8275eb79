"""Comparing runs: how their configs differ, what each reached, and their curves in one figure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlzoo.api.compared import COLOURS, curve_names, differences, letters, results_table
from dlzoo.api.frames import printable
from dlzoo.api.run import Run
from dlzoo.api.runs import find
from dlzoo.config import run_files
from dlzoo.errors import UserError
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

STYLES = ("-", (0, (5, 2)), (0, (1, 1.5)))
MAX_PANELS = 6


class Comparison:
    """Runs side by side. In a notebook it shows a table and the curves.

    Args:
        runs: at least two.

    Raises:
        UserError: fewer than two.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = [*runs]
        if len(self.runs) < 2:
            raise UserError("give at least two runs to compare, such as outputs/a outputs/b, or the folder of a sweep")

    @property
    def names(self) -> list[str]:
        """A letter for each run."""
        return letters(len(self.runs))

    @property
    def differences(self) -> dict[str, list[str]]:
        """The options in which the runs differ, with the value of each."""
        return differences([run.config for run in self.runs])

    @property
    def results(self) -> dict[str, list[str]]:
        """The metrics and costs, with the value of each run as text."""
        return results_table(self.runs)

    @property
    def table(self) -> pd.DataFrame:
        """A row for each run: its folder, the options in which it differs, and its metrics as numbers."""
        import pandas as pd

        options = self.differences
        rows = [
            {"run": str(run.path), **{key: values[i] for key, values in options.items()}, **run.metrics}
            for i, run in enumerate(self.runs)
        ]
        return printable(pd.DataFrame(rows, index=self.names))

    def plot(self) -> Figure | None:
        """The curves in one figure; None if no run has any."""
        from dlzoo.utils import caller_state

        with caller_state.style():
            return overlaid(self.runs)

    def page(self, path: str | Path = "compare.html") -> Path:
        """Write one HTML page: a table to sort and filter, the curves in one chart, pictures side by side.

        Returns:
            Where it is.

        Raises:
            UserError: it cannot be written.
        """
        from dlzoo.api import page_compare

        output = paths.writable(str(path), "path")
        paths.write(output, page_compare.of(self).encode(errors="backslashreplace"))
        return output

    @property
    def _shown(self) -> pd.DataFrame:
        """What is shown: a column for each run, the rows as the command prints them."""
        import pandas as pd

        return printable(pd.DataFrame.from_dict(self.differences | self.results, orient="index", columns=self.names))

    def __repr__(self) -> str:
        return self._shown.to_string()

    def _repr_html_(self) -> str:
        from dlzoo.api.page_parts import embedded_figure

        figure = self.plot()
        return self._shown.to_html() + ("" if figure is None else embedded_figure(figure, "curves"))


def compare(runs: Sequence[Run | str | Path] | str | Path) -> Comparison:
    """Compare runs: `Run` objects, run folders, or folders that contain runs, such as that of a sweep.

    Args:
        runs: several of them, or one folder that contains runs.
    """
    runs = [runs] if isinstance(runs, str | Path) else runs
    return Comparison(
        [run for given in runs for run in ([given] if isinstance(given, Run) else map(Run, runs_under(str(given))))]
    )


def runs_under(name: str) -> list[Path]:
    """The folder itself if it is a run folder, else the run folders inside it, by number and name.

    Raises:
        UserError: there are none.
    """
    folders = sorted(find(paths.existing(name, "run")), key=_natural_order)
    if not folders:
        raise UserError(f"{name} is not a run folder and contains none: a run folder has a file {run_files.CONFIG}")
    return folders


def overlaid(runs: Sequence[Run]) -> Figure | None:
    """A panel for each metric: validation thick, training thin; None if no run has a curve."""
    from matplotlib.lines import Line2D

    from dlzoo.visualization import curves, layout

    shown = curve_names(runs)[:MAX_PANELS]
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


def _natural_order(path: Path) -> list[Any]:
    """A sort key that compares numbers within a name by value, so that 10 comes after 9."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", str(path)))]
