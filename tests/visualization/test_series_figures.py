"""Figures of series: the right values at the right times."""

from __future__ import annotations

import numpy as np
import torch

from dlzoo.specs.inputs import SeriesSpec
from dlzoo.specs.targets import Values
from dlzoo.visualization import series as series_plots
from dlzoo.visualization.series import Band

SPEC = SeriesSpec(Values(("sales", "visits"), ("EUR", "people")), 3, 2, "month", 12, start="2020-01-01")
HISTORY = torch.arange(1.0, 21.0).view(10, 2)
AFTER = torch.tensor([[21.0, 22.0], [25.0, 30.0]])


def lines(figure, panel: int = 0) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_ydata() for line in figure.axes[panel].lines}


def test_a_panel_for_each_column_with_truth_forecast_and_baselines() -> None:
    figure = series_plots.forecast(SPEC, HISTORY, AFTER + 3, truth=AFTER, baselines={"seasonal_naive": AFTER * 0})
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["sales", "visits"]
    assert [ax.get_ylabel() for ax in figure.axes] == ["EUR", "people"]
    drawn = lines(figure, 1)
    assert drawn["true"][-4:].tolist() == [18, 20, 22, 30]
    assert drawn["forecast, RMSE 3"].tolist() == [25, 33]
    assert drawn["seasonal naive, RMSE 26.31"].tolist() == [0, 0]
    line = next(line for line in figure.axes[1].lines if line.get_label().startswith("forecast"))
    assert [str(x)[:7] for x in line.get_xdata()] == ["2020-11", "2020-12"]


def test_dates_do_not_overlap_where_a_month_begins() -> None:
    spec = SeriesSpec(Values(("sales",)), 3, 2, "day", 7, start="2022-09-23")
    figure = series_plots.forecast(spec, torch.rand(28, 1), torch.rand(7, 1))
    ticks = figure.axes[0].get_xticks()
    assert 3 <= len(ticks) <= 9
    assert np.diff(ticks).min() >= 7


def test_a_band_of_several_forecasts() -> None:
    figure = series_plots.forecast(SPEC, HISTORY, Band(AFTER, AFTER * 0 + 2, 5))
    assert lines(figure)["mean of 5 forecasts"].tolist() == [21, 25]
    assert "known" in lines(figure)
    (band,) = figure.axes[0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (19, 27)


def test_non_finite_norms_are_marked() -> None:
    figure = series_plots.gradient_norms([1.0, 100.0, float("inf"), float("nan")], clip=5)
    drawn = lines(figure)
    assert "clipped to 5" in drawn
    assert len(drawn["not finite in 2 of 4 steps"]) == 2
    assert figure.axes[0].get_yscale() == "log"


def test_gradient_flow_has_a_line_for_each_net() -> None:
    drawn = lines(series_plots.gradient_flow({"W = 0.5": [0.25, 0.5, 1.0], "W = 2": [4.0, 2.0, 1.0]}))
    assert drawn["W = 0.5"].tolist() == [0.25, 0.5, 1]
    assert drawn["W = 2"].tolist() == [4, 2, 1]
