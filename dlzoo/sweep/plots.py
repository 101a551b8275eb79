"""Plots of a sweep: parallel coordinates of its trials, and the importance of each hyperparameter."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlzoo.sweep.record import Record, Trial, label_of
from dlzoo.sweep.space import as_number
from dlzoo.visualization import layout, plots
from dlzoo.visualization.layout import FAINT, INK, TRAIN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIN_TRIALS = 3
"""Fewest measured trials for which a plot is drawn."""
MAX_SETTINGS = 30
"""That are drawn."""
MAX_NAMES = 100
"""Hyperparameters that are drawn."""


def draw(record: Record, folder: Path) -> None:
    """Write ``parallel_coordinates.png`` and ``importance.png`` if there are enough trials that differ, and
    ``settings.png`` where settings are repeated with other seeds."""
    measured = [trial for trial in record.trials if trial.value is not None and trial.state != "failed"]
    names = [name for name in record.param_names if len({str(trial.params.get(name)) for trial in measured}) > 1]
    if record.has_repeats:
        names = [name for name in names if name != "seed"]
        if len(measured) > 1:
            plots.save(setting_bars(record), folder / "settings.png")
    if len(measured) < MIN_TRIALS or not names:
        return
    names = names[:MAX_NAMES]
    plots.save(parallel_coordinates(record, measured, names), folder / "parallel_coordinates.png")
    plots.save(importance_bars(record, measured, names), folder / "importance.png")


def setting_bars(record: Record) -> Figure:
    """The mean of the metric for each setting, best on top, with the standard deviation and the values of its seeds.

    The axis begins near the lowest value: differences between settings are what matters.
    """
    settings = [setting for setting in record.settings() if setting.measured][:MAX_SETTINGS]
    fig, (ax,) = layout.new_panels(1, width=7.2, height=1.4 + 0.42 * len(settings), left=2.6)
    layout.style(ax, title=f"{record.metric}: mean and standard deviation over seeds", x=str(record.metric))
    labels = [label_of(setting.words) for setting in settings]
    for place, setting in enumerate(settings):
        mean, deviation = setting.over_seeds() or (0.0, 0.0)
        ax.errorbar(mean, place, xerr=deviation, fmt="o", color=TRAIN, capsize=4, markersize=7)
        values = [trial.value for trial in setting.measured if trial.value is not None]
        ax.plot(values, [place] * len(values), "|", color=FAINT, markersize=9, zorder=0)
    ax.set_yticks(range(len(settings)), [layout.shorten(text, 34) for text in labels], fontsize=8.5)
    ax.set_ylim(len(settings) - 0.5, -0.5)
    return fig


def parallel_coordinates(record: Record, trials: Sequence[Trial], names: Sequence[str]) -> Figure:
    """One axis per hyperparameter and one for the metric; each trial is a line, dark if good, thin if pruned."""
    fig, (ax,) = layout.new_panels(1, width=max(6.0, 1.9 * (len(names) + 1)), height=4.6, left=1.0)
    values = np.array([trial.value for trial in trials], dtype=float)
    order = values.argsort() if record.mode == "min" else (-values).argsort()
    rank = np.empty(len(values))
    rank[order] = np.linspace(0, 1, len(values))
    columns = [Axis.of([trial.params.get(name) for trial in trials]) for name in names]
    columns.append(Axis.of(_clipped(values, record.mode), may_log=False))
    heights = np.array([column.heights for column in columns])  # (axes, trials)
    gutters = [0.0, *(column.gutter for column in columns[1:-1]), 0.0]
    across = [x for place, gutter in enumerate(gutters) for x in (place, place + gutter)]
    for i in reversed(order):  # the best on top
        stopped = trials[i].state == "pruned"
        style: dict[str, Any] = {"linewidth": 0.8 if stopped else 1.6, "alpha": 0.55 if stopped else 0.9}
        ax.plot(across, np.repeat(heights[:, i], 2), color=shade(rank[i]), **style)
    for place, (name, column) in enumerate(zip([*names, str(record.metric)], columns, strict=True)):
        ax.axvline(place, color=INK, linewidth=0.8)
        side, align = (-0.03, "right") if place == 0 else (0.03, "left")  # left of the first axis there are no lines
        for height, label in column.ticks:
            ax.text(place + side, height, label, fontsize=8, color=INK, va="center", ha=align, bbox=_BEHIND)
        ax.text(place, -0.09, layout.shorten(name, 24), fontsize=9, color=INK, ha="center", va="top")
    ax.set_ylim(-0.05, 1.05)
    ax.set_xlim(-0.15, len(columns) - 0.6)
    ax.axis("off")
    best = "lowest" if record.mode == "min" else "highest"
    thin = "; thin: stopped early" if any(trial.state == "pruned" for trial in trials) else ""
    ax.set_title(f"{len(trials)} trials; dark: {best} {record.metric}{thin}", fontsize=11, color=INK, loc="left")
    return fig


def shade(rank: float) -> tuple[float, float, float]:
    """The colour of a trial, from the best (0, dark blue) to the worst (1, grey), with a contrast of 3 to white."""
    best, worst = (0.02, 0.14, 0.36), (0.57, 0.57, 0.57)
    red, green, blue = (a + (b - a) * rank for a, b in zip(best, worst, strict=True))
    return red, green, blue


_BEHIND = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}


class Axis:
    """One axis of the plot: where each trial crosses it, from 0 to 1, and its tick labels."""

    def __init__(self, heights: list[float], ticks: list[tuple[float, str]]) -> None:
        self.heights = heights
        self.ticks = ticks

    @property
    def gutter(self) -> float:
        """The width of the labels beside the axis, where lines are level, so that none runs across a label; in
        distances between axes."""
        return min(0.05 + 0.036 * max(len(label) for _, label in self.ticks), 0.7)

    @classmethod
    def of(cls, values: Sequence[object], *, may_log: bool = True) -> Axis:
        """Numbers on a linear scale, or a logarithmic one if they span a factor of 20; text in sorted order."""
        numbers = [as_number(value) for value in values]
        if any(number is None for number in numbers):
            names = sorted({str(value) for value in values})
            place = {name: i / max(len(names) - 1, 1) for i, name in enumerate(names)}
            ticks = [(height, layout.shorten(name, 16)) for name, height in place.items()]
            return cls([place[str(value)] for value in values], ticks)
        known = [float(number) for number in numbers if number is not None]
        low, high = min(known), max(known)
        scale = math.log if may_log and low > 0 and high / low > 20 else float
        start, span = scale(low), (scale(high) - scale(low)) or 1.0
        marks = [start + span * fraction for fraction in (0, 0.25, 0.5, 0.75, 1)]
        tried = [scale(number) for number in sorted(set(known))]
        if len(tried) <= 8 and all(b - a > 0.04 * span for a, b in itertools.pairwise(tried)):
            marks = tried
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
    fig, (ax,) = layout.new_panels(1, width=6.4, height=1.3 + 0.38 * len(names), left=1.9)
    layout.style(ax, title=f"hyperparameter importance for {record.metric}", x="normalized permutation importance")
    ax.barh(
        [layout.shorten(name, 26) for name in order], [importances[name] for name in order], color=TRAIN, height=0.6
    )
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
