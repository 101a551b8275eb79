"""A figure that a notebook shows, and how figures are drawn into files. Importing this module imports matplotlib."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter


class NotebookFigure(Figure):
    """A figure that shows itself in a notebook, also where pyplot, which would register it there, is not used."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        render(self, content, "png")
        return content.getvalue()


def render(fig: Figure, file: Path | BinaryIO, file_format: str) -> None:
    """Draw a figure into a file; all its text is plain."""
    as_plain_text(fig)
    with missing_glyphs_as_boxes():
        fig.savefig(file, dpi=fig.dpi, format=file_format)


def as_plain_text(fig: Figure) -> None:
    """Turn off math parsing: matplotlib parses text between two $ as a formula, and raises if it is not one.

    Names of classes and columns, and values of a config, are arbitrary text. Only the powers of ten on a logarithmic
    axis are formulas.
    """
    for text in fig.findobj(Text):
        text.set_parse_math(False)
    for axis in (axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)):
        for formatter, labels in (
            (axis.get_major_formatter(), axis.get_majorticklabels()),
            (axis.get_minor_formatter(), axis.get_minorticklabels()),
        ):
            for label in labels:
                label.set_parse_math(isinstance(formatter, LogFormatter))


@contextlib.contextmanager
def missing_glyphs_as_boxes() -> Iterator[None]:
    """Without matplotlib's warning for each character that its font lacks: names are arbitrary text."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
        yield
