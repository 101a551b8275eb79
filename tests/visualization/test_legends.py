"""Legends and notes never cover what is drawn, whatever a figure shows."""

from __future__ import annotations

from typing import Any

import matplotlib.figure
import numpy as np
import pytest
import torch
from figure_texts import check_layout, words
from matplotlib.backends.backend_agg import FigureCanvasAgg

from dlzoo.specs.inputs import SeriesSpec
from dlzoo.specs.targets import Values
from dlzoo.visualization import curves, figures, layout, plots
from dlzoo.visualization import latent as latent_plots
from dlzoo.visualization import returns as return_plots
from dlzoo.visualization import series as series_plots

EPOCHS = range(1, 9)
SPEC = SeriesSpec(Values(("sales",), ("EUR",)), 3, 2, "month", 12, start="2020-01-01")
BASELINES = {name: torch.ones(2, 1) for name in ("naive", "seasonal_naive", "seasonal_naive_drift", "holt_winters")}


def learning_curves(heading: str = "") -> Any:
    """Curves in every corner of the axes."""
    rows = [
        {"epoch": e, "lr": 0.1, "train/loss": 1 / e, "val/loss": 1 - 1 / e, "val/accuracy": 0.1 * (e % 2)}
        for e in EPOCHS
    ]
    return curves.learning_curves(rows, heading=heading)


FIGURES: dict[str, Any] = {
    "learning curves": learning_curves,
    "adversaries": lambda: latent_plots.adversaries(
        [{"epoch": e, **{f"train/{k}": 0.5 for k in ("generator_loss", "discriminator_loss", "d_real", "d_fake")}}
         for e in EPOCHS]
    ),
    "class fractions": lambda: latent_plots.class_fractions(torch.ones(10) / 10, torch.ones(10) / 10, [*"abcdefghij"]),
    "returns": lambda: return_plots.returns(
        [{"step": 100 * e, "train/return": 1.0, "val/return": 2.0, "val/return_std": 1.0} for e in EPOCHS], 3.0
    ),
    "forecast": lambda: series_plots.forecast(
        SPEC, torch.rand(10, 1), torch.rand(2, 1), truth=torch.rand(2, 1), baselines=BASELINES
    ),
    "gradient norms": lambda: series_plots.gradient_norms([1.0, 100.0, float("inf")], clip=5),
    "gradient flow": lambda: series_plots.gradient_flow({"W = 0.5": [0.25, 0.5, 1.0], "W = 2": [4.0, 2.0, 1.0]}),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_no_legend_lies_over_the_axes(name: str) -> None:
    figure = FIGURES[name]()
    check_layout(figure)
    FigureCanvasAgg(figure).draw()
    legends = [ax.get_legend() for ax in figure.axes if ax.get_legend() is not None]
    assert legends
    for legend in legends:
        extent = legend.get_window_extent()
        for ax in figure.axes:
            assert extent.y0 >= ax.bbox.y1 - 1 or extent.y1 <= ax.bbox.y0 or extent.x0 >= ax.bbox.x1 - 1
        assert extent.y1 <= figure.bbox.height
        assert extent.x1 <= figure.bbox.width


def test_the_errors_of_a_regression_stand_above_its_points() -> None:
    true = torch.linspace(0, 1, 20)[:, None]
    figure = plots.predicted_against_true(true.flip(0), true, ["price"])  # points in the upper left corner
    (ax,) = figure.axes
    check_layout(figure)
    (note,) = [text for text in ax.texts if "RMSE" in text.get_text()]
    assert note.get_window_extent().y0 >= ax.bbox.y1


def test_all_panels_of_a_figure_are_equally_high() -> None:
    heights = [ax.get_position().height for ax in learning_curves().axes]
    assert heights == pytest.approx([heights[0]] * len(heights))


def test_curves_name_their_run() -> None:
    """Long names are shortened rather than cut off."""
    figure = learning_curves("a-folder-of-my-own")
    assert "a-folder-of-my-own" in words(figure)
    check_layout(figure)
    check_layout(learning_curves("a very long name " * 20))


def test_a_legend_takes_as_many_rows_as_it_needs() -> None:
    figure, (ax,) = layout.new_panels(1, width=4.0, height=4.0)
    layout.style(ax, title="many")
    for i in range(12):
        ax.plot([0, 1], [0, i], label=f"a class with a name {i}")
    before = ax.get_position().height
    layout.legend_above(ax)
    check_layout(figure)
    assert len(words(figure)) >= 13
    assert 0.2 * before < ax.get_position().height < before


def test_a_legend_of_all_panels_stands_below_them() -> None:
    figure, panels = layout.new_panels(3, width=3.0, height=3.0, heading="runs")
    lines = [panels[0].plot([0, 1], [0, i])[0] for i in range(20)]
    for ax in panels:
        layout.style(ax, title="loss", x="epoch")
    layout.legend_below(figure, lines, [f"run number {i}" for i in range(20)], title="train thin")
    check_layout(figure)
    (legend,) = figure.legends
    assert legend.get_window_extent().y1 <= min(ax.bbox.y0 for ax in panels)
    assert np.allclose([ax.get_window_extent().height / figure.dpi for ax in panels], 3.0 - 0.55 - 0.4)


def test_names_are_no_formulas_when_a_legend_is_measured() -> None:
    figure, (ax,) = layout.new_panels(1, width=4.0, height=4.0)
    ax.plot([0, 1], [0, 1], label=layout.legend_text("$\\frac{$"))
    ax.plot([0, 1], [0, 1], label=layout.legend_text("_hidden"))
    layout.legend_above(ax)
    assert {"$\\frac{$", " _hidden"} <= {text.get_text() for text in ax.get_legend().get_texts()}
    FigureCanvasAgg(figures.as_plain_text(figure)).draw()


def test_a_figure_without_labels_has_no_legend() -> None:
    ax = matplotlib.figure.Figure().add_subplot()
    assert layout.legend_above(ax) == 0
    assert ax.get_legend() is None


def test_fonts_of_other_scripts_follow_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that this machine has, and no others: matplotlib would warn about each."""
    import matplotlib
    from matplotlib import font_manager

    monkeypatch.setattr(font_manager, "get_font_names", lambda: ["Noto Sans Thai", "Comic Sans MS", "DejaVu Sans"])
    layout.font_families.cache_clear()
    try:
        layout.new_figure(1, 1)
        assert matplotlib.rcParams["font.family"] == ["DejaVu Sans", "Noto Sans Thai"]
    finally:
        monkeypatch.undo()
        layout.font_families.cache_clear()
        layout.new_figure(1, 1)
