"""Figures of attention between two sequences of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from dlzoo.visualization.layout import INK, new_figure, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL = 0.27
"""Inches of a token in a map."""
MAX_TOKENS = 40
"""Of each side that are drawn."""
MAX_CHARACTERS = 12
"""Of a label."""


class Map(NamedTuple):
    """The weights (N, T, S) of N layers, by which each of T output tokens looked at S input tokens."""

    sources: Sequence[str]
    outputs: Sequence[str]
    weights: Tensor


def maps(examples: Sequence[Map], *, heading: str = "") -> Figure:
    """A row for each example and a column for each layer: dark where the output token, at the left, looked."""
    cut = [
        Map(each.sources[:MAX_TOKENS], each.outputs[:MAX_TOKENS], each.weights[:, :MAX_TOKENS, :MAX_TOKENS])
        for each in examples
    ]
    num_layers = max(len(each.weights) for each in cut)
    left = _room([token for each in cut for token in each.outputs])
    wide = max(max(len(each.sources) for each in cut) * CELL, 1.4) + left + 0.15
    turns = [max(len(_label(token)) for token in each.sources) > 2 for each in cut]
    tops = [_room(each.sources if turned else [""]) for each, turned in zip(cut, turns, strict=True)]
    heights = [len(each.outputs) * CELL + above + 0.2 for each, above in zip(cut, tops, strict=True)]
    head = 0.6 if num_layers > 1 else 0.4
    across, down = max(wide * num_layers, 4.0), sum(heights) + head
    fig = new_figure(across, down)
    fig.text(0.12 / across, 1 - 0.12 / down, shorten(heading, int(11 * across)), va="top", fontsize=10.5, color=INK)
    top = down - head
    for each, height, above, turned in zip(cut, heights, tops, turns, strict=True):
        for layer, weights in enumerate(each.weights):
            width, tall = len(each.sources) * CELL, len(each.outputs) * CELL
            corner = ((wide * layer + left) / across, (top - above - tall) / down)
            ax = fig.add_axes((*corner, width / across, tall / down))
            ax.imshow(weights.numpy(), cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
            ax.xaxis.tick_top()
            ax.set_xticks(range(len(each.sources)), [_label(token) for token in each.sources], rotation=90 * turned)
            ax.set_yticks(range(len(each.outputs)), [_label(token) for token in each.outputs])
            ax.tick_params(length=0, labelsize=8, labelcolor=INK, pad=2)
            ax.spines[:].set_color("#C0C0C0")
        top -= height
    for layer in range(num_layers if num_layers > 1 else 0):
        place = ((wide * layer + left) / across, 1 - 0.4 / down)
        fig.text(*place, f"layer {layer + 1}", va="top", fontsize=9, color=INK)
    return fig


def _room(tokens: Sequence[str]) -> float:
    """Inches that the labels of these tokens take."""
    return 0.15 + 0.085 * max(len(_label(token)) for token in tokens)


def _label(token: str) -> str:
    return shorten(token.replace(" ", "␣"), MAX_CHARACTERS)
