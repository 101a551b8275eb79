"""Held-out rows: the right number, of each class its share, and the same for the same seed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlzoo.data.loaders import Arrays
from dlzoo.data.splits import holdout, sample_per_class
from dlzoo.errors import UserError
from dlzoo.specs.targets import Classes, Values


def rows_of(counts: list[int]) -> Arrays:
    """Labels with these counts, in an order that is not sorted."""
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]
    return Arrays(torch.zeros(len(y), 1), y)


def classes(num: int) -> Classes:
    return Classes(tuple(map(str, range(num))))


def held_counts(counts: list[int], size: int | float, seed: int = 0) -> list[int]:
    rows = rows_of(counts)
    _, held = holdout(rows, classes(len(counts)), size, seed=seed)
    return rows.y[held].bincount(minlength=len(counts)).tolist()


@pytest.mark.parametrize("target", [classes(3), Values(("y",))], ids=["classes", "values"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("size", "num"), [(1, 1), (7, 7), (29, 29), (0.1, 3), (0.25, 8), (0.95, 28)])
def test_sizes_are_exact_and_every_row_is_on_one_side(
    target: Classes | Values, last: bool, size: int | float, num: int
) -> None:
    rows = rows_of([10, 15, 5])
    kept, held = holdout(rows, target, size, seed=0, last=last)
    assert len(held) == num
    assert torch.cat([kept, held]).sort().values.tolist() == list(range(30))
    assert kept.equal(kept.sort().values)
    assert held.equal(held.sort().values)
    if last:
        assert held.tolist() == list(range(30 - num, 30))


@pytest.mark.parametrize(
    ("counts", "size", "expected"),
    [
        ([100, 200, 300], 60, [10, 20, 30]),
        ([100, 200, 300], 0.1, [10, 20, 30]),
        ([50, 50], 5, [3, 2]),  # the halves are equal: the first class gets the odd row
        ([55, 45], 10, [6, 4]),  # 5.5 and 4.5
        ([33, 33, 34], 10, [3, 3, 4]),  # 3.3, 3.3 and 3.4: the largest remainder
        ([1000, 2], 100, [99, 1]),  # 99.8 and 0.2: a small class is validated too
        ([2, 98], 98, [1, 97]),  # 1.96 and 96.04: and it is trained on
        ([1, 99], 50, [0, 50]),  # a single row is trained on
        ([2] * 10, 3, [1, 1, 1] + [0] * 7),  # too few for all
        ([1] * 10, 3, [1, 1, 1] + [0] * 7),  # and no choice
        ([10, 0, 10], 4, [2, 0, 2]),
    ],
)
def test_each_class_gives_its_share(counts: list[int], size: int | float, expected: list[int]) -> None:
    assert held_counts(counts, size) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=2, max_size=12), st.floats(0, 1), st.integers(0, 5))
def test_shares_of_any_classes(counts: list[int], share: float, seed: int) -> None:
    n = sum(counts)
    size = round(n * share)
    if not 0 < size < n:
        return
    held = held_counts(counts, size, seed)
    assert sum(held) == size
    many = [k for k, c in enumerate(counts) if c >= 2]
    assert all(0 <= h <= c for h, c in zip(held, counts, strict=True))
    if len(many) <= size <= sum(counts[k] - 1 for k in many):
        assert all(0 < held[k] < counts[k] for k in many)
    ideal = [c * size / n for c in counts]
    if all(1 <= q <= c - 1 for q, c in zip(ideal, counts, strict=True)):
        assert all(abs(h - q) < 1 for h, q in zip(held, ideal, strict=True))


def test_the_seed_chooses_the_rows() -> None:
    rows = rows_of([40, 60])
    chosen = [holdout(rows, classes(2), 20, seed=seed)[1].tolist() for seed in (0, 0, 1, 2)]
    assert chosen[0] == chosen[1]
    assert len({tuple(rows) for rows in chosen}) == 3


def test_the_rows_of_a_class_are_chosen_evenly() -> None:
    """Not its first ones: over many seeds each row is held out about equally often."""
    rows = rows_of([10, 10])
    times = torch.zeros(20)
    for seed in range(400):
        times[holdout(rows, classes(2), 10, seed=seed)[1]] += 1
    assert times.min() > 150
    assert times.max() < 250


@pytest.mark.parametrize("size", [0, -3, 30, 31, 0.01, 0.999])
@pytest.mark.parametrize("last", [False, True])
def test_an_empty_side_is_refused(size: int | float, last: bool) -> None:
    with pytest.raises(UserError, match=r"of 30 rows cannot be held out: change data\.val_size"):
        holdout(rows_of([10, 20]), classes(2), size, seed=0, last=last)


def test_few_keeps_so_many_of_each_class_and_only_of_those_given() -> None:
    rows = rows_of([10, 15, 5])
    keep, _ = holdout(rows, classes(3), 6, seed=0)
    chosen = sample_per_class(rows, keep, classes(3), 4, seed=0)
    assert rows.y[chosen].bincount().tolist() == [4, 4, 4]
    assert {*chosen.tolist()} < {*keep.tolist()}
    assert chosen.equal(chosen.sort().values)
    assert chosen.equal(sample_per_class(rows, keep, classes(3), 4, seed=0))
    assert not chosen.equal(sample_per_class(rows, keep, classes(3), 4, seed=1))


def test_few_of_what_is_scarce_or_has_no_classes() -> None:
    rows = rows_of([10, 15, 5])
    with pytest.raises(UserError, match=r"data\.train_per_class=6: the training data have fewer rows of 2;"):
        sample_per_class(rows, torch.arange(30), classes(3), 6, seed=0)
    with pytest.raises(UserError, match="this data gives values"):
        sample_per_class(rows, torch.arange(30), Values(("y",)), 2, seed=0)
