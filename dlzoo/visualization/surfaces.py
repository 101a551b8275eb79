"""Figures of a loss surface over two weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from dlzoo.visualization.layout import RIGHT, WRONG, legend_above, new_panels, style
from dlzoo.visualization.regions import Plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = 24


def weight_path(plane: Plane, losses: Tensor, path: Tensor, *, names: Sequence[str]) -> Figure:
    """The loss over a plane of two weights, dark where it is low, and the weights after each step.

    Args:
        losses: (S, S) at the points of the plane, the second weight first.
        path: (N, 2), from the initial weights on.
        names: of the two weights.
    """
    from matplotlib.ticker import MaxNLocator

    fig, (ax,) = new_panels(1, width=6.2, height=5.2)
    style(ax, title="weights after each step, over the training loss", x=names[0], y=names[1])
    values = losses.double().numpy()
    finite = values[np.isfinite(values)]
    floor = max(float(finite.min(initial=1.0)), 1e-9)
    logarithms = np.log10(np.clip(np.nan_to_num(values, nan=np.inf), floor, 1e30))
    levels = np.linspace(logarithms.min(), max(np.quantile(logarithms, 0.95), logarithms.min() + 1e-6), LEVELS)
    shown = ax.contourf(plane.across, plane.up, logarithms, levels=levels, cmap="Blues_r", extend="max")
    bar = fig.colorbar(shown, ax=ax, shrink=0.9)
    bar.set_label("loss, log10", fontsize=9)
    bar.set_ticks(MaxNLocator(6).tick_values(levels[0], levels[-1])[1:-1])
    bar.ax.tick_params(labelsize=8)
    ax.plot(*path.T.numpy(), color=WRONG, linewidth=0.8, marker=".", markersize=2, zorder=3)
    ax.plot(*path[0].tolist(), "o", color="white", markeredgecolor=RIGHT, markersize=8, zorder=4, label="start")
    ax.plot(*path[-1].tolist(), "X", color=WRONG, markeredgecolor=RIGHT, markersize=9, zorder=4, label="end")
    left, right, bottom, top = plane.extent
    ax.set(xlim=(left, right), ylim=(bottom, top))
    legend_above(ax)
    return fig
