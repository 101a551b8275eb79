"""Figures of energy-based models: their distribution beside that of the data, and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from dlzoo.visualization.layout import INK, TRAIN, VAL, legend_above, new_panels, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def distribution(
    images: Tensor, data: Tensor, model: Tensor, sampled: Tensor, errors: Tensor, *, heading: str = ""
) -> Figure:
    """A group of bars for each image, drawn below them: its fraction of the data, its probability, and its fraction of
    samples with three standard errors.

    Args:
        images: (K, H, W) in [0, 1].
        data, model, sampled: (K,) each.
        errors: standard errors of ``sampled``, (K,).
    """
    num, height, width = images.shape
    heights = [np.asarray(column.tolist()) for column in (data, model, sampled)]
    fig, (ax,) = new_panels(1, width=max(6.0, 0.55 * num + 1), height=4.2, heading=heading)
    style(ax, title="probability of images", y="probability")
    places = np.arange(num)
    ax.bar(places - 0.3, heights[0], 0.28, color=INK, label="data")
    ax.bar(places, heights[1], 0.28, color=TRAIN, label="model, exact")
    ax.bar(
        places + 0.3, heights[2], 0.28, yerr=3 * np.asarray(errors.tolist()), color=VAL, ecolor=INK,
        error_kw={"elinewidth": 0.8}, label="model, sampled, and three standard errors",
    )  # fmt: skip
    ax.set_xticks([])
    ax.set_xlim(-0.7, num - 0.3)
    legend_above(ax)
    place = ax.get_position()
    across, down = fig.get_size_inches()
    step = place.width / (num + 0.4)
    side = min(0.85 * step * across, 0.42) / max(height, width)  # inches of a pixel
    for i, image in enumerate(images):
        x = place.x0 + (0.7 + i) * step
        size = (width * side / across, height * side / down)
        small = fig.add_axes((x - size[0] / 2, place.y0 - 0.06 / down - size[1], *size))
        small.imshow(image.numpy(), cmap="gray", vmin=-0.2, vmax=1.1, interpolation="nearest")
        small.set_xticks([])
        small.set_yticks([])
    return fig


def interactions(weights: Tensor, names: Sequence[str], *, heading: str = "") -> Figure:
    """The weights between all units, (N, N); one name for each."""
    num = len(weights)
    side = min(max(3.0, 0.3 * num), 8.0)
    fig, (ax,) = new_panels(1, width=side + 2.0, height=side + 0.95, heading=heading)
    place = ax.get_position()
    ax.set_position((place.x0, place.y0, place.width - 1.05 / (side + 2.0), place.height))
    style(ax, title="weights between units")
    ax.grid(False)
    most = max(float(weights.abs().max()), 1e-6)
    image = ax.imshow(weights.numpy(), cmap="RdBu", vmin=-most, vmax=most)
    if num <= 32:
        ax.set_xticks(range(num), names, rotation=90)
        ax.set_yticks(range(num), names)
    place = ax.get_position()
    beside = fig.add_axes((place.x1 + 0.02, place.y0, 0.03, place.height))
    fig.colorbar(image, cax=beside).ax.tick_params(labelsize=8.5)
    return fig
