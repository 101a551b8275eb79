"""A batch is inputs, target and weight, each a tensor, or a dict of tensors by name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dlzoo.data.loaders import Arrays, TensorLoader
from dlzoo.specs.batch import Batch, tensors

LEFT, RIGHT = torch.arange(4.0)[:, None], -torch.arange(4.0)[:, None]
NAMED = Arrays({"left": LEFT, "right": RIGHT}, {"price": LEFT * 2, "coastal": torch.tensor([0, 1, 1, 0])}, None)


def test_a_change_reaches_each_tensor_and_keeps_what_is_not_given() -> None:
    batch = Batch({"left": LEFT, "right": RIGHT}, LEFT).map(lambda t: t + 1)
    assert batch.inputs["left"].tolist() == [[1], [2], [3], [4]]
    assert batch.inputs["right"].tolist() == [[1], [0], [-1], [-2]]
    assert batch.target.tolist() == [[1], [2], [3], [4]]
    assert batch.weight is None
    assert batch.num_rows == 4
    assert [len(tensors(part)) for part in batch] == [2, 1, 0]


@pytest.mark.parametrize("shuffle", [False, True])
def test_named_inputs_and_targets_of_a_row_stay_together(shuffle: bool) -> None:
    rows = []
    for batch in TensorLoader(NAMED, 3, shuffle=shuffle):
        assert type(batch) is Batch
        assert batch.weight is None
        parts = (*batch.inputs.values(), *batch.target.values())
        rows += list(zip(*(part.flatten().tolist() for part in parts), strict=True))
    assert sorted(rows) == [(0, 0, 0, 0), (1, -1, 2, 1), (2, -2, 4, 1), (3, -3, 6, 0)]


def test_arrays_of_several_inputs_are_taken_and_counted_as_one() -> None:
    taken: dict[str, Tensor] = NAMED.take(torch.tensor([2, 0])).x
    assert {name: t.flatten().tolist() for name, t in taken.items()} == {"left": [2, 0], "right": [-2, 0]}
    assert NAMED.num_rows == 4
    assert NAMED.num_bytes == 3 * 4 * 4 + 4 * 8
