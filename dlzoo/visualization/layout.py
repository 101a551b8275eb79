"""What figures are composed of: the palette, panels, legends and notes above the axes, shortened texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette, which is safe for colour-blind readers.
TRAIN, VAL, WRONG, RIGHT, INK, FAINT = "#0072B2", "#E69F00", "#C8371F", "#222222", "#333333", "#9A9A9A"
DPI = 150
HEADING = 0.3
"""Inches above the panels for a heading."""
GAP = 3.0
"""Points between the axes and what stands above them."""
FALLBACK_FONTS = (
    "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans JP",
    "Noto Sans KR", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Bengali",
    "Noto Sans Tamil", "Noto Sans Thai", "Noto Sans Georgian", "Noto Sans Armenian", "Noto Emoji",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "Unifont",
    "Microsoft YaHei", "MS Gothic", "Malgun Gothic", "Nirmala UI", "Leelawadee UI", "Segoe UI Symbol",
    "Arial Unicode MS", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo",
)  # fmt: skip
"""Of Linux, Windows and macOS, for characters that DejaVu Sans lacks."""
MARGIN = 0.2
"""Inches that a legend may reach beyond the right end of the axes."""


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """An empty figure of this size in inches.

    Its text is not set by LaTeX, which matplotlib would start if a file matplotlibrc in the current folder, such as
    that of a shared run, says so.
    """
    import matplotlib

    from dlzoo.visualization.figures import NotebookFigure

    matplotlib.rcParams["text.usetex"] = False
    matplotlib.rcParams["font.family"] = list(font_families())
    return NotebookFigure(figsize=(width, height), dpi=DPI, facecolor="white", **options)


@cache
def font_families() -> tuple[str, ...]:
    """Matplotlib's usual font, then those that this machine has for scripts that it lacks: names are arbitrary text."""
    from matplotlib.font_manager import get_font_names

    known = {*get_font_names()}
    return ("DejaVu Sans", *(name for name in FALLBACK_FONTS if name in known))


MAX_PANELS = 30
"""Values that have a panel each: no renderer takes an image of 65,536 pixels, and nobody reads it."""


def heading_of(num: int, what: str) -> str:
    """Says that of many values only `MAX_PANELS` have a panel; empty if all have."""
    return f"the first {MAX_PANELS} of {num:,} {what}" if num > MAX_PANELS else ""


def new_panels(
    num: int, *, width: float, height: float, left: float = 0.7, columns: int | None = None, heading: str = ""
) -> tuple[Figure, list[Axes]]:
    """A figure with ``num`` axes of the given size in inches, in rows of ``columns`` or at most three.

    Args:
        heading: text above all of them.
    """
    columns = columns or (num if num <= 3 else 2 if num == 4 else 3)
    rows = -(-num // columns)
    right, below, above = 0.25, 0.55, 0.4  # inches, like left; matplotlib's layout engine renders everything twice
    across, down = width * columns, height * rows + (HEADING if heading else 0)
    fig = new_figure(across, down)
    panels = []
    for i in range(num):
        row, column = divmod(i, columns)
        x, y = width * column + left, height * (rows - 1 - row) + below
        panels.append(
            fig.add_axes((x / across, y / down, (width - left - right) / across, (height - below - above) / down))
        )
    if heading:
        text = shorten(heading, int(11 * (across - 0.3)))
        fig.text(0.15 / across, 1 - 0.12 / down, text, fontsize=10.5, va="top", color=INK, weight="bold")
    return fig, panels


def style(ax: Axes, *, title: str, x: str = "", y: str = "") -> None:
    ax.set_title(title, fontsize=11, color=INK, loc="left")
    ax.set_xlabel(x, fontsize=9.5, color=INK)
    ax.set_ylabel(y, fontsize=9.5, color=INK)
    ax.tick_params(length=3, color=FAINT, labelcolor=INK, labelsize=8.5, which="both")
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)
    ax.grid(True, color="#E8E8E8", linewidth=0.8)
    ax.set_axisbelow(True)


def time_ticks(ax: Axes) -> None:
    """Ticks of dates that do not overlap where a month begins, as every fourth day does: 29 and 1. After plotting."""
    from matplotlib.dates import DAILY, AutoDateLocator

    locator = ax.xaxis.get_major_locator()
    if isinstance(locator, AutoDateLocator):
        locator.intervald[DAILY] = [1, 7, 14]


def legend_above(ax: Axes, handles: Sequence[Artist] = (), labels: Sequence[str] = (), *, size: float = 8.5) -> float:
    """A legend between the title and the axes, in as many columns as fit; the axes become lower by its height.

    To be called when the title and the position of the axes are final.

    Args:
        ax: with a title at the left, as `style` gives it.
        handles, labels: of the legend; default: the labelled artists of the axes.
        size: of its text in points.

    Returns:
        The height of the legend in inches; 0 without labelled artists.
    """
    if not handles:
        handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return 0.0
    figure = figure_of(ax)
    room = ax.get_position().width * figure.get_size_inches()[0] + MARGIN
    at: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.0}
    columns, width = len(handles), math.inf
    while width > room and columns:
        legend = ax.legend(handles, labels, ncols=columns, **at, **legend_style(size))
        width, height = measured(figure, legend)
        columns = fewer(columns, room / width)
    make_room(ax, height)
    return height


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str], *, title: str = "") -> None:
    """A legend of all panels below them, in as many columns as fit; the figure becomes higher by its height."""
    across, down = figure.get_size_inches()
    columns, width = len(handles), math.inf
    while width > across and columns:
        for earlier in figure.legends:
            earlier.remove()
        legend = figure.legend(
            handles, labels, ncols=columns, title=title or None, loc="lower center", **legend_style()
        )
        width, height = measured(figure, legend)
        columns = fewer(columns, across / width)
    height += 0.1
    figure.set_size_inches(across, down + height)
    for ax in figure.axes:
        x, y, width, tall = ax.get_position().bounds
        ax.set_position((x, (y * down + height) / (down + height), width, tall * down / (down + height)))
    for text in figure.texts:
        text.set_y((text.get_position()[1] * down + height) / (down + height))


def fewer(columns: int, share: float) -> int:
    """The number of columns to try next, if ``share`` of the width of so many columns fits: each trial is measured.

    >>> fewer(10, 0.35), fewer(4, 0.99), fewer(1, 0.5)
    (4, 3, 0)
    """
    return min(columns - 1, max(1, round(columns * share)))


def legend_style(size: float = 8.5) -> dict[str, Any]:
    return {
        "borderpad": 0.2, "frameon": False, "fontsize": size, "labelcolor": INK, "handlelength": 1.5,
        "columnspacing": 1.3, "labelspacing": 0.3, "title_fontsize": size, "alignment": "left",
    }  # fmt: skip


def note_above(ax: Axes, text: str, *, size: float = 8.5) -> None:
    """A text of one or more lines between the title and the axes, which become lower by its height."""
    note = ax.annotate(
        text, (0.0, 1.0), (0.0, GAP), xycoords="axes fraction", textcoords="offset points", fontsize=size, color=INK,
        va="bottom", linespacing=1.3, annotation_clip=False,
    )  # fmt: skip
    make_room(ax, measured(figure_of(ax), note)[1] + 2 * GAP / 72)


def make_room(ax: Axes, height: float) -> None:
    """Lower the axes by ``height`` inches, and raise the title by as much above them."""
    place = ax.get_position()
    lowered = height / figure_of(ax).get_size_inches()[1]
    ax.set_position((place.x0, place.y0, place.width, max(place.height - lowered, 0.05 * place.height)))
    ax.set_title(ax.get_title(loc="left"), loc="left", pad=72 * height + GAP, fontsize=11, color=INK)


def measured(figure: Figure, artist: Artist) -> tuple[float, float]:
    """The width and height of an artist in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    from dlzoo.visualization.figures import missing_glyphs_as_boxes

    for text in artist.findobj(Text):
        text.set_parse_math(False)  # as in `figures.as_plain_text`: the formula in a name may be none
    with missing_glyphs_as_boxes():
        extent = artist.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    return extent.width / figure.dpi, extent.height / figure.dpi


def figure_of(ax: Axes) -> Figure:
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure


def legend_text(name: str) -> str:
    """A name as the label of an artist; matplotlib omits labels that begin with an underscore.

    >>> legend_text("cat"), legend_text("_cat")
    ('cat', ' _cat')
    """
    return f" {name}" if name.startswith("_") else name


def class_colours(num: int) -> list[Any]:
    """A colour for each of ``num`` classes, as different as so many can be."""
    from matplotlib import colormaps

    if num > 20:
        return [colormaps["hsv"](k / num) for k in range(num)]
    palette = colormaps["tab10" if num <= 10 else "tab20"]
    return [palette(k) for k in range(num)]


def shorten(text: str, max_items: int) -> str:
    return text if len(text) <= max_items else text[: max(max_items - 1, 1)].rstrip() + "…"


def truncated(text: str, max_items: int) -> str:
    """The text truncated to ``max_items`` characters, except after a tab."""
    head, _, tail = text.partition("\t")
    return f"{shorten(head, max_items - len(tail) - 2)}  {tail}" if tail else shorten(head, max_items)


def rgb(colour: str) -> list[int]:
    """The three channel values of '#rrggbb'."""
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
