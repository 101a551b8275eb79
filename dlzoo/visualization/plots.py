"""Figures of a run: every function returns a matplotlib `Figure`, without pyplot's global state; `save` writes it.

Tensors may live on any device. matplotlib is imported when the first figure is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.metrics.examples import class_labels
from dlzoo.utils import files
from dlzoo.visualization.layout import (
    DPI,
    INK,
    MAX_PANELS,
    RIGHT,
    TRAIN,
    VAL,
    WRONG,
    heading_of,
    new_figure,
    new_panels,
    note_above,
    rgb,
    shorten,
    style,
    truncated,
)

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MAX_WIDTH = 1600
"""Pixels of a row of images."""


def save(fig: Figure, path: str | Path) -> None:
    """Write a figure in the format of the path's suffix; a link of that name is replaced, not written through."""
    from dlzoo.visualization import figures

    with files.replaced(Path(path)) as temporary:
        figures.render(fig, temporary, Path(path).suffix[1:].lower())


# ------------------------------------------------------------------------------------------------ images


def image_grid(
    images: Tensor,
    titles: Sequence[str] = (),
    colours: Sequence[str] = (),
    *,
    heading: str = "",
    row_headings: Sequence[str] = (),
    num_columns: int = 8,
) -> Figure:
    """A grid of images, small ones enlarged by an integer factor.

    Args:
        images: (N, C, H, W) in [0, 1] or uint8; greyscale, RGB, or the mean of any other number of channels.
        titles: text above each image, of one or more lines; a long line is truncated, except after a tab.
        colours: of each title; an unusual one also frames the image.
        row_headings: text above each row, across its full width.
    """
    import numpy as np

    pixels = as_rgb(images)
    num, height, width, _ = pixels.shape
    columns = max(1, min(num_columns, num, MAX_WIDTH // width))
    gap, line = 14, 20  # pixels
    row_line = 26 if row_headings else 0
    top = gap + row_line + (34 if heading else 0)
    text_height = line * max((title.count("\n") + 1 for title in titles if title), default=0)
    step_y, step_x = row_line + text_height + height + gap, width + gap
    texts_width = max(11 * len(heading), *(10 * len(text) for text in row_headings), 0) + 2 * gap
    across = max(gap + step_x * columns, min(texts_width, MAX_WIDTH))
    canvas = np.full((top - row_line + step_y * -(-num // columns), across, 3), 255, dtype=np.uint8)
    fig = new_figure(canvas.shape[1] / DPI, canvas.shape[0] / DPI)
    for i in range(num):
        y, x = top + step_y * (i // columns) + text_height, gap + step_x * (i % columns)
        colour = colours[i] if colours else INK
        if colour not in (INK, RIGHT):
            canvas[y - 3 : y + height + 3, x - 3 : x + width + 3] = rgb(colour)
        canvas[y : y + height, x : x + width] = pixels[i]
        for up, text in enumerate(reversed(titles[i].split("\n")) if titles else ()):
            at = ((x + width / 2) / canvas.shape[1], 1 - (y - 8 - line * up) / canvas.shape[0])
            fig.text(*at, truncated(text, int(width / 9.4)), color=colour, fontsize=7.5, ha="center")
    for row, text in enumerate(row_headings):
        at = (gap / canvas.shape[1], 1 - (top - row_line + step_y * row) / canvas.shape[0])
        fig.text(*at, shorten(text, canvas.shape[1] // 10), fontsize=8.5, va="top", color=INK)
    if heading:
        at = (gap / canvas.shape[1], 1 - gap / canvas.shape[0])
        fig.text(*at, shorten(heading, canvas.shape[1] // 11), fontsize=10, va="top", color=INK)
    fig.figimage(canvas, origin="upper")  # pixel-exact, without resampling
    return fig


def as_rgb(images: Tensor) -> np.ndarray:
    """(N, C, H, W) -> uint8 (N, H', W', 3), enlarged by an integer factor to at least 140 pixels, or reduced to 256."""
    x = images.detach().cpu()
    x = (x.float() / 255 if x.dtype == torch.uint8 else x.float()).nan_to_num(0.0).clamp(0, 1)
    if x.shape[1] not in (1, 3):
        x = x.mean(1, keepdim=True)
    longest = max(x.shape[-2:])
    if longest > 256:
        x = F.interpolate(x, scale_factor=256 / longest, mode="area")
    else:
        factor = math.ceil(140 / longest)
        x = x.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    return x.mul(255).round().byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def predictions(
    images: Tensor,
    targets: Tensor,
    outputs: Tensor,
    names: Sequence[str],
    *,
    heading: str = "",
    num_columns: int = 8,
    with_probability: bool = True,
) -> Figure:
    """Each image with its predicted class and probability; mistakes in red, with the true class below.

    Args:
        images: (N, C, H, W) in [0, 1].
        targets: (N,) labels or (N, K) probabilities.
        outputs: (N, K) logits.
        names: the K classes.
        with_probability: the logits are those of probabilities, to be shown.
    """
    right = class_labels(targets).tolist()
    confidence, predicted = (t.tolist() for t in outputs.detach().float().softmax(1).max(1))
    wrong = [g != r for g, r in zip(predicted, right, strict=True)]
    titles = [
        names[g] + (f"\t{p:.0%}" if with_probability else "") + (f"\nis {names[r]}" if bad else "")
        for g, p, r, bad in zip(predicted, confidence, right, wrong, strict=True)
    ]
    colours = [WRONG if bad else RIGHT for bad in wrong]
    return image_grid(images, titles, colours, heading=heading, num_columns=num_columns)


def filters(weight: Tensor, *, heading: str = "", max_items: int = 64) -> Figure:
    """The first ``max_items`` kernels, each on its own scale: zero is grey, positive light, negative dark.

    Args:
        weight: (O, C, H, W), of a convolution, or of a linear layer reshaped to images.
    """
    w = weight.detach().cpu().float()[:max_items]
    if w.shape[1] not in (1, 3):
        w = w.mean(1, keepdim=True)
    largest = w.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    return image_grid(0.5 + w / (2 * largest), heading=heading)


# ------------------------------------------------------------------------------------------------ tests


def confusion_matrix(counts: Tensor, names: Sequence[str]) -> Figure:
    """Rows are the true classes, columns the predicted ones; the colour is the fraction of the row.

    Args:
        counts: (K, K) integers, written into the cells if there are at most 20 classes.
        names: of the K classes; beyond a hundred only some are shown.
    """
    from matplotlib.colors import PowerNorm

    counts = counts.detach().cpu().double()
    row_fractions = counts / counts.sum(1, keepdim=True).clamp(min=1)
    num, labels = len(names), [shorten(name, 18) for name in names]
    size = 8.5 if num <= 40 else 6.5 if num <= 70 else 5.5  # points
    upright = num > 40 or (num > 3 and max(map(len, labels)) > 3)
    # Laid out by hand in inches: matplotlib's layout engine would render the many labels four times.
    side = max(0.46 * num, 2.6) if num <= 20 else min(max(0.115 * num, 5.5), 11.5)
    text = max(map(len, labels)) * size * 0.62 / 72
    left, below, above, right = text + 0.5, (text if upright else 0.15) + 0.5, 0.5, 1.25
    width, height = left + side + right, below + side + above
    fig = new_figure(width, height)
    ax = fig.add_axes((left / width, below / height, side / width, side / height))
    colourbar_ax = fig.add_axes(
        ((left + side + 0.2) / width, (below + side / 5) / height, 0.12 / width, 0.6 * side / height)
    )
    # the square root makes the rare mistakes of a good net visible
    image = ax.imshow(row_fractions.numpy(), cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    every = -(-num // 100)
    ax.set_xticks(range(0, num, every), labels[::every], rotation=90 if upright else 0, fontsize=size)
    ax.set_yticks(range(0, num, every), labels[::every], fontsize=size)
    ax.tick_params(length=0, labelcolor=INK)
    ax.set_xlabel("predicted", color=INK)
    ax.set_ylabel("true", color=INK)
    total = counts.sum().item()
    accuracy = counts.diagonal().sum().item() / max(total, 1)
    ax.set_title(f"{accuracy:.2%} of {total:,.0f} correct", fontsize=11, color=INK, pad=8)
    ax.spines[:].set_visible(False)
    bar = fig.colorbar(image, cax=colourbar_ax, ticks=[0, 0.01, 0.05, 0.2, 0.5, 1])
    colourbar_ax.set_yticklabels(["0", "1%", "5%", "20%", "50%", "100%"], fontsize=8, color=INK)
    bar.set_label("fraction of the true class", fontsize=8.5, color=INK)
    bar.outline.set_visible(False)
    if num <= 20:
        write_counts(ax, counts, row_fractions)
    return fig


def write_counts(ax: Axes, counts: Tensor, row_fractions: Tensor) -> None:
    size = {1: 9.0, 2: 9.0, 3: 9.0, 4: 8.0, 5: 6.8}.get(len(f"{counts.max():.0f}"), 5.5)
    for i, j in counts.nonzero().tolist():
        colour = "white" if row_fractions[i, j] > 0.3 else INK
        ax.text(j, i, f"{counts[i, j]:.0f}", ha="center", va="center", fontsize=size, color=colour)


def predicted_against_true(pred: Tensor, true: Tensor, names: Sequence[str], units: Sequence[str] = ()) -> Figure:
    """A panel for each value, of many for the first: predicted against true values, the identity line, RMSE, MAE, R².

    Args:
        pred: (N, D), as ``true``.
        names: of the D values.
        units: of the D values, or empty.
    """
    pred, true = pred.detach().cpu().double().view(len(pred), -1), true.detach().cpu().double().view(len(true), -1)
    heading = heading_of(len(names), "values")
    fig, panels = new_panels(min(len(names), MAX_PANELS), width=4.65, height=4.9, left=0.9, heading=heading)
    for i, (ax, name) in enumerate(zip(panels, names, strict=False)):
        draw_predicted_against_true(ax, pred[:, i], true[:, i], name, units[i] if units else "")
    return fig


def draw_predicted_against_true(ax: Axes, pred: Tensor, true: Tensor, name: str, unit: str) -> None:
    suffix = f" ({unit})" if unit else ""
    style(ax, title=name.replace("_", " "), x=f"true{suffix}", y=f"predicted{suffix}")
    error = pred - true
    spread = (true - true.mean()).square().sum().item()
    low, high = shown_range(torch.cat([pred, true]))
    inside = (pred >= low) & (pred <= high) & (true >= low) & (true <= high)
    outside = len(pred) - int(inside.sum())
    measures = [f"RMSE {error.square().mean().sqrt():.4g}", f"MAE {error.abs().mean():.4g}"]
    measures += [f"R² {1 - error.square().sum().item() / spread:.4f}"] if spread > 0 else []
    lines = ["   ".join(measures)] + ([f"{outside:,} of {len(pred):,} not shown"] if outside else [])
    if len(pred) > 3000:
        from matplotlib import colormaps
        from matplotlib.colors import ListedColormap

        blues = ListedColormap(colormaps["Blues"](torch.linspace(0.25, 1, 256).numpy()))
        cells: dict[str, Any] = {"gridsize": 60, "extent": (low, high, low, high), "mincnt": 1, "linewidths": 0.1}
        ax.hexbin(true[inside].numpy(), pred[inside].numpy(), bins="log", cmap=blues, **cells)
    else:
        ax.scatter(true.numpy(), pred.numpy(), s=14, color=TRAIN, alpha=0.45, linewidths=0)
    ax.plot([low, high], [low, high], color=VAL, linewidth=1.4)
    ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    note_above(ax, "\n".join(lines))


def shown_range(values: Tensor) -> tuple[float, float]:
    """From the lowest to the highest value, without outliers that would squeeze the rest together."""
    values = values[values.isfinite()].sort().values
    if not len(values):
        return 0.0, 1.0
    low, high = values[0].item(), values[-1].item()
    cut = len(values) // 200
    inner_low, inner_high = values[cut].item(), values[-1 - cut].item()
    if high - low > 4 * (inner_high - inner_low) > 0:
        low, high = inner_low, inner_high
    pad = 0.04 * (high - low) or 0.5
    return low - pad, high + pad
