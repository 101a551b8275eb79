"""Figures of predicted ratings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from dlzoo.visualization.layout import TRAIN, VAL, new_panels, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_SHOWN = 40
"""Users, and items."""


def ratings(known: Tensor, predicted: Tensor, truth: Tensor, scale: Sequence[float]) -> Figure:
    """Ratings that the model was given, its predictions for all items, and its predictions of the test ratings by the
    true one.

    Args:
        known, predicted, truth: (U, M), with NaN where there is no rating.
    """
    import numpy as np
    from matplotlib import colormaps

    rows = (~known.isnan()).sum(1).argsort(descending=True)[:MAX_SHOWN]
    columns = (~known.isnan()).sum(0).argsort(descending=True)[:MAX_SHOWN]
    fig, (given, answered, spread) = new_panels(3, width=4.2, height=3.9)
    colours = colormaps["viridis"].with_extremes(bad="#F2F2F2")
    for ax, matrix, title in ((given, known, "training ratings"), (answered, predicted, "predicted ratings")):
        style(ax, title=title, x="item", y="user")
        ax.grid(visible=False)
        cells = np.ma.masked_invalid(matrix[rows][:, columns].cpu().numpy())
        image = ax.imshow(cells, cmap=colours, vmin=scale[0], vmax=scale[-1], aspect="auto", interpolation="nearest")
        ax.set_xticks([])
        ax.set_yticks([])
    fig.colorbar(image, ax=answered, pad=0.02)
    style(spread, title="test ratings", x="true rating", y="predicted")
    asked = ~truth.isnan()
    true, guess = truth[asked].cpu().numpy(), predicted[asked].cpu().numpy()
    groups = [guess[np.isclose(true, value)] for value in scale]
    places = [k for k, group in enumerate(groups) if len(group)]
    boxes = spread.boxplot([groups[k] for k in places], positions=places, widths=0.6, showfliers=False)
    for line in boxes["medians"]:
        line.set_color(VAL)
    spread.plot(range(len(scale)), list(scale), color=TRAIN, linewidth=1.2, linestyle=(0, (4, 3)))
    spread.set_xticks(range(len(scale)), [f"{value:g}" for value in scale])
    return fig
