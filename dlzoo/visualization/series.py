"""Figures of forecasts and of gradients over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlzoo.specs import frequency
from dlzoo.specs.inputs import SeriesSpec
from dlzoo.visualization.layout import FAINT, INK, TRAIN, VAL, WRONG, legend_above, new_panels, style, time_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OTHERS = ("#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Colours of Okabe & Ito's palette for the baselines and other nets."""
MAX_COLUMNS = 6
SEASONS_BEFORE = 4


class Band(NamedTuple):
    """Mean and standard deviation of several forecasts, (H, D) each."""

    mean: Tensor
    std: Tensor
    num: int


def forecast(
    spec: SeriesSpec, history: Tensor, predicted: Tensor | Band, *,
    truth: Tensor | None = None, baselines: Mapping[str, Tensor] | None = None, start: str | None = None,
    quantiles: Tensor | None = None,
) -> Figure:  # fmt: skip
    """A panel for each column: the last seasons, the true values if known, the forecast and the baselines.

    Args:
        history: (N, D) raw values before the forecast.
        predicted: (H, D), or a `Band` over several nets: the mean with one standard deviation.
        truth: (H, D).
        baselines: (H, D) by method.
        start: the time of the first row; None: that of the spec.
        quantiles: (H, D, Q), at the levels of the spec.
    """
    mean = predicted.mean if isinstance(predicted, Band) else predicted
    num_known, horizon = len(history), len(mean)
    times: Any = frequency.times(spec.start if start is None else start, spec.frequency, num_known + horizon)
    first = max(0, num_known - max(SEASONS_BEFORE * spec.period, 4 * horizon))
    true = history if truth is None else torch.cat([history, truth])
    known, after = times[first : len(true)], times[num_known:]
    fig, panels = new_panels(min(spec.num_columns, MAX_COLUMNS), width=10, height=3.8, left=0.9, columns=1)
    for d, ax in enumerate(panels):
        style(ax, title=spec.target.names[d].replace("_", " "), y=spec.target.units[d] if spec.target.units else "")
        ax.plot(known, true[first:, d], color=INK, linewidth=1.5, zorder=3, label="known" if truth is None else "true")
        for (method, values), colour in zip((baselines or {}).items(), OTHERS, strict=False):
            name = method.replace("_", " ") + _error(values, truth, d)
            ax.plot(after, values[:, d], color=colour, linewidth=1.2, linestyle=(0, (4, 2)), label=name)
        if isinstance(predicted, Band):
            low, high = (predicted.mean - predicted.std)[:, d], (predicted.mean + predicted.std)[:, d]
            ax.fill_between(after, low, high, color=TRAIN, alpha=0.2, linewidth=0, label="± 1 standard deviation")
        if quantiles is not None:
            _draw_intervals(ax, after, quantiles[:, d], spec.quantiles)
        name = (f"mean of {predicted.num} forecasts" if isinstance(predicted, Band) else "forecast") + _error(
            mean, truth, d
        )
        dots: Any = {"marker": "o", "markersize": 3.5} if horizon <= 60 else {}
        ax.plot(after, mean[:, d], color=TRAIN, linewidth=2, label=name, **dots)
        ax.axvline(times[num_known - 1], color=FAINT, linewidth=1)
        time_ticks(ax)
        legend_above(ax)
    return fig


def _draw_intervals(ax: Any, times: Any, quantiles: Tensor, levels: Sequence[float]) -> None:
    """Bands between the outermost quantiles (H, Q), and between each pair within."""
    for i in range(len(levels) // 2):
        low, high = levels[i], levels[-1 - i]
        label = f"quantiles {low:g} to {high:g}"
        ax.fill_between(times, quantiles[:, i], quantiles[:, -1 - i], color=TRAIN, alpha=0.18, linewidth=0, label=label)


def _error(values: Tensor, truth: Tensor | None, column: int) -> str:
    if truth is None:
        return ""
    return f", RMSE {(values - truth)[:, column].square().mean().sqrt():.4g}"


def gradient_norms(norms: Sequence[float], *, clip: float | None = None) -> Figure:
    """The gradient norm at each step; red marks at the top where it was not finite.

    Args:
        norms: one per step, before clipping.
        clip: the maximum norm of gradient clipping.
    """
    fig, (ax,) = new_panels(1, width=7.5, height=3.6, left=0.9)
    style(ax, title="gradient norm before clipping", x="step")
    steps, values = np.arange(1, len(norms) + 1), np.array(norms, dtype=np.float64)
    finite = np.isfinite(values)
    ax.plot(steps, np.where(finite, values, np.nan), color=TRAIN, linewidth=1.0)
    if (values[finite] > 0).any():
        ax.set_yscale("log")
    if clip:
        ax.axhline(clip, color=VAL, linewidth=1.4, label=f"clipped to {clip:g}")
    if not finite.all():
        top = np.full((~finite).sum(), 0.97)
        where: Any = ax.get_xaxis_transform()
        text = f"not finite in {len(top):,} of {len(norms):,} steps"
        ax.plot(steps[~finite], top, "|", color=WRONG, markersize=8, transform=where, label=text)
    legend_above(ax)
    return fig


def gradient_flow(sizes: Mapping[str, Sequence[float]]) -> Figure:
    """The size of the loss gradient at each step of a sequence, which may vanish or explode towards the first step.

    Args:
        sizes: the mean size of d loss / d state at steps 1 to T, by net.
    """
    fig, (ax,) = new_panels(1, width=7.5, height=4.2, left=0.9)
    style(ax, title="|d loss / d state| at each step of the sequence", x="step of the sequence")
    for (name, values), colour in zip(sizes.items(), (TRAIN, INK, VAL, WRONG, *OTHERS), strict=False):
        shown = [value if math.isfinite(value) and value > 0 else math.nan for value in values]
        ax.plot(range(1, len(shown) + 1), shown, color=colour, linewidth=1.8, marker="o", markersize=3, label=name)
    ax.set_yscale("log")
    legend_above(ax)
    return fig
