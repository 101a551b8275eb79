"""Figures of word vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from dlzoo.errors import visible
from dlzoo.visualization.layout import FAINT, INK, TRAIN, new_figure, shorten, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def word_map(points: Tensor, words: Sequence[str], *, title: str, axes: tuple[str, str] | None = None) -> Figure:
    """Words at points (N, 2).

    Args:
        axes: their labels; None: the axes mean nothing, as those of t-SNE.
    """
    fig = new_figure(11, 9, layout="constrained")
    ax = fig.add_subplot()
    style(ax, title=title, x=axes[0] if axes else "", y=axes[1] if axes else "")
    if axes is None:
        ax.tick_params(length=0, labelbottom=False, labelleft=False)
    ax.grid(visible=False)
    across, down = points.T.numpy()
    ax.scatter(across, down, s=4, color=FAINT, linewidths=0)
    for (x, y), word in zip(points.tolist(), words, strict=True):
        text = shorten(visible(word, keep=""), 20).replace("$", r"\$")
        ax.annotate(text, (x, y), xytext=(2, 2), textcoords="offset points", fontsize=6.5, color=INK)
    return fig


def analogy_scores(names: Sequence[str], shares: Sequence[float], counts: Sequence[int], *, title: str) -> Figure:
    """A bar for each section: the share of right answers, with the number of its questions."""
    from matplotlib.ticker import PercentFormatter

    fig = new_figure(7.6, 0.8 + 0.3 * len(names), layout="constrained")
    ax = fig.add_subplot()
    style(ax, title=title, x="right answers")
    ax.grid(visible=False, axis="y")
    places = range(len(names))
    ax.barh(places, shares, color=TRAIN, height=0.7)
    ax.set_yticks(
        places,
        [
            f"{shorten(visible(name, keep=''), 40)} ({num:,})".replace("$", r"\$")
            for name, num in zip(names, counts, strict=True)
        ],
    )
    ax.invert_yaxis()
    ax.set_xlim(0, max(*shares, 0.01) * 1.12)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    for place, share in zip(places, shares, strict=True):
        ax.annotate(f"{share:.1%}", (share, place), xytext=(3, 0), textcoords="offset points", fontsize=8, va="center")
    return fig
