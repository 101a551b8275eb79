"""Figures that interpret a trained net: feature maps, Grad-CAM heatmaps, accuracy by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.inference.activations import Layer
from dlzoo.inference.recognition import ranked, share_right
from dlzoo.visualization.layout import FAINT, INK, RIGHT, TRAIN, WRONG, new_figure, shorten, style
from dlzoo.visualization.plots import MAX_WIDTH, as_rgb, image_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 140
"""Pixels of the longer side of each map of a layer, however small the map."""


def feature_maps(x: Tensor, layers: Sequence[Layer], *, max_items: int = 8, title: str = "") -> Figure:
    """The image, and below it a row of maps for each layer, each scaled from its minimum (black) to its maximum.

    Args:
        x: (1, C, H, W) in [0, 1].
        layers: their maps are (1, C', H', W').
        max_items: maps shown per layer: those that vary most over the image.
    """
    shown, titles, headings = [fitted(x)], [title], ["input image"]
    blank = torch.ones_like(shown[0][:1, :1])
    for layer in layers:
        maps = layer.maps[0].float().cpu()
        picked = maps.flatten(1).std(1, correction=0).topk(min(max_items, len(maps))).indices.sort().values
        low, high = (extreme.view(-1, 1, 1, 1) for extreme in (maps[picked].amin((1, 2)), maps[picked].amax((1, 2))))
        shown.append(fitted((maps[picked, None] - low) / (high - low).clamp(min=1e-12)))
        titles += [f"#{k}" for k in picked.tolist()]
        headings.append(layer.describe())
    columns = max(len(row) for row in shown)
    rows = [torch.cat([row.expand(-1, 3, -1, -1), blank.expand(columns - len(row), 3, -1, -1)]) for row in shown]
    per_row: list[str] = []
    for row in shown:
        per_row += [*titles[: len(row)], *[""] * (columns - len(row))]
        del titles[: len(row)]
    return image_grid(torch.cat(rows), per_row, row_headings=headings, num_columns=columns)


def fitted(maps: Tensor) -> Tensor:
    """Resize (N, C, H, W) to a longer side of 140 pixels: small maps keep square pixels, large ones are averaged."""
    height, width = maps.shape[2:]
    size = [max(1, round(SIDE * side / max(height, width))) for side in (height, width)]
    if max(height, width) > SIDE:
        return F.interpolate(maps, size, mode="area")
    return F.interpolate(maps, size, mode="nearest-exact")


def overlaid(images: Tensor, heat: Tensor) -> Tensor:
    """Overlay heatmaps (N, H, W) on images (N, C, H, W) in [0, 1] -> (N, 3, H', W'), enlarged as by `as_rgb`.

    Each heatmap is scaled from zero to its maximum.
    """
    from matplotlib import colormaps

    pixels = torch.from_numpy(as_rgb(images)).permute(0, 3, 1, 2).float() / 255
    heat = F.interpolate(heat[:, None].float().cpu(), pixels.shape[2:], mode="bilinear")
    heat = heat / heat.amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    colour = torch.from_numpy(colormaps["inferno"](heat[:, 0].numpy())[..., :3]).permute(0, 3, 1, 2).float()
    return pixels.lerp(colour, 0.75 * heat)


def grad_cam(
    images: Tensor, heat: Tensor, titles: Sequence[Sequence[str]], wrong: Sequence[Sequence[bool]], *,
    heading: str = "", row_headings: Sequence[str] = (), num_columns: int | None = None,
) -> Figure:  # fmt: skip
    """Each image, followed by the same image with the heatmaps of some classes.

    Args:
        images: (N, C, H, W) in [0, 1].
        heat: (N, K, H, W), non-negative.
        titles: of each image and of its K heatmaps.
        wrong: which of them to highlight.
        num_columns: of the grid; None: one image with its heatmaps per row.
    """
    num, num_classes = heat.shape[:2]
    hot = overlaid(images.repeat_interleave(num_classes, 0), heat.flatten(0, 1))
    plain = overlaid(images, torch.zeros(num, 1, 1))
    cells = torch.cat([plain[:, None], hot.unflatten(0, (num, num_classes))], 1).flatten(0, 1)
    colours = [WRONG if bad else RIGHT for row in wrong for bad in row]
    columns = 1 + num_classes if num_columns is None else num_columns
    texts = [text for row in titles for text in row]
    return image_grid(cells, texts, colours, heading=heading, row_headings=row_headings, num_columns=columns)


def mistakes(
    images: Tensor, heat: Tensor, titles: Sequence[tuple[str, str, str]], *, heading: str = "", max_per_row: int = 3
) -> Figure:
    """Misclassified images, each with the heatmaps of the predicted and the true class.

    Args:
        images: (N, C, H, W) in [0, 1].
        heat: (N, 2, H, W), non-negative.
        titles: of each image and of its heatmaps.
    """
    per_row = max(1, min(max_per_row, MAX_WIDTH // (3 * as_rgb(images[:1]).shape[2])))
    wrong = [(True, False, False)] * len(images)
    return grad_cam(images, heat, titles, wrong, heading=heading, num_columns=3 * per_row)


def class_accuracies(counts: Tensor, names: Sequence[str], *, max_items: int = 24) -> Figure:
    """The accuracy of each class, best first, and its most frequent confusions.

    Args:
        counts: (K, K); rows are the true classes, columns the predicted ones.
        max_items: classes shown: the best and the worst.
    """
    from matplotlib.ticker import PercentFormatter

    order, accuracies = ranked(counts)
    num_omitted = max(0, len(order) - max_items)
    shown = [*order[: -(-max_items // 2)], *order[len(order) - max_items // 2 :]] if num_omitted else order
    labels, others = [shorten(names[k], 22) for k in shown], [confusions(counts[k], names, k) for k in shown]
    left, plot, right = (0.35 + 0.075 * max(map(len, labels)), 3.8, 0.4 + 0.07 * max(map(len, others)))  # inches
    below, rows, above = 0.55, 0.26 * len(shown), 0.45
    width, height = left + plot + right, below + rows + above
    fig = new_figure(width, height)
    ax = fig.add_axes((left / width, below / height, plot / width, rows / height))
    num, overall_accuracy = int(counts.sum()), share_right(counts)
    between = f"; {num_omitted:,} classes in between are not shown" if num_omitted else ""
    style(
        ax,
        title=f"{overall_accuracy:.2%} of {num:,} correct{between}",
        x="accuracy of the class; dashed: of all images",
    )
    low = axis_start(accuracies[shown[-1]])
    right_margin = ax.get_yaxis_transform()
    for y, k in enumerate(shown):
        ax.plot([overall_accuracy, accuracies[k]], [y, y], color=FAINT, linewidth=1)
        ax.plot(accuracies[k], y, "o", color=TRAIN, markersize=5, clip_on=False)
        ax.text(1.05, y, others[y], transform=right_margin, fontsize=8, va="center", color=INK)
    ax.axvline(overall_accuracy, color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    ax.set_yticks(range(len(shown)), labels)
    ax.set(xlim=(low, 1.0), ylim=(len(shown) - 0.5, -0.5))
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return fig


def axis_start(lowest: float) -> float:
    """Where an axis of accuracies up to 100% starts: a multiple of 5% below the lowest one, at most 95%.

    >>> [axis_start(x) for x in (0.0, 0.12, 0.97, 1.0)]
    [0.0, 0.1, 0.95, 0.95]
    """
    return max(0, min(math.ceil(20 * lowest) - 1, 19)) / 20


def confusions(row: Tensor, names: Sequence[str], true_class: int, max_items: int = 2) -> str:
    """The accuracy and the main confusions of a class, as '97.32% of 1,009; else 4 (9), 8 (7)'."""
    others = row.clone()
    others[true_class] = 0
    best = others.topk(min(max_items, len(row)))
    text = f"{row[true_class] / row.sum():.2%} of {row.sum():,}"
    parts = [f"{shorten(names[k], 16)} ({n:,})" for n, k in zip(*(t.tolist() for t in best), strict=True) if n]
    return text + (f"; else {', '.join(parts)}" if parts else "")
