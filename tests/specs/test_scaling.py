"""Scaling of values: what a net learns, and the way back into the units of the data."""

from __future__ import annotations

import math

import pytest
import torch

from dlzoo.errors import UserError
from dlzoo.specs.plain import from_plain, to_plain
from dlzoo.specs.scaling import Scaling
from dlzoo.specs.targets import Values

PRICES = torch.tensor([[90.0, 1.0], [250.0, 2.0], [530.0, 6.0]])


def test_statistics_by_hand() -> None:
    scaling = Scaling(log=True).fit(torch.tensor([[1.0], [math.e**2]]))
    assert scaling.mean == pytest.approx((1.0,))
    assert scaling.std == pytest.approx((1.0,))
    assert Scaling().fit(PRICES).mean == pytest.approx((290.0, 3.0))


def test_a_constant_column_is_not_divided_by_rounding_errors() -> None:
    assert Scaling().fit(torch.full((4, 1), 180_000.1)).std == (1.0,)


def test_a_checkpoint_stores_the_scaling_and_an_older_one_has_none() -> None:
    target = Values(("price", "rooms")).scaled(PRICES, log=True)
    assert from_plain(to_plain(target)) == target
    older = {"type": "Values", "names": ["price"], "units": []}
    assert from_plain(older) == Values(("price",))


@pytest.mark.parametrize(
    "change", [{"mean": [1.0]}, {"std": [0.0, 1.0]}, {"std": [1.0]}, {"mean": [1.0] * 3, "std": [1.0] * 3}]
)
def test_stored_statistics_that_no_run_has_are_refused(change: dict[str, list[float]]) -> None:
    plain = to_plain(Values(("price", "rooms")).scaled(PRICES))
    plain["scaling"] |= change
    with pytest.raises(UserError, match="the stored spec"):
        from_plain(plain)
