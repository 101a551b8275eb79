"""Returns of an agent over environment steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dlzoo.visualization import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def returns(rows: Sequence[Mapping[str, float]], solved: float | None = None) -> Figure:
    """Evaluations with one standard deviation over the episodes, the mean of the training episodes, and the goal.

    Args:
        rows: one mapping per epoch: ``step``, ``val/return``, ``val/return_std``, ``train/return``; any may be missing.
    """
    fig, (ax,) = plots.new_panels(1, width=6.2, height=4.0)
    plots.style(ax, title="episode return", x="environment steps")
    for name, label, colour in (
        ("train/return", "training, exploring", plots.TRAIN),
        ("val/return", "evaluation, greedy", plots.VAL),
    ):
        points = [row for row in rows if name in row and math.isfinite(row[name])]
        if not points:
            continue
        steps, means = [row["step"] for row in points], [row[name] for row in points]
        ax.plot(steps, means, color=colour, marker="o", markersize=3.5, linewidth=1.6, label=label)
        if name == "val/return":
            spread = [row.get("val/return_std", 0.0) for row in points]
            low, high = ([m + sign * s for m, s in zip(means, spread, strict=True)] for sign in (-1, 1))
            ax.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    if solved is not None:
        ax.axhline(solved, color=plots.FAINT, linewidth=1, linestyle="--", label=f"solved: {solved:g}")
    ax.set_xlim(left=0)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=8.5, labelcolor=plots.INK, framealpha=0.85, edgecolor="none")
    return fig
