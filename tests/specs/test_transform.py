"""Transforms of series are invertible and causal."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlzoo.specs.series_transform import Transform

LAGS = st.lists(st.integers(1, 4), max_size=2).map(tuple)


def walk(num: int, num_columns: int = 1, seed: int = 0) -> Tensor:
    """A positive random walk."""
    draw = torch.Generator().manual_seed(seed)
    return 5 + torch.randn(num, num_columns, generator=draw, dtype=torch.double).cumsum(0).abs()


@given(log=st.booleans(), lags=LAGS, horizon=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_inverting_the_steps_restores_the_values(log: bool, lags: tuple[int, ...], horizon: int, seed: int) -> None:
    values = walk(20 + horizon, 2, seed)
    history, future = values[:-horizon], values[-horizon:]
    transform = Transform(log, lags).fit(history)
    torch.testing.assert_close(transform.invert(transform.apply(values)[-horizon:], history), future)


def test_a_seasonal_difference_by_hand() -> None:
    values = torch.tensor([[1.0], [2.0], [4.0], [8.0], [16.0]], dtype=torch.double)
    assert Transform(differences=(2,)).apply(values).flatten().tolist() == [3, 6, 12]
    assert Transform(differences=(1, 2)).apply(values).flatten().tolist() == [3, 6]
    torch.testing.assert_close(Transform(log=True, differences=(1,)).apply(values), values[1:].div(values[:-1]).log())


def test_a_flat_forecast_of_seasonal_differences_is_the_last_season() -> None:
    history = walk(30)
    steps = torch.zeros(7, 1)
    torch.testing.assert_close(Transform(differences=(3,)).invert(steps, history), history[[-3, -2, -1] * 2 + [-3]])


def test_fitting_standardises_each_column_on_its_differences() -> None:
    values = walk(50, 2) * torch.tensor([1.0, 100.0])
    steps = Transform(differences=(1,)).fit(values).apply(values)
    torch.testing.assert_close(steps.mean(0), torch.zeros(2, dtype=torch.double), atol=1e-9, rtol=0)
    torch.testing.assert_close(steps.std(0, correction=0), torch.ones(2, dtype=torch.double))


def test_a_column_without_change_stays_at_zero() -> None:
    values = torch.cat([walk(10), torch.full((10, 1), 3.0, dtype=torch.double)], dim=1)
    transform = Transform(differences=(1,)).fit(values)
    assert not transform.apply(values)[:, 1].any()
    torch.testing.assert_close(transform.invert(torch.zeros(2, 2), values)[:, 1], values[:2, 1])


@pytest.mark.parametrize("lags", [(), (1,), (3, 1)])
def test_steps_do_not_depend_on_later_values(lags: tuple[int, ...]) -> None:
    values = walk(20)
    changed = values.clone()
    changed[12:] = 99
    lost = sum(lags)
    transform = Transform(True, lags, (0.1,), (2.0,))
    assert torch.equal(transform.apply(values)[: 12 - lost], transform.apply(changed)[: 12 - lost])
    assert not torch.equal(transform.apply(values)[12 - lost :], transform.apply(changed)[12 - lost :])
