"""The texts of a figure, and whether they can be read."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def texts(figure):
    """All texts of a figure that are drawn."""
    FigureCanvasAgg(figure).draw()
    hidden = set()
    for axis in itertools.chain.from_iterable((ax.xaxis, ax.yaxis) for ax in figure.axes):
        low, high = sorted(axis.get_view_interval())
        ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        hidden |= {tick.label1 for tick in ticks if not low <= tick.get_loc() <= high}
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text() and t not in hidden]


def words(figure):
    return [t.get_text() for t in texts(figure)]


def check_layout(figure):
    """Every text lies within the figure, and no two texts overlap."""
    shown = texts(figure)
    x0, y0, x1, y1 = np.array([t.get_window_extent().extents for t in shown]).T
    cut = (x0 < 0) | (y0 < 0) | (x1 > figure.bbox.width) | (y1 > figure.bbox.height)
    assert not cut.any(), [t.get_text() for t, bad in zip(shown, cut, strict=True) if bad]
    apart = [(high[:, None] - 1 <= low[None] + 1) for low, high in ((x0, x1), (y0, y1))]  # a pixel each may touch
    over = ~(apart[0] | apart[0].T | apart[1] | apart[1].T)
    np.fill_diagonal(over, False)
    assert not over.any(), [(shown[i].get_text(), shown[j].get_text()) for i, j in np.argwhere(over)]
