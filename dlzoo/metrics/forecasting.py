"""Errors of a forecast, and the simple baseline methods that it must beat.

R. J. Hyndman, G. Athanasopoulos, "Forecasting: Principles and Practice", 3rd ed., 2021; MASE: R. J. Hyndman,
A. B. Koehler, "Another look at measures of forecast accuracy", 2006. Holt-Winters comes from statsmodels, if installed.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from dlzoo.losses.functional import pinball
from dlzoo.utils import extras

MAX_ROWS = 2_000
"""Holt-Winters is fitted to at most this many of the last rows: more would take minutes."""


def errors(forecast: Tensor, truth: Tensor, scales: Sequence[float]) -> dict[str, float]:
    """Errors over all steps and columns, (H, D) each: RMSE and MAE in the units of the data, MAPE as a fraction, MASE.

    MAPE is omitted if a true value is zero, MASE if a column's scale is zero.
    """
    difference = (forecast - truth).abs()
    metrics = {"rmse": difference.square().mean().sqrt(), "mae": difference.mean()}
    if (truth != 0).all():
        metrics["mape"] = (difference / truth.abs()).mean()
    if scales and all(scale > 0 for scale in scales):
        metrics["mase"] = (difference / difference.new_tensor(scales)).mean()
    return {name: float(value) for name, value in metrics.items()}


def interval_metrics(quantiles: Tensor, truth: Tensor, levels: Sequence[float]) -> dict[str, float]:
    """Of quantiles (H, D, Q) for true values (H, D): the pinball loss in the units of the data, and of the interval
    between the outermost quantiles its coverage, the fraction of values within, and its mean width."""
    low, high = quantiles[..., 0], quantiles[..., -1]
    return {
        "pinball": float(pinball(quantiles, truth, levels)),
        "coverage": float(((low <= truth) & (truth <= high)).double().mean()),
        "interval_width": float((high - low).mean()),
    }


def baselines(history: Tensor, horizon: int, period: int) -> dict[str, Tensor]:
    """Forecasts (H, D) of simple methods from the preceding raw values (N, D)."""
    forecasts = {"naive": history[-1:].expand(horizon, -1)}
    if 1 < period <= len(history):
        forecasts["seasonal_naive"] = seasonal_naive(history, horizon, period)
        if 2 * period <= len(history):
            forecasts["seasonal_naive_drift"] = seasonal_naive_drift(history, horizon, period)
    if extras.is_installed("statsmodels") and len(history) >= max(2 * period, 10):
        forecasts["holt_winters"] = holt_winters(history[-MAX_ROWS:], horizon, period)
    return forecasts


def seasonal_naive(history: Tensor, horizon: int, period: int) -> Tensor:
    """The last season repeated, (H, D)."""
    return history[-period:].repeat(-(-horizon // period), 1)[:horizon]


def seasonal_naive_drift(history: Tensor, horizon: int, period: int) -> Tensor:
    """The last season repeated, each time shifted by the mean change between the last two seasons, (H, D)."""
    drift = history[-period:].mean(0) - history[-2 * period : -period].mean(0)
    seasons = torch.arange(horizon) // period + 1
    return seasonal_naive(history, horizon, period) + seasons[:, None] * drift


def holt_winters(history: Tensor, horizon: int, period: int) -> Tensor:
    """Exponential smoothing of level, trend and season, (H, D); multiplicative season if all values are positive."""
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    forecasts = []
    for column in history.T:
        season = None if period == 1 else "mul" if (column > 0).all() else "add"
        periods = period if season else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # convergence warnings of its optimizer
            model = ExponentialSmoothing(column.numpy(), trend="add", seasonal=season, seasonal_periods=periods).fit()
        forecasts.append(torch.from_numpy(model.forecast(horizon)))
    return torch.stack(forecasts, dim=1)
