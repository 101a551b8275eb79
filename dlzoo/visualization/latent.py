"""Figures of latents, and of the training of a generator and a discriminator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlzoo.metrics.examples import class_labels
from dlzoo.visualization.curves import curve, whole_epochs
from dlzoo.visualization.layout import (
    FAINT,
    INK,
    TRAIN,
    VAL,
    class_colours,
    legend_above,
    legend_text,
    new_figure,
    new_panels,
    shorten,
    style,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def latent_space(latents: Tensor, labels: Tensor, names: Sequence[str]) -> Figure:
    """Latents as points coloured by class, or by value if there are no names.

    Args:
        latents: (N, D); more than two dimensions are projected to two by PCA, a single one is plotted against itself.
        labels: (N,) or (N, K) classes, or (N, D) values, of which the first is shown.
        names: of the classes.
    """
    finite = latents.isfinite().flatten(1).all(1)
    points, axes = planar(latents[finite])
    return map_of(points, labels[finite], names, title=f"latents of {len(points):,} test images", axes=axes)


def map_of(
    points: Tensor, labels: Tensor, names: Sequence[str], *, title: str, axes: tuple[str, str] | None = None
) -> Figure:
    """Points (N, 2) coloured by class, or by value if there are no names; labels as of `latent_space`.

    Args:
        axes: their labels; None: the axes mean nothing, as those of t-SNE.
    """
    fig = new_figure(7.6, 6.0, layout="constrained")
    ax = fig.add_subplot()
    style(ax, title=title, x=axes[0] if axes else "", y=axes[1] if axes else "")
    if axes is None:
        ax.tick_params(length=0, labelbottom=False, labelleft=False)
    shown: dict[str, Any] = {"s": 9, "linewidths": 0, "alpha": 0.75}
    if not names:
        across, down = points.T.numpy()
        scatter = ax.scatter(across, down, c=first_values(labels).cpu().numpy(), cmap="viridis", **shown)
        fig.colorbar(scatter, ax=ax, pad=0.02)
        return fig
    classes = class_labels(labels).cpu()
    for k, (name, colour) in enumerate(zip(names, class_colours(len(names)), strict=True)):
        ax.scatter(*points[classes == k].T.numpy(), color=[colour], label=legend_text(shorten(name, 24)), **shown)
    if len(names) <= 40:
        ax.legend(
            loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8.5, labelcolor=INK, frameon=False, markerscale=2
        )
    return fig


def first_values(labels: Tensor) -> Tensor:
    """(N,) values as they are, or the first ones of (N, K)."""
    return labels.flatten(1)[:, 0] if labels.ndim > 1 else labels


def planar(latents: Tensor) -> tuple[Tensor, tuple[str, str]]:
    """The latents projected to (N, 2), and the axis labels."""
    flat = latents.detach().float().cpu().flatten(1)
    if not (flat != flat[:1]).any():  # they have no principal components
        return torch.zeros(len(flat), 2), ("latent", "latent")
    if flat.shape[1] == 1:
        return flat.expand(-1, 2), ("latent", "latent")
    if flat.shape[1] == 2:
        return flat, ("first latent dimension", "second latent dimension")
    from sklearn.decomposition import PCA

    pca = PCA(2, random_state=0)
    points = torch.from_numpy(pca.fit_transform(flat.numpy()))
    first, second = (
        f"{which} principal component ({fraction:.0%} of the variance)"
        for which, fraction in zip(("first", "second"), pca.explained_variance_ratio_, strict=True)
    )
    return points, (first, second)


def t_sne(features: Tensor, *, perplexity: float = 30.0) -> np.ndarray:
    """Features (N, D) -> (N, 2), the same in each call; more than fifty features are projected by PCA before."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    rows = features.detach().double().cpu().numpy()
    rows = (rows - rows.mean(0)) / max(rows.std(), 1e-300)  # large values would overflow in its single precision
    if min(rows.shape) > 50:
        rows = PCA(50, random_state=0).fit_transform(rows)
    tsne = TSNE(perplexity=min(perplexity, (len(rows) - 1) / 3), init="pca", random_state=0)
    return tsne.fit_transform(rows).astype(np.float32)


def adversaries(rows: Sequence[Mapping[str, float]], *, heading: str = "") -> Figure:
    """The losses of generator and discriminator, and the discriminator's output for real and generated images.

    Args:
        rows: one mapping per epoch, with ``train/generator_loss``, ``train/discriminator_loss``, ``train/d_real`` and
            ``train/d_fake``.
        heading: the name of the run.
    """
    fig, (losses, scores) = new_panels(2, width=5.2, height=3.4, heading=heading)
    style(losses, title="losses", x="epoch")
    style(scores, title="the discriminator's mean output", x="epoch")
    for ax, key, label, colour in (
        (losses, "generator_loss", "generator", VAL),
        (losses, "discriminator_loss", "discriminator", TRAIN),
        (scores, "d_real", "D(x), real", TRAIN),
        (scores, "d_fake", "D(G(z)), generated", VAL),
    ):
        epochs, values = curve(rows, f"train/{key}")
        marker = "o" if len(epochs) <= 30 else ""
        ax.plot(epochs, values, color=colour, label=label, linewidth=1.8, marker=marker, markersize=3.5)
    for ax in (losses, scores):
        if rows:
            whole_epochs(ax, [float(row["epoch"]) for row in rows])
        legend_above(ax)
    _, values = curve(rows, "train/d_real")
    if all(0 <= v <= 1 for v in values):  # a critic's scores are unbounded
        scores.set_ylim(-0.03, 1.03)
        scores.axhline(0.5, color=FAINT, linewidth=1.0, linestyle=(0, (4, 3)))
    return fig


def class_fractions(generated: Tensor, real: Tensor, names: Sequence[str]) -> Figure:
    """The class distribution of generated and real images according to a classifier. generated, real: (K,)"""
    from matplotlib.ticker import PercentFormatter

    fig, (ax,) = new_panels(1, width=min(max(3.5, 0.62 * len(names) + 1.2), 16), height=3.6)
    style(ax, title="classes among samples", x="class predicted by LeNet")
    places = torch.arange(len(names)).numpy()
    ax.bar(places - 0.2, generated.cpu().numpy(), width=0.4, color=VAL, label="samples")
    ax.bar(places + 0.2, real.cpu().numpy(), width=0.4, color=TRAIN, label="test images")
    ax.set_xticks(places, [shorten(name, 12) for name in names], rotation=0 if max(map(len, names)) < 3 else 60)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    legend_above(ax)
    return fig
