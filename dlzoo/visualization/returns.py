"""Returns of an agent over environment steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dlzoo.visualization import layout

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def returns(rows: Sequence[Mapping[str, float]], solved: float | None = None, *, heading: str = "") -> Figure:
    """Evaluations with one standard deviation over the episodes, the mean of the training episodes, and the goal.

    Args:
        rows: one mapping per epoch: ``step``, ``val/return``, ``train/return``, and of the evaluated episodes
            ``val/return_std``, ``val/return_min`` and ``val/return_max``; any may be missing.
        heading: the name of the run.
    """
    fig, (ax,) = layout.new_panels(1, width=6.2, height=4.2, heading=heading)
    layout.style(ax, title="episode return", x="environment steps")
    for name, label, colour in (
        ("train/return", "training, exploring", layout.TRAIN),
        ("val/return", "evaluation, greedy", layout.VAL),
    ):
        points = [row for row in rows if name in row and math.isfinite(row[name])]
        if not points:
            continue
        steps, means = [row["step"] for row in points], [row[name] for row in points]
        ax.plot(steps, means, color=colour, marker="o", markersize=3.5, linewidth=1.6, label=label)
        if name == "val/return":
            low, high = zip(*map(band, points), strict=True)
            ax.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0, label="± 1 standard deviation")
    if solved is not None:
        ax.axhline(solved, color=layout.FAINT, linewidth=1, linestyle="--", label=f"solved: {solved:g}")
    ax.set_xlim(left=0)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    layout.legend_above(ax)
    return fig


def band(row: Mapping[str, float]) -> tuple[float, float]:
    """One standard deviation around the mean return, cut at the lowest and the highest return of an episode.

    Returns are bounded and skewed: 0.75 ± 0.5 would promise returns above the highest possible one, 1.

    >>> band({"val/return": 0.75, "val/return_std": 0.5, "val/return_min": 0.0, "val/return_max": 1.0})
    (0.25, 1.0)
    """
    mean, std = row["val/return"], row.get("val/return_std", 0.0)
    std = std if math.isfinite(std) else 0.0
    low, high = row.get("val/return_min", -math.inf), row.get("val/return_max", math.inf)
    return min(mean, max(mean - std, low)), max(mean, min(mean + std, high))
