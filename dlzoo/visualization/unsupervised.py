"""Figures of components and clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dlzoo.visualization.layout import FAINT, INK, TRAIN, VAL, class_colours, new_figure, new_panels, shorten, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CELLS = 400
"""Of a table whose values are written into its cells."""
MAX_FEATURES = 100
"""Columns of a table that are drawn: no renderer takes an image of 65,536 pixels, and nobody reads it."""


def explained_variance(variances: Tensor, num_kept: int) -> Figure:
    """The share of the variance along each component, and of all components up to it.

    Args:
        variances: (F,) in descending order.
        num_kept: how many components are kept.
    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    shares = (variances.double() / variances.double().sum().clamp(min=1e-300)).cpu().numpy()
    total = shares.cumsum()
    last = min(len(shares), max(2 * num_kept, int((total < 0.999).sum()) + 1))
    numbers = np.arange(1, last + 1)
    fig, (each, together) = new_panels(2, width=4.6, height=3.4)
    style(each, title="variance along each component", x="component")
    if last <= 40:
        each.bar(numbers, shares[:last], color=[TRAIN if k <= num_kept else FAINT for k in numbers], width=0.8)
    else:
        each.semilogy(numbers, np.maximum(shares[:last], 1e-9), color=TRAIN, linewidth=1.8)
    style(together, title=f"{num_kept} of {len(shares)} keep {total[num_kept - 1]:.1%}", x="components")
    together.plot(numbers, total[:last], color=TRAIN, linewidth=1.8, marker="o" if last <= 40 else "", markersize=3.5)
    together.axvline(num_kept, color=VAL, linewidth=1.4)
    together.set_ylim(min(0.0, float(total[0])), 1.03)
    for ax in (each, together):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if last > 40:
            ax.axvline(num_kept, color=VAL, linewidth=1.4)
    together.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if last <= 40:
        each.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return fig


def weights_of_features(
    matrix: Tensor, rows: Sequence[str], columns: Sequence[str], *, title: str, texts: Tensor | None = None
) -> Figure:
    """A table of numbers, coloured around zero; of many columns, the first.

    Args:
        matrix: (R, C).
        rows, columns: their names.
        texts: (R, C), numbers to write into the cells in place of the matrix.
    """
    values = matrix[:, :MAX_FEATURES].detach().double().cpu().numpy()
    shown = values if texts is None else texts[:, :MAX_FEATURES].detach().double().cpu().numpy()
    num_rows, num_columns = values.shape
    if num_columns < len(columns):
        title = f"{title}; {num_columns} of {len(columns):,} features"
    labels = [shorten(name, 22) for name in columns[:num_columns]]
    fig = new_figure(1.6 + max(0.62 * num_columns, 3.0), 1.3 + max(0.36 * num_rows, 0.8), layout="constrained")
    ax = fig.add_subplot()
    limit = max(float(np.abs(values).max()), 1e-12)
    ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    ax.set_yticks(range(num_rows), [shorten(name, 30) for name in rows], fontsize=8.5)
    turned = num_columns > 3 and max(map(len, labels)) > 6
    ax.set_xticks(
        range(num_columns), labels, fontsize=8.5, rotation=30 if turned else 0, ha="right" if turned else "center"
    )
    ax.tick_params(length=0, labelcolor=INK)
    ax.spines[:].set_visible(False)
    ax.set_title(title, fontsize=11, color=INK, loc="left")
    if values.size <= MAX_CELLS:
        for i, j in np.ndindex(values.shape):
            colour = "white" if abs(values[i, j]) > 0.62 * limit else INK
            ax.text(j, i, f"{shown[i, j]:.3g}", ha="center", va="center", fontsize=8, color=colour)
    return fig


def silhouettes(values: Tensor, clusters: Tensor, num_clusters: int) -> Figure:
    """The silhouette of each row, sorted within its cluster: 1 far from other clusters, 0 between two, below in the
    wrong one (P. J. Rousseeuw, "Silhouettes", Journal of Computational and Applied Mathematics 20, 1987).

    Args:
        values, clusters: (N,).
    """
    fig = new_figure(6.4, 4.6, layout="constrained")
    ax = fig.add_subplot()
    mean = float(values.mean())
    style(ax, title=f"silhouettes of {len(values):,} test rows, mean {mean:.3f}", x="silhouette", y="cluster")
    start, middles, names = 0, [], []
    gap = max(1, len(values) // 60)
    for k, colour in zip(range(num_clusters), class_colours(num_clusters), strict=True):
        own = values[clusters == k].sort().values.cpu().numpy()
        if not len(own):
            continue
        ax.barh(np.arange(start, start + len(own)), own, height=1.0, color=[colour], linewidth=0)
        middles.append(start + len(own) / 2)
        names.append(str(k))
        start += len(own) + gap
    every = -(-len(names) // 40)
    ax.set_yticks(middles[::every], names[::every])
    ax.axvline(mean, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
    ax.grid(axis="y", visible=False)
    return fig


def as_pictures(rows: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Weights (K, F) as images (K, C, H, W) in [0, 1], each scaled so that zero is grey."""
    images = rows.detach().float().cpu().unflatten(1, shape)
    largest = images.flatten(1).abs().amax(1).clamp(min=1e-12)
    return torch.addcmul(torch.full_like(images, 0.5), images, 0.5 / largest[:, None, None, None])
