"""Export views: what an exported file computes, from raw inputs to the trained task's predictions.

A view combines a net with its pre- and postprocessing (pixel scaling, standardisation, probabilities from logits, the
feedback loop of a forecast) in one module from tensors to tensors. `View.expected` computes the same
outputs the way the commands do; every exported file is verified against it. The views of a kind of task
are defined next to its class, which lists them in `Task.export_views`.
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
    """An exportable use of a trained task: ``forward`` maps one tensor per input port to one per output port."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    part: str
    """Its name in `Task.export_views`."""
    task: T
    """The exported task; dlzoo/export/views.py replaces it by an exportable copy."""
    trained: T
    """The original task, for comparison."""

    def __init__(self, task: T) -> None:
        super().__init__()
        self.task = task
        object.__setattr__(self, "trained", task)  # not a submodule: it is not exported

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
        """Labels of a batch, for class-conditional views."""
        return ()

    def raw(self, x: Tensor) -> Tensor:
        """A batch's inputs in the exported file's format: pixels as bytes."""
        return as_bytes(x) if self.trained.spec.images else x

    def pixels(self, x: Tensor) -> Tensor:
        """Bytes converted for the task; other inputs unchanged."""
        return x.float() * (1 / 255) if self.trained.spec.images else x

    def metrics(self) -> MetricCollection | None:
        """Metrics of the outputs' quality; None if there are none."""
        return None

    def measured(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The first output and the target, in the metrics' format."""
        return output, target


def first_batch(data: DataModule) -> Tensors:
    """The first batch of the test split, as stored."""
    loader: Any = data.test_dataloader()
    return next(iter(loader))


def as_bytes(x: Tensor) -> Tensor:
    """Images as bytes: unchanged, or rounded from [0, 1]."""
    return x if x.dtype == torch.uint8 else (x * 255).round().to(torch.uint8)
