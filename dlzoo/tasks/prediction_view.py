"""Export views of what a task predicts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MetricCollection

from dlzoo.specs.batch import TensorOrDict, tensors
from dlzoo.tasks.views import Tensors, View

if TYPE_CHECKING:
    from dlzoo.tasks.base import Task
    from dlzoo.tasks.supervised import Supervised


def decisions(scores: Tensor) -> Tensor:
    """Scores (B, K) -> one-hot rows (B, K) of the largest; a score that is NaN stays one."""
    largest = F.one_hot(scores.argmax(1), scores.shape[1]).to(scores.dtype)
    return torch.where(scores.isnan(), scores, largest)


class Predictor(View["Supervised"]):
    """Exported predictor: class probabilities, or values. Named inputs, targets and outputs keep their names."""

    def __init__(self, task: Supervised) -> None:
        super().__init__(task)
        self.inputs = task.spec.ports()
        taken = {port.name for port in self.inputs}
        self.outputs = tuple(
            replace(port, name=f"{port.name}_output") if port.name in taken else port
            for port in task.predicted_target.ports()
        )

    def forward(self, *inputs: Tensor) -> Tensors:
        return tuple(tensors(self.task.predict(self.batch(inputs))))

    def expected(self, *inputs: Tensor) -> Tensors:
        with torch.inference_mode():
            return tuple(tensors(self.trained.predict(self.batch(inputs))))

    def batch(self, inputs: Tensors) -> TensorOrDict:
        """The inputs of a file as the task takes them: one tensor, or a dict by name."""
        parts = self.trained.spec.by_name
        scaled = [x.float() * (1 / 255) if spec.images else x for x, spec in zip(inputs, parts.values(), strict=True)]
        return dict(zip(parts, scaled, strict=True)) if self.trained.spec.named is not None else scaled[0]

    def metrics(self) -> MetricCollection:
        head = self.trained.heads[0]
        return head.objective.metrics().clone(prefix=head.prefix)

    def measured(self, answer: Tensor, target: TensorOrDict) -> tuple[Tensor, Tensor]:
        head = self.trained.heads[0]
        target = self.trained.of_head(head, target)
        if head.target.classes is not None:
            return answer.argmax(1), target
        return answer, target if head.target.labels is None else target.long()


class Prediction(View["Task"]):
    """Exported predictions of a task that finds its own target, such as clusters or components."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        assert task.predicted_target is not None
        self.inputs = task.spec.ports()
        self.outputs = task.predicted_target.ports()

    def forward(self, x: Tensor) -> Tensors:  # type: ignore[override]
        return tuple(tensors(self.task.predict(self.pixels(x))))

    def expected(self, x: Tensor) -> Tensors:  # type: ignore[override]
        with torch.inference_mode():
            return tuple(tensors(self.trained.predict(self.pixels(x))))
