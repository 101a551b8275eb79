"""Figures of maps whose units lie on a grid: what the units represent, their distances, hits and component planes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
from torch import Tensor

from dlzoo.layers.unit_grid import ROW_HEIGHT, UnitGrid
from dlzoo.visualization.layout import (
    FAINT,
    INK,
    class_colours,
    figure_of,
    legend_above,
    legend_text,
    new_panels,
    shorten,
    style,
)
from dlzoo.visualization.regions import colour_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EMPTY = (0.94, 0.94, 0.94)
"""Colour of units without rows."""
MAX_NAMES_SHOWN = 150
MAX_PLANES = 12
BAR = 0.75
"""Inches for a colour bar and its numbers."""


class Size(TypedDict):
    """Of a panel in inches."""

    width: float
    height: float
    left: float


def named_map(
    grid: UnitGrid, colours: np.ndarray, winners: Mapping[str, int], *, title: str, classes: Sequence[str] = ()
) -> Figure:
    """The units in their colours, and names at the units that win them.

    Args:
        colours: (U, 3) in [0, 1].
        winners: the unit of each name.
        classes: names of the colours' classes, for the legend.
    """
    fig, (ax,) = new_panels(1, **size_of(grid, 6.4))
    frame(ax, grid, title)
    draw_units(ax, grid, colours)
    for k, (name, colour) in enumerate(zip(classes, class_colours(len(classes)), strict=True)):
        if k < 20:
            ax.scatter([], [], s=40, color=[colour], marker="s", label=legend_text(shorten(name, 24)))
    if classes:
        legend_above(ax)
    by_unit: dict[int, list[str]] = {}
    for name in [*winners][:MAX_NAMES_SHOWN]:
        by_unit.setdefault(winners[name], []).append(shorten(name, 20))
    positions = grid.positions().numpy()
    for unit, names in by_unit.items():
        dark = float(np.dot(colours[unit], (0.299, 0.587, 0.114))) < 0.55
        x, y = positions[unit]
        side = "left" if x < 0.12 * grid.columns else "right" if x > 0.88 * grid.columns else "center"
        place = {"left": x - 0.4, "right": x + 0.4, "center": x}[side]
        ax.text(
            place, y, "\n".join(names), ha=side, va="center", fontsize=8, color="white" if dark else "black",
            linespacing=1.0, clip_on=False,
        )  # fmt: skip
    return fig


def units_as_values(grid: UnitGrid, values: Tensor, *, title: str, cmap: str = "viridis") -> Figure:
    """The units coloured by one value each, (U,)."""
    fig, (ax,) = new_panels(1, **size_of(grid, 6.4, BAR))
    draw_values(ax, grid, values, title, cmap)
    return fig


def component_planes(grid: UnitGrid, values: Tensor, names: Sequence[str]) -> Figure:
    """A panel for each feature: its value (U, F) in the weights of each unit, in the units of the data."""
    shown = min(len(names), MAX_PLANES)
    heading = f"component planes of {shown} of {len(names)} features" if shown < len(names) else "component planes"
    fig, panels = new_panels(shown, **size_of(grid, 4.2, BAR), heading=heading)
    for i, ax in enumerate(panels):
        draw_values(ax, grid, values[:, i], shorten(names[i], 34), "viridis")
    return fig


def class_shares(labels: Tensor) -> np.ndarray:
    """Colours (U, 3) of units by their classes (U, C): of the majority, the paler the smaller it is."""
    colours = np.array([colour_of(colour) for colour in class_colours(labels.shape[1])])
    total = labels.sum(1)
    share = (labels.amax(1) / total.clamp(min=1e-12)).numpy()[:, None]
    shown = 1 - (0.25 + 0.6 * share) * (1 - colours[labels.argmax(1).numpy()])
    return np.where(total.numpy()[:, None] > 0, shown, EMPTY)


def greys(values: Tensor) -> np.ndarray:
    """Colours (U, 3): the larger the value, the darker."""
    low, high = float(values.min()), float(values.max())
    depth = (values - low) / max(high - low, 1e-12)
    return np.repeat((1 - 0.75 * depth.numpy())[:, None], 3, axis=1)


def u_matrix(grid: UnitGrid, weights: Tensor) -> Tensor:
    """(U,) mean distance of each unit's weights (U, F) from those of its neighbours.

    A. Ultsch, H. P. Siemon, "Kohonen's Self Organizing Feature Maps for Exploratory Data Analysis", INNC 1990.

    >>> u_matrix(UnitGrid(1, 3), torch.tensor([[0.0], [1.0], [5.0]])).tolist()
    [1.0, 2.5, 4.0]
    """
    weights, positions = weights.detach().double().cpu(), grid.positions()
    total, number = torch.zeros(grid.num_units, dtype=torch.float64), torch.zeros(grid.num_units, dtype=torch.float64)
    units = torch.arange(grid.num_units)
    rows, columns = units // grid.columns, units % grid.columns
    for down, right in itertools.product((-1, 0, 1), repeat=2):
        row, column = rows + down, columns + right
        inside = (row >= 0) & (row < grid.rows) & (column >= 0) & (column < grid.columns)
        unit, other = units[inside], (row * grid.columns + column)[inside]
        apart = (positions[other] - positions[unit]).square().sum(1)
        is_near = (apart > 0.01) & (apart < grid.reach)
        unit, other = unit[is_near], other[is_near]
        total[unit] += (weights[other] - weights[unit]).square().sum(1).sqrt()
        number[unit] += 1
    return (total / number).float()


# ------------------------------------------------------------------------------------------------ parts


def size_of(grid: UnitGrid, width: float, bar: float = 0.0) -> Size:
    """Of a panel in inches, such that units are about as high as wide.

    Args:
        bar: inches for a colour bar.
    """
    tall = (grid.rows * (ROW_HEIGHT if grid.kind == "hexagonal" else 1.0) + 0.2) / (grid.columns + 0.2)
    return Size(width=width, height=min(max((width - 0.8 - bar) * tall, 0.35), 2.2 * width) + 0.95, left=0.55)


def frame(ax: Axes, grid: UnitGrid, title: str) -> None:
    style(ax, title=title)
    ax.grid(False)
    ax.set_xlim(-0.6, grid.columns - 0.4 + (0.5 if grid.kind == "hexagonal" and grid.rows > 1 else 0))
    height = ROW_HEIGHT if grid.kind == "hexagonal" else 1.0
    ax.set_ylim((grid.rows - 1) * height + 0.6, -0.6)
    ax.set_aspect("equal", anchor="NW")
    for axis, num, step in ((ax.xaxis, grid.columns, 1.0), (ax.yaxis, grid.rows, height)):
        every = max(1, math.ceil(num / 6))
        ticks = [0, *range(every - 1 + (every == 2) * every, num, every)] if every > 1 else [*range(num)]
        axis.set_ticks([tick * step for tick in ticks], [str(tick + 1) for tick in ticks])
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def draw_units(ax: Axes, grid: UnitGrid, colours: np.ndarray) -> None:
    from matplotlib.collections import PolyCollection

    shapes = [outline(grid, x, y) for x, y in grid.positions().tolist()]
    ax.add_collection(PolyCollection(shapes, facecolors=colours, edgecolors=colours, linewidths=0.3))


def outline(grid: UnitGrid, x: float, y: float) -> list[tuple[float, float]]:
    """The corners of a unit's cell."""
    if grid.kind == "rectangular":
        return [(x + a, y + b) for a, b in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))]
    radius = 0.5 / ROW_HEIGHT
    angles = [math.pi / 6 + k * math.pi / 3 for k in range(6)]
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


def draw_values(ax: Axes, grid: UnitGrid, values: Tensor, title: str, cmap: str) -> None:
    """The units coloured by (U,) values, and a colour bar."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import MaxNLocator

    frame(ax, grid, title)
    values = values.detach().double().cpu()
    finite = values[values.isfinite()]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    scale = Normalize(low, high if high > low else low + 1e-12)
    draw_units(ax, grid, colormaps[cmap](scale(values.nan_to_num(low).numpy()))[:, :3])
    fig, place, inch = figure_of(ax), ax.get_position(original=True), 1 / figure_of(ax).get_size_inches()[0]
    ax.set_position((place.x0, place.y0, place.width - BAR * inch, place.height))
    ax.apply_aspect()
    drawn = ax.get_position()
    cax = fig.add_axes((drawn.x1 + 0.12 * inch, drawn.y0, 0.13 * inch, drawn.height))
    is_whole = bool((values == values.round()).all())
    bar = fig.colorbar(ScalarMappable(scale, cmap), cax=cax, ticks=MaxNLocator(5, integer=is_whole))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=3, color=FAINT, labelcolor=INK, labelsize=8)
