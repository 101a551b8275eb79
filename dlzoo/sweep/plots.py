"""Plots of a sweep: parallel coordinates of its trials, and the importance of each hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlzoo.sweep.record import Record, Trial
from dlzoo.visualization import plots
from dlzoo.visualization.plots import FAINT, INK, TRAIN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIN_TRIALS = 3
"""Fewest measured trials for which a plot is drawn."""


def draw(record: Record, folder: Path) -> None:
    """Write ``parallel_coordinates.png`` and ``importance.png`` if there are enough trials that differ."""
    measured = [trial for trial in record.trials if trial.value is not None and trial.state != "failed"]
    names = [name for name in record.param_names if len({str(trial.params.get(name)) for trial in measured}) > 1]
    if len(measured) < MIN_TRIALS or not names:
        return
    plots.save(parallel_coordinates(record, measured, names), folder / "parallel_coordinates.png")
    plots.save(importance_bars(record, measured, names), folder / "importance.png")


def parallel_coordinates(record: Record, trials: Sequence[Trial], names: Sequence[str]) -> Figure:
    """One axis per hyperparameter and one for the metric; each trial is a line, dark if good, thin if pruned."""
    from matplotlib import colormaps

    fig, (ax,) = plots.new_panels(1, width=max(6.0, 1.9 * (len(names) + 1)), height=4.6, left=1.0)
    values = np.array([trial.value for trial in trials], dtype=float)
    order = values.argsort() if record.mode == "min" else (-values).argsort()
    rank = np.empty(len(values))
    rank[order] = np.linspace(0, 1, len(values))
    columns = [Axis.of([trial.params.get(name) for trial in trials]) for name in names]
    columns.append(Axis.of(_clipped(values, record.mode), may_log=False))
    heights = np.array([column.heights for column in columns])  # (axes, trials)
    for i in reversed(order):  # the best on top
        stopped = trials[i].state == "pruned"
        style: dict[str, Any] = {"linewidth": 0.8 if stopped else 1.6, "alpha": 0.55 if stopped else 0.9}
        ax.plot(range(len(columns)), heights[:, i], color=colormaps["viridis"](0.9 * rank[i]), **style)
    for place, (name, column) in enumerate(zip([*names, str(record.metric)], columns, strict=True)):
        ax.axvline(place, color=INK, linewidth=0.8)
        for height, label in column.ticks:
            ax.text(place + 0.02, height, label, fontsize=8, color=INK, va="center", bbox=_BEHIND)
        ax.text(place, -0.09, plots.shorten(name, 24), fontsize=9, color=INK, ha="center", va="top")
    ax.set_ylim(-0.05, 1.05)
    ax.set_xlim(-0.15, len(columns) - 0.6)
    ax.axis("off")
    best = "lowest" if record.mode == "min" else "highest"
    thin = "; thin: stopped early" if any(trial.state == "pruned" for trial in trials) else ""
    ax.set_title(f"{len(trials)} trials; dark: {best} {record.metric}{thin}", fontsize=11, color=INK, loc="left")
    return fig


_BEHIND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}


class Axis:
    """One axis of the plot: where each trial crosses it, from 0 to 1, and its tick labels."""

    def __init__(self, heights: list[float], ticks: list[tuple[float, str]]) -> None:
        self.heights = heights
        self.ticks = ticks

    @classmethod
    def of(cls, values: Sequence[Any], *, may_log: bool = True) -> Axis:
        """Numbers on a linear scale, or a logarithmic one if they span a factor of 20; text in sorted order."""
        numbers = [_as_number(value) for value in values]
        if any(number is None for number in numbers):
            names = sorted({str(value) for value in values})
            place = {name: i / max(len(names) - 1, 1) for i, name in enumerate(names)}
            ticks = [(height, plots.shorten(name, 16)) for name, height in place.items()]
            return cls([place[str(value)] for value in values], ticks)
        known = [float(number) for number in numbers if number is not None]
        low, high = min(known), max(known)
        scale = math.log if may_log and low > 0 and high / low > 20 else float
        start, span = scale(low), (scale(high) - scale(low)) or 1.0
        marks = [start + span * fraction for fraction in (0, 0.25, 0.5, 0.75, 1)]
        inverse = math.exp if scale is math.log else float
        return cls(
            [(scale(number) - start) / span for number in known],
            [((mark - start) / span, f"{inverse(mark):.3g}") for mark in marks],
        )


def _clipped(values: np.ndarray, mode: str) -> list[float]:
    """Clip the worst values, which would squeeze all others together."""
    sign = 1 if mode == "min" else -1
    costs = sign * values
    limit = np.median(costs) + 3 * (np.median(costs) - costs.min())
    return [float(value) for value in sign * np.minimum(costs, limit if limit > costs.min() else costs.max())]


def importance_bars(record: Record, trials: Sequence[Trial], names: Sequence[str]) -> Figure:
    """The `importance` of each hyperparameter as a bar."""
    importances = importance(record, trials, names)
    order = sorted(names, key=lambda name: importances[name])
    fig, (ax,) = plots.new_panels(1, width=6.4, height=1.3 + 0.38 * len(names), left=1.9)
    plots.style(ax, title=f"hyperparameter importance for {record.metric}", x="normalized permutation importance")
    ax.barh([plots.shorten(name, 26) for name in order], [importances[name] for name in order], color=TRAIN, height=0.6)
    for i, name in enumerate(order):
        ax.text(importances[name] + 0.01, i, f"{importances[name]:.0%}", va="center", fontsize=8.5, color=INK)
    ax.set_xlim(0, 1.08)
    ax.grid(False, axis="y")
    ax.spines["left"].set_color(FAINT)
    return fig


def importance(record: Record, trials: Sequence[Trial], names: Sequence[str]) -> dict[str, float]:
    """Permutation importance of each hyperparameter in a random forest that predicts the metric, normalized to sum 1.

    L. Breiman, "Random Forests", Machine Learning 45, 2001, section 10. A hyperparameter whose effect the forest
    cannot learn from so few trials gets 0. Pruned trials count with the best value that they reached.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    columns = [Axis.of([trial.params.get(name) for trial in trials]).heights for name in names]
    values = np.array(_clipped(np.array([trial.value for trial in trials], dtype=float), record.mode))
    table = np.array(columns).T
    forest = RandomForestRegressor(200, random_state=0).fit(table, values)
    raw = permutation_importance(forest, table, values, n_repeats=20, random_state=0).importances_mean
    raw = np.maximum(raw, 0)
    total = raw.sum() or 1.0
    return dict(zip(names, (raw / total).tolist(), strict=True))


def _as_number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
