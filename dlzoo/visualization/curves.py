"""Learning curves: every metric of a run by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dlzoo.utils.formatting import format_metric, is_fraction
from dlzoo.visualization.layout import FAINT, INK, TRAIN, VAL, legend_above, make_room, new_panels, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DISPLAY_NAMES = {
    "rmse": "RMSE", "mae": "MAE", "mse": "MSE", "r2": "R²", "f1": "F1", "mape": "MAPE", "mase": "MASE", "nmi": "NMI",
    "kl": "KL divergence", "d_real": "D(x)", "d_fake": "D(G(z))",
}  # fmt: skip


def learning_curves(
    rows: Sequence[Mapping[str, float]], monitor: tuple[str, str] = ("val/loss", "min"), *, heading: str = ""
) -> Figure:
    """Loss, up to four other metrics, and the learning rate over the epochs.

    Args:
        rows: one mapping per epoch: ``epoch``, ``lr``, ``train/…`` and ``val/…``; missing or non-finite values are
            omitted.
        monitor: the metric that selects the best epoch, which every panel marks, and its direction (min or max).
        heading: the name of the run.
    """
    names = dict.fromkeys(key.partition("/")[2] for row in rows for key in row if key.startswith(("train/", "val/")))
    names = {name: None for name in names if name not in RANGES}
    shown = sorted(names, key=lambda name: name != "loss")[:5]
    rates = curve(rows, "lr")
    count = len(shown) + bool(rates[0])
    best = best_epoch(rows, *monitor)
    fig, panels = new_panels(max(count, 1), width=4.4, height=3.2, heading=heading)
    legend_height = 0.0
    for ax, name in zip(panels, shown, strict=False):
        draw_metric(ax, rows, name)
        if best is not None:
            mark_best(ax, rows, name, best, monitored=f"val/{name}" == monitor[0])
        legend_height = max(legend_height, legend_above(ax))
    if rates[0]:
        draw_rate(panels[len(shown)], *rates)
        make_room(panels[len(shown)], legend_height)  # as high as the others
    return fig


RANGES = ("return_min", "return_max")
"""Metrics without a panel: returns.png shows them as a band."""
LARGEST = 1e100
"""No value above it is drawn, nor NaN: Matplotlib subtracts numbers near the largest of a float from one another."""


def curve(rows: Sequence[Mapping[str, float]], key: str) -> tuple[list[float], list[float]]:
    """(epochs, values) of a metric where it is a number that can be drawn."""
    points = [
        (float(row["epoch"]), float(row[key]))
        for row in rows
        if row.get(key) not in (None, "") and abs(float(row[key])) < LARGEST
    ]
    return [x for x, _ in points], [y for _, y in points]


def best_epoch(rows: Sequence[Mapping[str, float]], key: str, mode: str) -> float | None:
    """The first epoch with the lowest (min) or highest (max) value; None if the metric was never measured."""
    epochs, values = curve(rows, key)
    if not epochs:
        return None
    return epochs[values.index(min(values) if mode == "min" else max(values))]


def draw_metric(ax: Axes, rows: Sequence[Mapping[str, float]], name: str) -> None:
    style(ax, title=DISPLAY_NAMES.get(name, name.replace("_", " ")), x="epoch")
    lowest, highest = math.inf, -math.inf
    for split, colour in (("train", TRAIN), ("val", VAL)):
        epochs, values = curve(rows, f"{split}/{name}")
        if epochs:
            few = len(epochs) <= 30
            ax.plot(epochs, values, color=colour, label=split, linewidth=1.8, marker="o" if few else "", markersize=3.5)
            lowest, highest = min(lowest, *values, math.inf), max(highest, *values, -math.inf)
    if lowest > 0 and highest > 50 * lowest:
        ax.set_yscale("log")
    elif is_fraction(name) and lowest >= 0 and highest <= 1:
        from matplotlib.ticker import PercentFormatter

        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0 if highest - lowest > 0.05 else 2))
    whole_epochs(ax, [float(row["epoch"]) for row in rows])


def mark_best(ax: Axes, rows: Sequence[Mapping[str, float]], name: str, best: float, *, monitored: bool) -> None:
    """A line at the best epoch, and a ring with the value if the metric was measured in validation."""
    ax.axvline(best, color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    epochs, values = curve(rows, f"val/{name}")
    if best in epochs:
        value = values[epochs.index(best)]
        label = f"epoch {best:g}: {format_metric(name, value)}" + (" (best)" if monitored else "")
        ax.plot(best, value, "o", markersize=8, markerfacecolor="none", markeredgecolor=INK, label=label)


def draw_rate(ax: Axes, epochs: list[float], rates: list[float]) -> None:
    style(ax, title="learning rate", x="epoch")
    few = len(epochs) <= 30
    ax.plot(epochs, rates, color=FAINT, linewidth=1.8, marker="o" if few else "", markersize=3.5)
    if min(rates) > 0 and max(rates) > 50 * min(rates):
        ax.set_yscale("log")
    elif max(rates) > 0:
        ax.set_ylim(0, max(rates) * 1.1)
    whole_epochs(ax, epochs)


def whole_epochs(ax: Axes, epochs: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    first, last = min(epochs), max(epochs)
    if last - first < 8:
        ax.set_xticks(sorted(set(epochs)))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]))
    pad = max(0.4, 0.03 * (last - first))
    ax.set_xlim(first - pad, last + pad)
