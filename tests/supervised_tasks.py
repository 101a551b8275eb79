"""Rows, a net whose outputs are known in advance, and supervised tasks of it: for the tests beside it."""

from __future__ import annotations

from typing import Any

import torch
from net_specs import table
from plain_nets import as_net
from torch import Tensor, nn

from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.nets.base import Net
from dlzoo.specs.inputs import TableSpec
from dlzoo.specs.targets import Classes, Values
from dlzoo.tasks.supervised import Supervised

CLASSES, VALUES = Classes(("a", "b")), Values(("y",))


class Rows(InMemoryData):
    """The same rows for training and validation, in batches of three; the first five are the test."""

    def __init__(self, rows: Arrays, target: Classes | Values) -> None:
        super().__init__(batch_size=3, eval_batch_size=3)
        self.target = target
        self._arrays = {"train": rows, "val": rows, "test": rows.take(torch.arange(5))}
        self.spec = self.declare()

    def declare(self) -> TableSpec:
        return table(self._arrays["train"].x.shape[1], self.target)

    def load(self, split: Any) -> Arrays:
        raise NotImplementedError


class Identity(Net):
    """Outputs are the inputs, whatever is learned: losses are known in advance."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0 * self.unused


def task_with(net: nn.Module, target: Classes | Values = VALUES, num_features: int = 1, **options: Any) -> Supervised:
    return Supervised(as_net(net), table(num_features, target), **options)


OUTPUT, TARGET = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [1.0]])  # squares 1 and 4
