"""What tasks that learn word vectors share: counts of words, corrections of few rows, and the export."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.errors import UserError
from dlzoo.nets.base import WordNet
from dlzoo.specs.base import Port, Spec, Target
from dlzoo.specs.batch import Batch
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import Classes, NextTokens, Values
from dlzoo.specs.tokenizer import UNKNOWN
from dlzoo.tasks.interfaces import WordVectors
from dlzoo.tasks.manual import ManualTask
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.views import Tensors, View


class WordLearning(ManualTask, WordVectors):
    """Learns word vectors from texts, whatever their targets, without an optimizer: a step changes few rows.

    Args:
        learning_rate: at the start.
    """

    uses_optimizer = False
    targets: ClassVar[tuple[type[Target], ...]] = (Classes, Values, NextTokens)
    net_type = WordNet
    net: WordNet
    spec: TextSpec

    def __init__(
        self,
        net: WordNet,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        learning_rate: float,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        if self.spec.tokenizer.level != "word":
            raise UserError(f"word vectors are of words, but the data gives {spec.describe()}; set data.level=word")
        if not 0 < learning_rate <= 1:
            raise UserError(f"task.learning_rate={learning_rate} must be above 0 and at most 1")
        self.learning_rate_at_start = learning_rate

    @property
    def vectors(self) -> Tensor:
        return self.net.vectors.detach()

    # ------------------------------------------------------------------ the trainer

    def setup_trainer(self, trainer: pl.Trainer) -> None:
        if trainer.world_size > 1:
            raise UserError(
                f"trainer.devices={trainer.world_size}: word vectors are learned in one process, whose steps follow "
                "one another; omit it"
            )
        if trainer.accumulate_grad_batches > 1:
            raise UserError(
                f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}: word vectors are corrected "
                "several times in a batch; omit it"
            )
        super().setup_trainer(trainer)

    def on_train_start(self) -> None:
        super().on_train_start()
        counts = torch.zeros_like(self.net.counts)
        for x in self.training_texts():
            counts += torch.bincount(x.flatten(), minlength=len(counts)).to(counts)
        counts[: UNKNOWN + 1] = 0
        if int((counts > 0).sum()) < 2:
            raise UserError("the training text has fewer than two known words: lower data.min_count, or give more text")
        self.net.counts.copy_(counts)

    def training_texts(self) -> Iterator[Tensor]:
        """The training texts, in batches (B, L) of a fixed order."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is None:
            raise UserError(
                "word vectors read the training texts first, to count their words: give the trainer a data module, not "
                "loaders"
            )
        for batch in data.batches("train"):
            yield data.transfer_batch_to_device(Batch(*batch), self.device, 0).inputs

    # ------------------------------------------------------------------ evaluation and export

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: Lookup(self)}


class Lookup(View[WordLearning]):
    """Exported word vectors: those of the tokens of texts."""

    def __init__(self, task: WordLearning) -> None:
        super().__init__(task)
        self.inputs = task.spec.ports()
        shape = ("batch", "length", task.vectors.shape[1])
        self.outputs = (Port("vectors", "float32", shape, "of the tokens"),)

    def forward(self, tokens: Tensor) -> Tensors:  # type: ignore[override]
        return (self.task(tokens),)

    def expected(self, tokens: Tensor) -> Tensors:  # type: ignore[override]
        with torch.inference_mode():
            return (self.trained(tokens),)


def add_rows(table: Tensor, rows: Tensor, changes: Tensor, steps: Tensor, *, most: float) -> None:
    """Add changes (N, D) to the rows (N,) of a table (V, D), in place.

    Changes of one row are computed from the same vector, so that a row that occurs often would overshoot: once its
    steps add up to more than ``most``, they are scaled down to that.

    Args:
        steps: (N,), the learning rate of each change times the number of pairs that it sums over.
    """
    total = table.new_zeros(len(table)).scatter_add_(0, rows, steps)
    factor = (most / total.clamp_(min=most)).index_select(0, rows)
    # a sorted reduction, several times as fast as index_add_ and, with several threads, of the same result
    table.scatter_add_(0, rows[:, None].expand_as(changes), changes * factor[:, None])
