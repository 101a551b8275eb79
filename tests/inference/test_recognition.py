"""A test split, recognised: counts, first pictures and surest mistakes by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.errors import UserError
from dlzoo.inference.recognition import Recognised, ranked, recognise, share_right
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes

SPEC = ImageSpec(1, 1, 3, Classes(("ant", "bee", "cat")))
SHADES = torch.tensor([[9, 0, 0], [0, 8, 0], [7, 0, 0], [0, 0, 9], [0, 9, 0], [0, 0, 5], [6, 0, 0]]) * 20
"""A row for each picture, the brightest pixel is what the net below takes it for."""
TRUE = torch.tensor([0, 0, 1, 2, 1, 0, 0])


class Pictures(InMemoryData):
    num_prepared = 0

    def declare(self) -> ImageSpec:
        return SPEC

    def prepare_data(self) -> None:
        self.num_prepared += 1

    def load(self, split: str) -> Arrays:  # type: ignore[override]
        return Arrays(SHADES.view(-1, 1, 1, 3).to(torch.uint8), TRUE)


class Task:
    """Its logits are ten times the pixels."""

    spec = SPEC
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.num_batches = 0

    def outputs(self, x: Tensor) -> Tensor:
        assert torch.is_inference_mode_enabled()
        self.num_batches += 1
        return 10 * x.flatten(1)


def recognised(*, num_examples: int = 4, num_mistakes: int = 2, **options: Any) -> tuple[Recognised, Task, Pictures]:
    task, data = Task(), Pictures(eval_batch_size=3)
    found = recognise(task, data, num_examples=num_examples, num_mistakes=num_mistakes, **options)  # type: ignore[arg-type]
    return found, task, data


def test_the_whole_split() -> None:
    found, task, data = recognised()
    assert found.counts.tolist() == [[2, 1, 1], [1, 1, 0], [0, 0, 1]]
    assert found.counts.dtype == torch.long
    x, y, logits = found.examples
    rows = found.positions
    assert sorted(y[:3].tolist()) == [0, 1, 2]  # each class once, though four of the seven rows are of the first
    torch.testing.assert_close(x, SHADES[rows].view(4, 1, 1, 3) / 255)
    assert y.tolist() == TRUE[rows].tolist()
    torch.testing.assert_close(logits, SHADES[rows] / 25.5)
    x, y, logits = found.mistakes
    torch.testing.assert_close(x, SHADES[[1, 2]].view(2, 1, 1, 3) / 255)  # sure by 8, 7 and 5
    assert y.tolist() == [0, 1]
    torch.testing.assert_close(logits, SHADES[[1, 2]] / 25.5)
    assert (task.num_batches, data.num_prepared) == (3, 1)


@pytest.mark.parametrize(("limit", "num_batches"), [(1, 1), (3, 1), (5, 2), (7, 3), (9, 3)])
def test_no_more_is_read_than_the_limit(limit: int, num_batches: int) -> None:
    found, task, _ = recognised(limit=limit, num_examples=7)
    assert found.counts.sum(1).tolist() == TRUE[:limit].bincount(minlength=3).tolist()
    assert sorted(found.positions) == [*range(min(limit, 7))]
    assert task.num_batches == num_batches


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_an_output_that_is_not_finite_is_refused(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one number in one row."""
    monkeypatch.setattr(Task, "outputs", lambda self, x: x.flatten(1).index_fill(1, torch.tensor([2]), value))
    with pytest.raises(UserError, match="not finite: its training diverged"):
        recognised()


def test_an_empty_split_is_refused() -> None:
    data = SimpleNamespace(prepare_data=lambda: None, test_dataloader=list)
    with pytest.raises(UserError, match="the test split is empty"):
        recognise(Task(), data, num_examples=1, num_mistakes=1)  # type: ignore[arg-type]


def test_the_share_that_is_right_and_the_order_of_classes() -> None:
    counts = torch.tensor([[1, 3, 0], [0, 2, 0], [4, 0, 0]])
    assert share_right(counts) == 0.3
    assert share_right(torch.ones(1, 1, dtype=torch.long)) == 1.0
    assert share_right(torch.zeros(3, 3, dtype=torch.long)) == 0.0
    assert ranked(counts) == ([1, 0, 2], [0.25, 1.0, 0.0])


def test_best_and_worst_in_words() -> None:
    found = Recognised((), [], (), torch.tensor([[8, 2, 0], [0, 10, 0], [9, 0, 1]]))  # type: ignore[arg-type]
    assert found.summary_lines(["ant", "bee", "cat"], most=2) == [
        "recognised    63.33% of 30 test images",
        "best          bee 100.0%, ant 80.0%",
        "worst         cat 10.0%, ant 80.0%",
    ]
    five = Recognised((), [], (), torch.diag(torch.tensor([5, 4, 3, 2, 1])) + torch.ones(5, 5, dtype=torch.long))  # type: ignore[arg-type]
    best, worst = five.summary_lines("abcde")[1:]
    assert [word[0] for word in best[14:].split(", ")] == ["a", "b", "c"]
    assert [word[0] for word in worst[14:].split(", ")] == ["e", "d", "c"]
