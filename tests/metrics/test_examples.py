"""Rows that stand for a whole split: of every class, whatever the order of the rows."""

from __future__ import annotations

import pytest
import torch

from dlzoo.metrics.examples import BalancedSample, class_labels

SORTED = torch.tensor([0] * 60 + [1] * 30 + [2] * 2)


def sampled(size: int, batch_size: int, *, seed: int = 0, classes: torch.Tensor | None = SORTED) -> BalancedSample:
    sample = BalancedSample(size, seed)
    rows = torch.arange(len(SORTED))
    for part in rows.split(batch_size):
        sample.add((part, 10 * part), None if classes is None else classes[part])
    return sample


def test_sorted_rows_give_every_class() -> None:
    sample = sampled(9, 10)
    assert sorted(sample.labels) == [0] * 4 + [1] * 3 + [2] * 2 or sorted(sample.labels) == [0] * 3 + [1] * 4 + [2] * 2
    assert sorted(sample.labels[:3]) == sorted(sample.labels[3:6]) == [0, 1, 2]  # one of each class before the next
    positions, tens = sample.stacked()
    assert positions.tolist() == sample.positions
    assert tens.tolist() == [10 * i for i in sample.positions]
    assert SORTED[sample.positions].tolist() == sample.labels


@pytest.mark.parametrize("batch_size", [1, 7, 92])
def test_the_choice_depends_on_the_seed_and_not_on_the_batch_size(batch_size: int) -> None:
    assert sampled(9, batch_size).positions == sampled(9, 10).positions
    assert sampled(9, batch_size, seed=1).positions != sampled(9, 10).positions


def test_rows_are_drawn_from_the_whole_split() -> None:
    """Each row of a class is as likely as any other: not the first ones, not the last ones."""
    counts = torch.zeros(60)
    for seed in range(300):
        for position in sampled(3, 50, seed=seed).positions:
            if position < 60:
                counts[position] += 1
    halves = counts.view(2, 30).sum(1)
    assert counts.sum() == 300
    assert (halves > 110).all()


def test_without_classes_and_with_fewer_rows_than_wanted() -> None:
    assert sorted(sampled(200, 10).positions) == [*range(92)]
    assert len(set(sampled(20, 10, classes=None).positions)) == 20
    assert not len(BalancedSample(3))


def test_the_rows_are_copies() -> None:
    """A view would keep the whole batch alive, and change with a buffer that is used again."""
    batch = torch.zeros(4)
    sample = BalancedSample(2)
    sample.add((batch,), torch.tensor([0, 0, 1, 1]))
    batch.fill_(5)
    assert sample.stacked()[0].tolist() == [0, 0]


def test_probabilities_stand_for_their_largest_class() -> None:
    assert class_labels(torch.tensor([[0.1, 0.9], [0.6, 0.4]])).tolist() == [1, 0]
