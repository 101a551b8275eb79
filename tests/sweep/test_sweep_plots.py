"""Plots of a sweep: every trial can be seen, and ticks are values that were tried."""

from __future__ import annotations

import random

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from dlzoo.sweep.plots import Axis, importance, parallel_coordinates, shade
from dlzoo.sweep.record import Record, Trial


def contrast_to_white(colour: tuple[float, float, float]) -> float:
    """Of WCAG 2: graphics need 3."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 1.05 / (0.05 + sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))


@pytest.mark.parametrize("rank", [0, 0.25, 0.5, 0.75, 1])
def test_no_trial_is_pale_on_white(rank: float) -> None:
    assert contrast_to_white(shade(rank)) > 3


def test_the_best_trial_is_the_darkest() -> None:
    trials = [Trial(i, [], {"lr": 10.0**-i}, state="finished", value=float(i)) for i in range(1, 5)]
    figure = parallel_coordinates(Record(["lr"], "val/loss", "min", trials), trials, ["lr"])
    lines = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 4]
    colours = {round(float(line.get_ydata()[-1]), 3): to_rgb(line.get_color()) for line in lines}
    contrasts = [contrast_to_white(colours[height]) for height in sorted(colours)]
    assert contrasts == sorted(contrasts, reverse=True)
    assert contrasts[-1] > 3


def test_ticks_are_the_values_that_were_tried() -> None:
    assert [label for _, label in Axis.of([0.01, 0.001, 0.01]).ticks] == ["0.001", "0.01"]
    many = Axis.of([i / 20 for i in range(21)])
    assert [label for _, label in many.ticks] == ["0", "0.25", "0.5", "0.75", "1"]


def test_lines_are_level_beside_labels() -> None:
    """Between an axis and the end of its labels no line runs across a label."""
    params = [{"optimizer": name, "net.hidden": hidden} for name in ("sgd", "rmsprop") for hidden in ("[9]", "[64,64]")]
    trials = [Trial(i, [], p, state="complete", value=float(i)) for i, p in enumerate(params)]
    figure = parallel_coordinates(Record([], "val/loss", "min", trials), trials, ["optimizer", "net.hidden"])
    (ax,) = figure.axes
    lines = [line for line in ax.lines if len(line.get_xdata()) == 6]
    assert len(lines) == 4
    for line in lines:
        (_, x), (_, y) = np.reshape(line.get_xdata(), (3, 2))[:2], np.reshape(line.get_ydata(), (3, 2))[:2]
        assert x[1] - x[0] > 0.3
        assert y[0] == y[1]
    renderer = FigureCanvasAgg(figure).get_renderer()
    labels = [text for text in ax.texts if text.get_text() in ("[9]", "[64,64]")]
    assert labels
    for text in labels:
        end = ax.transData.inverted().transform(text.get_window_extent(renderer).corners()[-1])[0]
        assert end < x[1] + 0.02


def test_importance_finds_what_matters() -> None:
    draw = random.Random(0)
    trials = []
    for i in range(40):
        params = {"lr": 10 ** draw.uniform(-4, -1), "name": draw.choice("ab"), "seed": draw.randint(0, 9)}
        trials.append(Trial(i, [], params, "complete", abs(params["lr"] - 0.01) + 0.001 * (params["name"] == "b")))
    importances = importance(Record([], "val/loss", "min", trials), trials, ["lr", "name", "seed"])
    assert importances["lr"] > 0.6
    assert sum(importances.values()) == pytest.approx(1)
