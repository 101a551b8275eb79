"""A few digits in a config, or in a checkpoint, describe no data that exceed the memory of a machine."""

from __future__ import annotations

from typing import Any

import pytest

from dlzoo.data.images.patterns import Patterns
from dlzoo.data.sequences.counting import Counting
from dlzoo.data.tables.gates import Gates
from dlzoo.data.tables.ratings import Ratings
from dlzoo.data.tables.synthetic import Synthetic
from dlzoo.errors import UserError

TOO_LARGE = (
    (Counting, {"num_samples": 2 * 10**9}),
    (Counting, {"length": 10**9}),
    (Patterns, {"num_patterns": 10**8}),
    (Patterns, {"num_patterns": 10**6, "size": 64}),
    (Patterns, {"size": 10**6}),
    (Patterns, {"repeats": 10**10}),
    (Patterns, {"kind": "encoder", "size": 60_000}),
    (Patterns, {"kind": "encoder", "size": 4096, "repeats": 10}),
    (Patterns, {"kind": "bars", "size": 8, "repeats": 10**6}),
    (Patterns, {"kind": "xor", "repeats": 10**9}),
    (Gates, {"repeats": 2 * 10**9}),
    (Ratings, {"num_users": 3 * 10**6}),
    (Ratings, {"num_items": 10**8}),
    (Ratings, {"num_users": 10**5, "num_items": 10**4}),
    (Ratings, {"rank": 10**8}),
    (Synthetic, {"num_samples": 10**9}),
    (Synthetic, {"kind": "line", "num_features": 10**9}),
    (Synthetic, {"kind": "blobs", "num_classes": 10**9}),
)


@pytest.mark.parametrize(("data", "options"), TOO_LARGE)
def test_data_beyond_memory_are_a_user_error(data: Any, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^data\.\w+=\d+ (and|are|is|must)"):
        data(**options)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (Counting, {"num_samples": 10**6}),
        (Patterns, {"num_patterns": 10**4, "size": 28}),
        (Patterns, {"kind": "bars", "size": 8, "repeats": 100}),
        (Gates, {"repeats": 10**6}),
        (Ratings, {"num_users": 10**4, "num_items": 10**3}),
        (Synthetic, {"num_samples": 10**6, "kind": "friedman"}),
    ],
)
def test_large_data_are_allowed(data: Any, options: dict[str, Any]) -> None:
    data(**options)
