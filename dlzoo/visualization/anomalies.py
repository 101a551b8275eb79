"""Figures of a search for anomalies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from dlzoo.metrics.anomalies import event_numbers
from dlzoo.specs.inputs import SeriesSpec
from dlzoo.visualization.layout import INK, TRAIN, VAL, WRONG, legend_above, new_panels, style, time_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_COLUMNS = 5


def errors(
    spec: SeriesSpec, times: Any, values: Tensor, error: Tensor, threshold: float, marks: Tensor | None
) -> Figure:
    """A panel for each column with the steps that were found, and one for the errors with the threshold.

    Args:
        times: of the H steps.
        values: (H, D) raw.
        error: (H,)
        marks: (H,) bool, the true anomalies, or None.
    """
    num = min(spec.num_columns, MAX_COLUMNS)
    fig, panels = new_panels(num + 1, width=11, height=2.9, left=0.9, columns=1)
    found, e = (error > threshold).numpy(), error.numpy()
    for d, ax in enumerate(panels[:num]):
        style(ax, title=spec.target.names[d].replace("_", " "), y=spec.target.units[d] if spec.target.units else "")
        column = values[:, d].numpy()
        ax.plot(times, column, color=INK, linewidth=1.0)
        if marks is not None and marks.any():
            half, numbers = (times[1] - times[0]) / 2, event_numbers(marks).numpy()
            for number in range(1, numbers.max() + 1):
                steps = np.flatnonzero((numbers == number) & marks.numpy())
                ends = times[steps[0]] - half, times[steps[-1]] + half  # half a step to both sides: it may be one alone
                ax.axvspan(*ends, color=VAL, alpha=0.35, linewidth=0, label="marked" if number == 1 else None)
        time_ticks(ax)
        ax.plot(times[found], column[found], "o", color=WRONG, markersize=4, label=f"found: {found.sum():,}")
        legend_above(ax)
    ax = panels[num]
    style(ax, title="error of each step")
    ax.plot(times, np.maximum(e, 1e-12), color=TRAIN, linewidth=1.0)
    time_ticks(ax)
    ax.axhline(threshold, color=WRONG, linewidth=1.2, label=f"threshold {threshold:.3g}")
    ax.set_yscale("log")
    ax.set_ylim(bottom=max(float(np.quantile(e, 0.02)), 1e-12))
    legend_above(ax)
    return fig


def precision_recall(error: Tensor, marks: Tensor, threshold: float) -> Figure:
    """Precision over recall at all thresholds, with the one that is used; error: (H,), marks: (H,) bool."""
    from sklearn import metrics

    true, score = marks.numpy(), error.numpy()
    precisions, recalls, _ = metrics.precision_recall_curve(true, score, drop_intermediate=True)
    fig, (ax,) = new_panels(1, width=5.4, height=5.0)
    style(ax, title=f"anomalies among {len(true):,} steps", x="recall", y="precision")
    average = metrics.average_precision_score(true, score)
    ax.step(recalls, precisions, where="post", color=TRAIN, linewidth=1.6, label=f"average precision {average:.3f}")
    found = score > threshold
    if found.any():
        hits = (found & true).sum()
        ax.plot(hits / true.sum(), hits / found.sum(), "o", color=WRONG, label=f"threshold {threshold:.3g}")
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    legend_above(ax)
    return fig
