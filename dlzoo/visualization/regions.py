"""Figures of what a model of two features predicts over their plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlzoo.visualization.layout import (
    FAINT,
    INK,
    MAX_PANELS,
    WRONG,
    class_colours,
    heading_of,
    legend_above,
    legend_text,
    new_panels,
    shorten,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 160
"""Points of the grid along each feature."""


class Plane(NamedTuple):
    """Points on a regular grid over the plane of two features."""

    across: Tensor
    """(S,) values of the first feature."""
    up: Tensor
    """(S,) values of the second."""

    @classmethod
    def around(cls, points: Tensor, side: int = SIDE) -> Plane:
        """The plane around points (N, 2), with a margin.

        Args:
            side: points of the grid along each feature.
        """
        low, high = points.double().amin(0), points.double().amax(0)
        margin = torch.where(high > low, 0.08 * (high - low), 0.5)
        first, second = (
            torch.linspace(float(a), float(b), side) for a, b in zip(low - margin, high + margin, strict=True)
        )
        return cls(first, second)

    def predictions(self, predict: Callable[[Tensor], Tensor]) -> Tensor:
        """What a model predicts at the points of the grid: (S, S, …), the second feature first."""
        up, across = torch.meshgrid(self.up, self.across, indexing="ij")
        rows = torch.stack([across.flatten(), up.flatten()], 1)
        return torch.cat([predict(part) for part in rows.split(4096)]).unflatten(0, (len(up), len(across)))

    @property
    def extent(self) -> tuple[float, float, float, float]:
        return float(self.across[0]), float(self.across[-1]), float(self.up[0]), float(self.up[-1])


def class_regions(
    plane: Plane, probabilities: Tensor, points: Tensor, *,
    features: Sequence[str], names: Sequence[str], labels: Tensor | None, wrong: Tensor | None = None,
) -> Figure:  # fmt: skip
    """Regions by predicted class, the paler the less certain, and test points by true class; mistakes are ringed.

    Args:
        probabilities: (SIDE, SIDE, K), from `Plane.predictions`.
        points: (N, 2)
        features: the names of both.
        names: of the K classes.
        labels: (N,) true classes; None if what is predicted are not the classes of the data, as with clusters.
        wrong: (N,), whether the model mistakes a point, if there are labels.
    """
    fig, (ax,) = new_panels(1, width=6.0, height=5.6, left=0.9)
    what = "predicted class" if labels is not None else "clusters"
    style(ax, title=f"{what}, and {len(points):,} test points", x=features[0], y=features[1])
    confidence, predicted = probabilities.float().cpu().nan_to_num(0.0).max(2)
    colours = np.array([colour_of(colour) for colour in class_colours(len(names))])
    chance = 1 / max(len(names), 2)
    depth = 0.12 + 0.4 * ((confidence.clamp(chance, 1) - chance) / (1 - chance)).numpy()[..., None]
    shown = ((1 - depth) + depth * colours[predicted.numpy()]).clip(0, 1)
    ax.imshow(shown, extent=plane.extent, origin="lower", aspect="auto", interpolation="nearest")
    for k in predicted.unique().tolist() if len(names) <= 20 else []:
        if not (predicted == k).all():
            ax.contour(plane.across, plane.up, lead_of(probabilities, k), [0.0], colors=INK, linewidths=0.6)
    draw_points(ax, points, colours, names, labels, wrong)
    ax.grid(False)
    if len(names) <= 20:
        legend_above(ax)
    return fig


def lead_of(probabilities: Tensor, k: int) -> np.ndarray:
    """By how much class k is more probable than the most probable other class: 0 on its boundary."""
    others = probabilities.float().cpu().nan_to_num(0.0).clone()
    own = others[..., k].clone()
    others[..., k] = -1.0
    return (own - others.amax(-1)).numpy()


def draw_points(
    ax: Axes, points: Tensor, colours: np.ndarray, names: Sequence[str], labels: Tensor | None, wrong: Tensor | None
) -> None:  # fmt: skip
    across, up = points.double().cpu().T.numpy()
    if labels is None:
        ax.scatter(across, up, s=12, color=INK, linewidths=0, alpha=0.7)
        for name, colour in zip(names, colours, strict=True):
            ax.scatter([], [], s=40, color=[colour], marker="s", label=legend_text(shorten(name, 24)))
        return
    wrong = torch.zeros(len(points), dtype=torch.bool) if wrong is None else wrong.cpu()
    for k, name in enumerate(names):
        rows = (labels.cpu() == k).numpy()
        edges = [WRONG if bad else "white" for bad in wrong[rows].tolist()]
        ax.scatter(across[rows], up[rows], s=26, color=[colours[k]], edgecolors=edges, linewidths=1.0)
        ax.scatter([], [], s=26, color=[colours[k]], label=legend_text(shorten(name, 24)))
    if wrong.any():
        label = f"mistakes: {int(wrong.sum()):,}"
        ax.scatter([], [], s=26, facecolors="none", edgecolors=WRONG, linewidths=1.2, label=label)


def value_surfaces(
    plane: Plane, predictions: Tensor, points: Tensor, truth: Tensor, *, features: Sequence[str], names: Sequence[str]
) -> Figure:
    """A panel for each value, of many for the first ones: the prediction as colour, and test points in the colour of
    their true value.

    Args:
        predictions: (SIDE, SIDE, D), from `Plane.predictions`.
        points: (N, 2)
        truth: (N, D)
        features: the names of both.
        names: of the D values.
    """
    heading = heading_of(len(names), "values")
    fig, panels = new_panels(min(len(names), MAX_PANELS), width=6.0, height=5.2, left=0.9, heading=heading)
    across, up = points.double().cpu().T.numpy()
    for d, (ax, name) in enumerate(zip(panels, names, strict=False)):
        title = f"{shorten(name, 30)}: predicted, and {len(points):,} test points"
        style(ax, title=title, x=features[0], y=features[1])
        surface, true = predictions[..., d].double().cpu().numpy(), truth[:, d].double().cpu().numpy()
        finite = np.concatenate([surface[np.isfinite(surface)], true[np.isfinite(true)]])
        low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
        scale: dict[str, Any] = {"cmap": "viridis", "vmin": low, "vmax": max(high, low + 1e-12)}
        image = ax.imshow(
            surface, extent=plane.extent, origin="lower", aspect="auto", interpolation="bilinear", **scale
        )
        ax.scatter(across, up, s=26, c=true, edgecolors="white", linewidths=0.8, **scale)
        ax.grid(False)
        place, inch = ax.get_position(), 1 / fig.get_size_inches()[0]
        ax.set_position((place.x0, place.y0, place.width - 0.7 * inch, place.height))
        bar = fig.colorbar(image, cax=fig.add_axes((place.x1 - 0.55 * inch, place.y0, 0.15 * inch, place.height)))
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=3, color=FAINT, labelcolor=INK, labelsize=8.5)
    return fig


def colour_of(colour: object) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(colour)  # type: ignore[arg-type]
