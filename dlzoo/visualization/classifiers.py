"""Figures of a classifier's probabilities: ROC, precision and recall, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import Tensor

from dlzoo.metrics.calibration import Reliability
from dlzoo.visualization.layout import (
    FAINT,
    TRAIN,
    VAL,
    class_colours,
    legend_above,
    legend_text,
    new_panels,
    note_above,
    shorten,
    style,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Detection(NamedTuple):
    """How well a score separates the rows of a class from all others."""

    name: str
    roc: tuple[np.ndarray, np.ndarray]
    """False and true positive rates."""
    area: float
    """Under the ROC curve."""
    precision_recall: tuple[np.ndarray, np.ndarray]
    """Recalls and precisions."""
    average_precision: float


def detections(scores: Tensor, is_class: Tensor, names: Sequence[str]) -> list[Detection]:
    """Each class against the rest; classes that all rows or no rows have are omitted, as are rows that are not finite.

    Args:
        scores: (N, K) probabilities.
        is_class: (N, K), whether the row is of the class.
        names: of the K classes.
    """
    from sklearn import metrics

    finite = scores.isfinite().all(1).cpu()
    found = []
    for name, score, true in zip(
        names, scores.cpu()[finite].double().numpy().T, is_class.cpu()[finite].numpy().T, strict=True
    ):
        if not 0 < true.sum() < len(true):
            continue
        false_rates, true_rates, _ = metrics.roc_curve(true, score)
        precisions, recalls, _ = metrics.precision_recall_curve(true, score, drop_intermediate=True)
        area, average = metrics.auc(false_rates, true_rates), metrics.average_precision_score(true, score)
        found.append(Detection(name, (false_rates, true_rates), area, (recalls, precisions), float(average)))
    return found


def roc_and_precision_recall(found: Sequence[Detection], num_rows: int) -> Figure:
    """A curve of each class in two panels, with the area under it in the legend.

    Args:
        found: at least one.
        num_rows: that were tested.
    """
    fig, (roc, recall) = new_panels(2, width=5.4, height=5.2)
    rest = "each class against the rest" if len(found) > 1 else f"class {shorten(found[0].name, 24)}"
    style(roc, title=f"ROC of {rest}", x="false positive rate", y="true positive rate")
    style(recall, title=f"precision and recall, {num_rows:,} test rows", x="recall", y="precision")
    roc.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)))
    colours = class_colours(len(found)) if len(found) > 1 else [TRAIN]
    for each, colour in zip(found, colours, strict=True):
        name = shorten(each.name, 16)
        roc.plot(*each.roc, color=colour, linewidth=1.6, label=legend_text(f"{name}: AUC {each.area:.4f}"))
        label = legend_text(f"{name}: AP {each.average_precision:.4f}")
        recall.step(*each.precision_recall, where="post", color=colour, linewidth=1.6, label=label)
    for ax in (roc, recall):
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        legend_above(ax, size=8)
    return fig


def calibration(bins: Reliability) -> Figure:
    """Reliability diagram: accuracy by confidence, and how many predictions are made with which confidence."""
    from matplotlib.ticker import PercentFormatter

    fig, (diagram, histogram) = new_panels(2, width=4.7, height=4.4)
    style(diagram, title="calibration", x="confidence", y="accuracy")
    style(histogram, title="confidence of predictions", x="confidence", y="fraction of test rows")
    edges, counts = bins.edges.numpy(), bins.counts.numpy()
    widths, is_used = np.diff(edges), counts > 0
    options: dict[str, Any] = {"align": "edge", "edgecolor": "white", "linewidth": 0.8}
    diagram.bar(
        edges[:-1][is_used], bins.accuracy.numpy()[is_used], widths[is_used], color=TRAIN, alpha=0.55,
        label="accuracy", **options,
    )  # fmt: skip
    diagram.plot(
        bins.confidence.numpy()[is_used], bins.accuracy.numpy()[is_used], "o", color=TRAIN, markersize=5,
        label="at the mean confidence",
    )  # fmt: skip
    diagram.plot([0, 1], [0, 1], color=VAL, linewidth=1.4, label="calibrated")
    legend_above(diagram)
    histogram.bar(edges[:-1], counts / max(counts.sum(), 1), widths, color=TRAIN, alpha=0.55, **options)
    note_above(histogram, f"expected calibration error {bins.expected_error:.2%} of {counts.sum():,.0f} test rows")
    for ax in (diagram, histogram):
        ax.set(xlim=(0, 1), ylim=(0, 1.02))
        ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return fig
