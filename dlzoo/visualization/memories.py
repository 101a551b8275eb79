"""Figures of associative memories: recall step by step, and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dlzoo.visualization import image_grid as tiles
from dlzoo.visualization.layout import FAINT, INK, TRAIN, VAL, WRONG, legend_above, new_panels, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (TRAIN, WRONG, VAL, "#009E73")
"""Of the curves."""
DARK, LIGHT = 0.2, 0.9
"""Of units that are off and on, so that they differ from the white lines between images."""


def steps(images: Sequence[Tensor], names: Sequence[str]) -> np.ndarray:
    """A grid with a column for each pattern and a row for each step; what differs from the first row is red.

    Args:
        images: (P, C, H, W) in [0, 1] for each step, the stored patterns first.
        names: of the steps.
    """
    num = len(images[0])
    rows = [tiles.tile(marked(row, images[0]), num) for row in images]
    grid = np.concatenate([rows[0], *(row[tiles.GAP :] for row in rows[1:])])
    return tiles.labelled(grid, rows=names)


def marked(images: Tensor, right: Tensor) -> Tensor:
    """Images (N, 1, H, W) -> (N, 3, H, W), in greys; red where they and the right ones are on different sides of 1/2.
    Images of several channels are returned as they are."""
    if images.shape[1] != 1:
        return images
    shades = (LIGHT * images + DARK * (1 - images)).expand(-1, 3, -1, -1)
    from matplotlib.colors import to_rgb

    red = torch.tensor(to_rgb(WRONG), device=images.device)[:, None, None]
    return torch.where((images > 0.5) != (right > 0.5), red, shades)


def limits(
    noise: tuple[Sequence[float], Sequence[float]], flip: float, loads: Sequence[float],
    recalled: Mapping[str, Sequence[float]], *, theory: float, num_units: int, heading: str = "",
) -> Figure:  # fmt: skip
    """Overlap against noise, and the fraction of random patterns that are recalled against their number.

    Args:
        noise: fractions of flipped units, and the mean overlap after recall from each.
        flip: the fraction in the run.
        loads: random patterns for each unit.
        recalled: the fraction of them that each memory recalls, up to the load that it can hold.
        theory: the load that Hebb's rule can hold.
        num_units: of the memories of random patterns.
    """
    fig, (left, right) = new_panels(2, width=5.6, height=4.0, heading=heading)
    flips, overlaps = noise
    style(left, title="the stored patterns", x="fraction of flipped units", y="mean overlap")
    left.plot(flips, [1 - 2 * each for each in flips], color=FAINT, linestyle=(0, (4, 2)), label="before recall")
    left.plot(flips, overlaps, color=TRAIN, marker="o", markersize=3.5, label="after recall")
    left.axvline(flip, color=INK, linewidth=0.8, linestyle=":", label=f"this run: {flip:g}")
    left.set_ylim(-0.05, 1.05)
    style(right, title=f"random patterns in {num_units} units", x="patterns for each unit", y="recalled")
    for (name, fractions), colour in zip(recalled.items(), COLOURS, strict=False):
        right.plot(loads[: len(fractions)], fractions, color=colour, marker="o", markersize=3.5, label=name)
    right.axvline(theory, color=INK, linewidth=0.8, linestyle=":", label=f"{theory:g}")
    right.set_xscale("log")
    ticks = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 4]
    right.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    right.minorticks_off()
    right.set_ylim(-0.05, 1.05)
    for ax in (left, right):
        legend_above(ax)
    return fig
