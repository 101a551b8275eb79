"""What an exported file computes: from raw inputs to what the trained task answers.

A view joins what is done around a net (pixels scaled, inputs standardised, logits turned into probabilities, the steps
of a forecast fed back) into one module of tensors in and tensors out. Beside it stands `View.expected`, the same
answers in the way that the commands get them, which every exported file is compared with. The views of a kind of task
stand beside its class, which names them in `Task.export_views`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from dlzoo.data.base import DataModule
from dlzoo.specs.base import Port
from dlzoo.tasks.base import Task

Tensors = tuple[Tensor, ...]
T = TypeVar("T", bound=Task)


class View(nn.Module, Generic[T]):
    """One way to use a trained task: ``forward`` takes a tensor for each of ``inputs``, gives one for each output."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    part: str
    """Its name in `Task.export_views`."""
    task: T
    """What is exported; dlzoo/export/views.py puts a copy here that can be."""
    trained: T
    """What it is compared with."""

    def __init__(self, task: T) -> None:
        super().__init__()
        self.task = task
        object.__setattr__(self, "trained", task)  # not as a submodule: it is no part of what is exported

    @abstractmethod
    def forward(self, *inputs: Tensor) -> Tensors:
        """The tensors of ``outputs``, from the task to export."""

    @abstractmethod
    def expected(self, *inputs: Tensor) -> Tensors:
        """The same, from the trained task."""

    def real_inputs(self, data: DataModule, num: int) -> Tensors:
        """Up to ``num`` real examples from the test split."""
        batch = first_batch(data)
        return (self.raw(batch[0][:num]), *self.labels(batch[1][:num]))

    def labels(self, target: Tensor) -> Tensors:
        """Of a batch, for views that are given the class."""
        return ()

    def raw(self, x: Tensor) -> Tensor:
        """A batch's inputs as an exported file takes them: pixels as bytes."""
        return as_bytes(x) if self.trained.spec.images else x

    def pixels(self, x: Tensor) -> Tensor:
        """Bytes as the task wants them; other inputs as they are."""
        return x.float() * (1 / 255) if self.trained.spec.images else x

    def metrics(self) -> MetricCollection | None:
        """What the quality of the answers is measured by; None where nothing is."""
        return None

    def measured(self, answer: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The first output and the target, as the metrics take them."""
        return answer, target


def first_batch(data: DataModule) -> Tensors:
    """Of the test split, as it is stored."""
    loader: Any = data.test_dataloader()
    return next(iter(loader))


def as_bytes(x: Tensor) -> Tensor:
    """Images as bytes: those of the data, or the nearest to images in [0, 1]."""
    return x if x.dtype == torch.uint8 else (x * 255).round().to(torch.uint8)
