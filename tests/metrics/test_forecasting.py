"""Errors of forecasts and the baseline methods, against their definitions and published values."""

from __future__ import annotations

import sys

import pytest
import torch

from dlzoo.data.series.air_passengers import PASSENGERS
from dlzoo.metrics import forecasting
from dlzoo.metrics.forecasting import baselines, errors, seasonal_naive, seasonal_naive_drift
from dlzoo.utils import extras

VALUES = torch.tensor(PASSENGERS, dtype=torch.double)[:, None]


def test_errors_by_hand() -> None:
    forecast, truth = torch.tensor([[1.0], [5.0]]), torch.tensor([[2.0], [2.0]])
    assert errors(forecast, truth, [4.0]) == pytest.approx({"rmse": 5**0.5, "mae": 2, "mape": 1, "mase": 0.5})


def test_mase_divides_by_the_scale_of_each_column() -> None:
    forecast, truth = torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 4.0]])
    assert errors(forecast, truth, [0.5, 2.0])["mase"] == (1 / 0.5 + 3 / 2) / 2


def test_metrics_that_would_divide_by_zero_are_omitted() -> None:
    assert set(errors(torch.ones(2, 1), torch.tensor([[0.0], [2.0]]), [0.0])) == {"rmse", "mae"}
    assert set(errors(torch.ones(1, 2), torch.ones(1, 2), [1.0, 0.0])) == {"rmse", "mae", "mape"}


def test_mase_of_the_seasonal_naive_forecast_in_its_own_rows_is_one() -> None:
    scale = (VALUES[12:] - VALUES[:-12]).abs().mean(0).tolist()
    assert errors(VALUES[:-12], VALUES[12:], scale)["mase"] == pytest.approx(1)


def test_the_baselines_on_air_passengers() -> None:
    found = baselines(VALUES[:132], 12, 12)
    rmse = {name: errors(values, VALUES[132:], [])["rmse"] for name, values in found.items()}
    known = {"naive": 102.98, "seasonal_naive": 50.71, "seasonal_naive_drift": 16.84}
    assert {name: round(value, 2) for name, value in rmse.items() if name in known} == known
    if extras.is_installed("statsmodels"):
        assert rmse["holt_winters"] == pytest.approx(15.81, abs=0.02)
        assert errors(found["holt_winters"], VALUES[132:], [])["mape"] == pytest.approx(0.0221, abs=1e-4)


def test_seasons_repeat_and_drift() -> None:
    history = torch.tensor([[1.0], [2.0], [5.0], [6.0]])
    assert seasonal_naive(history, 5, 2).flatten().tolist() == [5, 6, 5, 6, 5]
    assert seasonal_naive_drift(history, 5, 2).flatten().tolist() == [9, 10, 13, 14, 17]


@pytest.mark.parametrize(("num", "period", "names"), [
    (30, 1, {"naive", "holt_winters"}),
    (30, 12, {"naive", "seasonal_naive", "seasonal_naive_drift", "holt_winters"}),
    (24, 12, {"naive", "seasonal_naive", "seasonal_naive_drift", "holt_winters"}),
    (23, 12, {"naive", "seasonal_naive"}),
    (12, 12, {"naive", "seasonal_naive"}),
    (11, 12, {"naive"}),
    (6, 2, {"naive", "seasonal_naive", "seasonal_naive_drift"}),
    (10, 1, {"naive", "holt_winters"}),
    (9, 1, {"naive"}),
    (5, 12, {"naive"}),
])  # fmt: skip
def test_methods_that_the_history_is_long_enough_for(num: int, period: int, names: set[str]) -> None:
    if not extras.is_installed("statsmodels"):
        names = names - {"holt_winters"}
    found = baselines(VALUES[:num].expand(-1, 2), 4, period)
    assert set(found) == names
    assert all(values.shape == (4, 2) and values.isfinite().all() for values in found.values())


SEASON = torch.tensor([0.5, 1.0, 2.0, 0.5], dtype=torch.double).repeat(8)[:, None]
RISING = torch.arange(20.0, 52, dtype=torch.double)[:, None]


@pytest.mark.parametrize(
    "series",
    [RISING * SEASON / 200, RISING + 10 * SEASON - 60, RISING + 10 * SEASON - 25, RISING],
    ids=["small, the season a factor", "negative, the season a term", "zero at once", "no season"],
)
def test_holt_winters_continues_a_pure_season_and_trend(series: torch.Tensor) -> None:
    pytest.importorskip("statsmodels")
    found = forecasting.holt_winters(series[:-4], 4, 1 if series is RISING else 4)
    torch.testing.assert_close(found, series[-4:], rtol=0.01, atol=0.01)


def test_without_statsmodels_the_other_baselines_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "statsmodels", None)
    assert set(baselines(VALUES, 12, 12)) == {"naive", "seasonal_naive", "seasonal_naive_drift"}
