"""Generated patterns: what is in them, and that every split is all of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dlzoo.data.images.patterns import Patterns
from dlzoo.errors import UserError


def images(**options: Any) -> torch.Tensor:
    return Patterns(**options).arrays("test").x[:, 0] / 255


def test_random_patterns_are_fair_and_drawn_by_the_seed() -> None:
    x = images(num_patterns=40, size=20)
    assert x.shape == (40, 20, 20)
    assert {*x.unique().tolist()} == {0.0, 1.0}
    assert abs(float(x.mean()) - 0.5) < 3 * 0.5 / 40 / 400**0.5 * 40**0.5
    assert torch.equal(x, images(num_patterns=40, size=20))
    assert not torch.equal(x, images(num_patterns=40, size=20, seed=1))


def test_the_encoder_has_one_pair_in_each_pattern() -> None:
    assert images(kind="encoder", size=5).tolist() == [[row, row] for row in torch.eye(5).tolist()]


def test_bars_are_rows_or_columns() -> None:
    """All and none count once: MacKay's 30 of 4 x 4."""
    x = images(kind="bars", size=4)
    assert len(x.unique(dim=0)) == len(x) == 30
    rows, columns = ((x == line).flatten(1).all(1) for line in (x[:, :, :1], x[:, :1]))
    assert (rows | columns).all()


def test_no_two_columns_of_xor_are_correlated() -> None:
    x = images(kind="xor").flatten(1)
    assert (x.sum(1) % 2 == 0).all()
    assert torch.equal(x.T.cov(correction=0), torch.eye(3) / 4)


def test_every_split_is_all_patterns() -> None:
    data = Patterns(kind="bars", repeats=3)
    assert torch.equal(data.arrays("val").x, data.arrays("test").x)
    assert data.arrays("train").y.bincount().tolist() == [3] * 14
    assert data.spec.target.num_outputs == 14


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "stars"}, "data.kind=stars is unknown; .*bars"),
        ({"kind": "xor", "size": 3}, "data.size=3 does not fit data.kind=xor, which has three pixels: omit it"),
        ({"kind": "bars", "num_patterns": 3}, "data.num_patterns=3 does not fit data.kind=bars"),
        ({"kind": "bars", "size": 20}, "data.size=20 must lie between 2 and 8"),
        ({"num_patterns": 0}, "data.num_patterns=0 must lie between"),
        ({"size": 1}, "data.size=1 must lie between"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Patterns(**options)
