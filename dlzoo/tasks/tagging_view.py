"""Export views of taggers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from dlzoo.specs.batch import TensorOrDict, first_tensor
from dlzoo.tasks.views import Tensors, View

if TYPE_CHECKING:
    from dlzoo.tasks.tagging import Tagging


class TaggingView(View["Tagging"]):
    """Exported tagger: probabilities of the tags of each word, or the best sequence of tags as one-hot rows, which the
    file finds by the Viterbi algorithm."""

    def __init__(self, task: Tagging) -> None:
        super().__init__(task)
        self.inputs = task.spec.ports()
        self.outputs = task.predicted_target.ports()

    def forward(self, words: Tensor) -> Tensors:  # type: ignore[override]
        return (self.task.predict(words),)

    def expected(self, words: Tensor) -> Tensors:  # type: ignore[override]
        with torch.inference_mode():
            return (self.trained.predict(words),)

    def metrics(self) -> MetricCollection:
        return MetricCollection({"accuracy": MulticlassAccuracy(self.trained.spec.target.num_outputs, average="micro")})

    def measured(self, output: Tensor, target: TensorOrDict) -> tuple[Tensor, Tensor]:
        tags = first_tensor(target)
        return output.argmax(2)[tags >= 0], tags[tags >= 0]
