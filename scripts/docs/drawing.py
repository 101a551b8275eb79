"""The drawing of a net on its page: an SVG with a box for each layer and the shapes between them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from html import escape

from scripts.docs.layer_table import Layer

WIDTH, ROW, BOX_LEFT, BOX_WIDTH = 560, 46, 110, 290
COLOURS = {
    "Conv": "conv",
    "Linear": "linear",
    "Bilinear": "linear",
    "LSTM": "recurrent",
    "GRU": "recurrent",
    "RNN": "recurrent",
    "Pool": "pool",
    "Norm": "norm",
    "Dropout": "norm",
    "Embedding": "embedding",
}
"""The class in docs/stylesheets/extra.css of the layers whose names contain a text."""


def shape_text(shape: Sequence[int]) -> str:
    """A shape without its batch.

    >>> shape_text((6, 28, 28)), shape_text(())
    ('6 × 28 × 28', '1')
    """
    return " × ".join(map(str, shape)) or "1"


STYLE = """\
text { font: 13px sans-serif } .middle { text-anchor: middle } .end { text-anchor: end } .layer { font-weight: 600 }
.count { font-size: 11px; fill: #666 } .wire, .group { stroke: #888; fill: none; stroke-width: 1.2 }
rect { stroke: #7775; fill: #9994 } .conv { fill: #0072b244 } .linear { fill: #e69f0055 } .recurrent { fill: #009e7355 }
.pool { fill: #56b4e944 } .norm { fill: #99999933 } .embedding { fill: #cc79a755 }"""
"""For a drawing that stands alone, in the gallery."""


def standing_alone(svg: str) -> str:
    """A drawing as a file, with its own colours on white."""
    return svg.replace(">", f"><style>{STYLE}</style>", 1)


def drawing(start: Sequence[int], layers: Sequence[Layer], title: str) -> str:
    """The SVG, in one line; colours come from the page's style sheet."""
    parts: list[str] = []
    height = ROW * (len(layers) + 1) + 8
    parts.append(_text(BOX_LEFT + BOX_WIDTH / 2, 24, f"input {shape_text(start)}", "shape middle"))
    for i, layer in enumerate(layers):
        parts += [*_row(layer, ROW * (i + 1))]
    top = 0
    names = [layer.path.split(".")[0] for layer in layers]
    for name, group in itertools.groupby(names):
        num = len([*group])
        if num < len(layers):
            parts.append(_group(name, ROW * (top + 1), ROW * num))
        top += num
    label = escape(
        f"{title}: input {shape_text(start)}, then " + ", ".join(f"{a.kind} {a.about}".strip() for a in layers)
    )
    return (
        f'<svg class="net" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _row(layer: Layer, y: float) -> list[str]:
    colour = next((name for text, name in COLOURS.items() if text in layer.kind), "other")
    middle = BOX_LEFT + BOX_WIDTH / 2
    label = f"{layer.kind} {layer.about}".strip()
    right = BOX_LEFT + BOX_WIDTH + 12
    rows = [
        f'<line class="wire" x1="{middle:g}" y1="{y - 14:g}" x2="{middle:g}" y2="{y:g}"/>',
        f'<rect class="{colour}" x="{BOX_LEFT}" y="{y:g}" width="{BOX_WIDTH}" height="{ROW - 14}" rx="6"/>',
        _text(middle, y + 21, label, "layer middle"),
        _text(right, y + 14 if layer.num_parameters else y + 20, shape_text(layer.shape), "shape"),
    ]
    if layer.num_parameters:
        rows.append(_text(right, y + 30, f"{layer.num_parameters:,} parameters", "count"))
    return rows


def _group(name: str, y: float, height: float) -> str:
    x = BOX_LEFT - 10
    line = f'<path class="group" d="M{x + 4:g} {y:g} h-4 v{height - 14:g} h4" />'
    return line + _text(x - 6, y + (height - 14) / 2 + 4, name, "count end")


def _text(x: float, y: float, text: str, classes: str) -> str:
    return f'<text class="{classes}" x="{x:g}" y="{y:g}">{escape(text)}</text>'
