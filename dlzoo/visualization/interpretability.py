"""Pictures of what a trained net does: maps of its layers, where it looks, which classes it knows. As pictures.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.inference.activations import Layer
from dlzoo.inference.recognition import ranked, share_right
from dlzoo.visualization.plots import DPI, FAINT, INK, RIGHT, TRAIN, WRONG, as_rgb, image_grid, shorten, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 140
"""Pixels of the longer side of each map of a layer, however small the map."""
WIDEST = 1600
"""Pixels of a row of pictures, as in `image_grid`."""


def feature_maps(x: Tensor, layers: Sequence[Layer], *, most: int = 8, title: str = "") -> Figure:
    """The picture, and below it a row for each layer: its maps, each from its smallest value, black, to its largest.

    Args:
        x: (1, C, H, W) in [0, 1].
        layers: their maps are (1, C', H', W').
        most: maps of a layer; of more, those that vary most over the picture.
    """
    shown, titles, headings = [fitted(x)], [title], ["the picture"]
    blank = torch.ones_like(shown[0][:1, :1])
    for layer in layers:
        maps = layer.maps[0].float().cpu()
        picked = maps.flatten(1).std(1, correction=0).topk(min(most, len(maps))).indices.sort().values
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
    """(N, C, H, W) with a longer side of 140 pixels: small ones keep their square pixels, large ones are averaged."""
    height, width = maps.shape[2:]
    size = [max(1, round(SIDE * side / max(height, width))) for side in (height, width)]
    if max(height, width) > SIDE:
        return F.interpolate(maps, size, mode="area")
    return F.interpolate(maps, size, mode="nearest-exact")


def overlaid(images: Tensor, heat: Tensor) -> Tensor:
    """Pictures (N, C, H, W) in [0, 1] with their heat (N, H, W) over them -> (N, 3, H', W'), enlarged as `as_rgb` does.

    Each heat is shown on its own scale, from nothing to its largest value.
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
    """Each picture, and beside it the same with the heat of some classes.

    Args:
        images: (N, C, H, W) in [0, 1].
        heat: (N, K, H, W), not negative.
        titles: of each picture and of its K heats.
        wrong: which of them are to stand out.
        num_columns: of the grid; None is one picture with its heats a row.
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
    images: Tensor, heat: Tensor, titles: Sequence[tuple[str, str, str]], *, heading: str = "", most_in_a_row: int = 3
) -> Figure:
    """Wrongly recognised pictures, each with the heat of the class given and that of the true one.

    Args:
        images: (N, C, H, W) in [0, 1].
        heat: (N, 2, H, W), not negative.
        titles: of each picture and of its heats.
    """
    in_a_row = max(1, min(most_in_a_row, WIDEST // (3 * as_rgb(images[:1]).shape[2])))
    wrong = [(True, False, False)] * len(images)
    return grad_cam(images, heat, titles, wrong, heading=heading, num_columns=3 * in_a_row)


def class_accuracies(counts: Tensor, names: Sequence[str], *, most: int = 24) -> Figure:
    """For each class the share of its pictures that is recognised, the best first, and what the others are taken for.

    Args:
        counts: (K, K); rows are the true classes, columns the predicted ones.
        most: classes shown; of more, the best and the worst.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    order, shares = ranked(counts)
    left_out = max(0, len(order) - most)
    shown = [*order[: -(-most // 2)], *order[len(order) - most // 2 :]] if left_out else order
    labels, others = [shorten(names[k], 22) for k in shown], [confusions(counts[k], names, k) for k in shown]
    left, plot, right = (0.35 + 0.075 * max(map(len, labels)), 3.8, 0.4 + 0.07 * max(map(len, others)))  # inches
    below, rows, above = 0.4, 0.26 * len(shown), 0.45
    width, height = left + plot + right, below + rows + above
    fig = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    ax = fig.add_axes((left / width, below / height, plot / width, rows / height))
    num, all_right = int(counts.sum()), share_right(counts)
    between = f"; {left_out:,} classes between are not shown" if left_out else ""
    style(ax, title=f"{all_right:.2%} of {num:,} right{between}")
    lowest = shares[shown[-1]]
    low = max(0.0, lowest - 0.1 * (1 - lowest) - 0.002)
    beside = ax.get_yaxis_transform()
    for y, k in enumerate(shown):
        ax.plot([low, shares[k]], [y, y], color=FAINT, linewidth=1)
        ax.plot(shares[k], y, "o", color=TRAIN, markersize=5, clip_on=False)
        ax.text(1.05, y, others[y], transform=beside, fontsize=8, va="center", color=INK)
    ax.axvline(all_right, color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    ax.set_yticks(range(len(shown)), labels)
    ax.set(xlim=(low, 1.0), ylim=(len(shown) - 0.5, -0.5))
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0 if 1 - low > 0.05 else 1))
    return fig


def confusions(row: Tensor, names: Sequence[str], own: int, most: int = 2) -> str:
    """What the pictures of a class were taken for, as '97.32% of 1,009; else 4 (9), 8 (7)'."""
    others = row.clone()
    others[own] = 0
    best = others.topk(min(most, len(row)))
    text = f"{row[own] / row.sum():.2%} of {row.sum():,}"
    parts = [f"{shorten(names[k], 16)} ({n:,})" for n, k in zip(*(t.tolist() for t in best), strict=True) if n]
    return text + (f"; else {', '.join(parts)}" if parts else "")
