"""Export views: what an exported file computes, from raw inputs to the trained task's predictions.

A view combines a net with its pre- and postprocessing (pixel scaling, standardisation, probabilities from logits, the
feedback loop of a forecast) in one module from tensors to tensors. `View.expected` computes the same
outputs the way the commands do; every exported file is verified against it. The views of a kind of task
are defined next to its class, which lists them in `Task.export_views`.
"""

from __future__ import annotations

from abc import abstractmethod
from operator import itemgetter
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from dlzoo.data.base import DataModule
from dlzoo.specs.base import Port
from dlzoo.specs.batch import TensorOrDict, first_tensor, map_tensors, part_of
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
        x, target, *_ = typical_batch(data)
        x, target = (map_tensors(itemgetter(slice(num)), part) for part in (x, target))
        return (*self.raw(x), *self.labels(target))

    def labels(self, target: TensorOrDict) -> Tensors:
        """Labels of a batch, for class-conditional views."""
        return ()

    def raw(self, x: TensorOrDict) -> Tensors:
        """A batch's inputs in the exported file's format, one tensor for each: pixels as bytes."""
        parts = {name: (part_of(x, name), spec) for name, spec in self.trained.spec.by_name.items()}
        return tuple(as_bytes(part) if spec.images else part for part, spec in parts.values())

    def pixels(self, x: Tensor) -> Tensor:
        """Bytes converted for the task; other inputs unchanged."""
        return x.float() * (1 / 255) if self.trained.spec.images else x

    def metrics(self) -> MetricCollection | None:
        """Metrics of the first output's quality; None if there are none."""
        return None

    def measured(self, output: Tensor, target: TensorOrDict) -> tuple[Tensor, Tensor]:
        """The first output and the batch's target, in the metrics' format."""
        return output, first_tensor(target)


def typical_batch(data: DataModule) -> Tensors:
    """A batch of the test split, as stored: the first, or the middle one if rows are sorted by length, since the first
    may then hold texts of a single token."""
    from dlzoo.data.text.loaders import LengthLoader

    loader: Any = data.test_dataloader()
    batches: Any = loader.iterate(len(loader) // 2) if isinstance(loader, LengthLoader) else iter(loader)
    return next(batches)


def as_bytes(x: Tensor) -> Tensor:
    """Images as bytes: unchanged, or rounded from [0, 1]."""
    return x if x.dtype == torch.uint8 else (x * 255).round().to(torch.uint8)
