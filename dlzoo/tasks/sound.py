"""Learning the distribution of each sample of a recording, given those before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric

from dlzoo.data.base import DataModule
from dlzoo.errors import at_least
from dlzoo.layers import mu_law
from dlzoo.losses.functional import widen
from dlzoo.nets.base import SampleNet
from dlzoo.specs.base import Port, Spec
from dlzoo.specs.batch import Batch
from dlzoo.specs.targets import Classes, Unlabelled
from dlzoo.tasks.interfaces import SoundModel
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.views import Tensors, View, typical_batch

EVAL_STEPS = 1024
"""Samples that are read at a time in validation and test: affects memory only."""


class SampleLevels(SoundModel):
    """Cross-entropy of the mu-law level of each sample, given those before it.

    Recordings begin after a sample of 0, and end with their last sample other than zero: what fills them up is not
    counted. In validation and test they are read from beginning to end.

    Metrics: the mean loss per sample in nats, and the same as ``bits_per_sample``; uncompressed it would be 8.

    Args:
        window: samples of each recording in a training step, from a random one on: the memory it takes is proportional.
    """

    targets = (Classes, Unlabelled)

    def __init__(
        self,
        net: SampleNet,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        window: int = 2048,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        at_least(1, "task", window=window)
        self.window = window
        self.eval_loss = MeanMetric()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y, _ = Batch(*batch)
        before, levels, is_sample = self.cut(*with_previous(x), self.window)
        logits = self.net.read(before, self.condition(y))
        count = is_sample.sum()
        loss = (cross_entropy(logits, levels) * is_sample).sum() / count.clamp(min=1)
        self.log_step(count, loss=loss, bits_per_sample=loss.detach() / math.log(2))
        return loss

    def cut(self, before: Tensor, levels: Tensor, lengths: Tensor, window: int) -> Tensors:
        """A random window (B, W) of each recording: the levels before its samples, their levels, and which are samples.

        Args:
            before, levels: (B, L)
        """
        width = min(window, levels.shape[1])
        starts = (self.noise.uniform((len(levels),), levels.device) * (lengths - width + 1).clamp(min=1)).long()
        places = starts[:, None] + torch.arange(width, device=levels.device)
        return before.gather(1, places), levels.gather(1, places), (places < lengths[:, None]).float()

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self.measure(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self.measure(batch)

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """The bits of each recording, (B,)."""
        x, y, _ = Batch(*batch)
        before, levels, lengths = with_previous(x)
        state = self.net.start(len(x), self.condition(y))
        total = torch.zeros(len(x), device=x.device)
        for start in range(0, int(lengths.max()), EVAL_STEPS):
            part = slice(start, min(start + EVAL_STEPS, int(lengths.max())))
            logits, state = self.net.step(before[:, part], state)
            is_sample = torch.arange(part.start, part.stop, device=x.device) < lengths[:, None]
            total += (cross_entropy(logits, levels[:, part]) * is_sample).sum(1)
        self.eval_loss.update(total / lengths.clamp(min=1), lengths.float())
        return {"bits": total / math.log(2)}

    def log_split(self, split: str) -> None:
        loss = float(self.eval_loss.compute())
        self.log_dict({f"{split}/loss": loss, f"{split}/bits_per_sample": loss / math.log(2)})
        self.eval_loss.reset()

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: NextLevel(self)}


def with_previous(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x: (B, 1, L) -> the level before each sample, its own level, (B, L) int64 each, and the lengths (B,)."""
    levels = mu_law.encode(x[:, 0])
    return mu_law.previous(levels), levels, mu_law.lengths(x)


def cross_entropy(logits: Tensor, levels: Tensor) -> Tensor:
    """(B, T, V), (B, T) -> (B, T) nats."""
    return F.cross_entropy(widen(logits.flatten(0, 1)), levels.flatten(), reduction="none").view(levels.shape)


class NextLevel(View[SampleLevels]):
    """Exported model of sound: the probabilities of the level after each sample."""

    def __init__(self, task: SampleLevels) -> None:
        super().__init__(task)
        self.inputs = (
            Port("levels", "int64", ("batch", "length"), "mu-law levels 0 to 255 of the samples, 128 before the first"),
        )
        if num := task.net.num_conditions:
            self.inputs = (*self.inputs, Port("classes", "float32", ("batch", num), "1 for the class, else 0"))
        shape = ("batch", "length", mu_law.NUM_LEVELS)
        self.outputs = (Port("probabilities", "float32", shape, "of the level after each"),)

    def real_inputs(self, data: DataModule, num: int) -> Tensors:
        """The beginnings of some recordings, and their classes."""
        x, y = typical_batch(data)[:2]
        before = with_previous(x[:num])[0][:, :64].contiguous()
        condition = self.trained.condition(y[:num])
        return (before,) if condition is None else (before, condition)

    def forward(self, *inputs: Tensor) -> Tensors:
        return (self.task.net.read(*inputs).softmax(-1),)

    def expected(self, *inputs: Tensor) -> Tensors:
        with torch.inference_mode():
            return (self.trained.net.read(*inputs).softmax(-1),)
