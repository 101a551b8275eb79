"""Sequence tagging: a tag for each word of a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Unpack, cast

import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import SumMetric

from dlzoo.losses.functional import widen
from dlzoo.metrics.spans import SpanScores
from dlzoo.nets.base import TaggingNet
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.batch import Batch, TensorOrDict
from dlzoo.specs.sentences import NO_WORD, SentenceSpec, Tags
from dlzoo.specs.tokenizer import PAD, UNKNOWN
from dlzoo.tasks.interfaces import Minimizing
from dlzoo.tasks.optimization import TaskOptions
from dlzoo.tasks.tagging_view import TaggingView
from dlzoo.tasks.views import View

COUNTS = ("words", "right", "unknown", "unknown_right", "loss", "learned")


class Tagging(Minimizing):
    """Tags words by the cross-entropy of each, or with `net.crf` by the likelihood of the sequence of a sentence's
    tags.

    The loss is the mean over the words of a batch, not over its sentences. Metrics: accuracy, the share of words with
    the right tag; accuracy_unknown, that of words which the vocabulary lacks (with data.min_count=1 those that no
    training sentence has); loss, in nats a word; of tags that mark spans also precision, recall and f1 of whole spans.
    """

    targets = (Tags,)
    net_type = TaggingNet
    net: TaggingNet
    spec: SentenceSpec

    def __init__(self, net: TaggingNet, spec: Spec, **options: Unpack[TaskOptions]) -> None:
        super().__init__(net, spec, **options)
        self.check_target(spec.target)
        self.counts: Any = nn.ModuleDict({name: SumMetric(nan_strategy="disable") for name in COUNTS})
        self.spans = SpanScores() if self.spec.target.are_spans else None
        self.monitor = ("val/f1", "max") if self.spans is not None else ("val/accuracy", "max")

    @property
    def ranking(self) -> tuple[tuple[str, str], ...]:
        return (self.monitor, ("val/loss", "min"))

    @property
    def predicted_target(self) -> Target:
        """The tags of the data; the best sequence of a conditional random field has no probability for each word."""
        return self.spec.target if self.net.crf is None else Tags(self.spec.target.names, has_probabilities=False)

    def predict(self, inputs: Tensor) -> Tensor:
        """Words (B, L, 1 + C) -> (B, L, K): the tags' probabilities of each word, or ones for the tags of the best
        sequence; zeros behind a sentence's end."""
        scores = widen(self(inputs))
        if self.net.crf is None:
            return scores.softmax(2).where(words_of(inputs)[..., None], 0.0)
        return self.one_hot(self.decoded(scores, words_of(inputs)), words_of(inputs))

    def outputs(self, inputs: Tensor) -> Tensor:
        """Words (B, L, 1 + C) -> the scores (B, L, K) of each word's tags, without those of pairs of tags."""
        return self(inputs)

    def decoded(self, scores: Tensor, mask: Tensor) -> Tensor:
        """Scores (B, L, K) -> the predicted tags (B, L)."""
        return scores.argmax(2) if self.net.crf is None else self.net.crf.decode(widen(scores), mask)

    def one_hot(self, tags: Tensor, mask: Tensor) -> Tensor:
        return F.one_hot(tags, self.spec.target.num_outputs).float().where(mask[..., None], 0.0)

    def loss(self, outputs: TensorOrDict, target: TensorOrDict, weight: Tensor | None = None) -> Tensor:
        """The mean over the words whose tag is known; a sentence with an unseen tag has no likelihood."""
        total, num = self.summed(cast(Tensor, outputs), cast(Tensor, target))
        return total / num.clamp(min=1)

    def summed(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, L, K), tags (B, L) -> the sum of the words' losses, and the number of words."""
        scores, mask = widen(scores), target != NO_WORD
        known = target >= 0
        if self.net.crf is None:
            each = F.cross_entropy(scores.flatten(0, 1), target.where(known, NO_WORD).flatten(), reduction="sum")
            return each, known.sum()
        learned = (known == mask).all(1)
        likelihood = self.net.crf.log_likelihood(scores, target.clamp(min=0), mask)
        return -likelihood.where(learned, 0.0).sum(), mask[learned].sum()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, target, _ = Batch(*batch)
        scores = self(x)
        loss = self.loss(scores, target)
        num, metrics = (target != NO_WORD).sum(), {}
        if self.net.crf is None:  # decoding a sentence takes as long as the step
            metrics["accuracy"] = (scores.detach().argmax(2) == target).sum() / num
        self.log_step(num, loss=loss.detach(), **metrics)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self.measure(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self.measure(batch)

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Updates the metrics of the split. "tags" (B, L) are the predicted ones. Of the T words whose tag is known, in
        the order of the batch: "output" (T, K), their scores, or ones for the decoded tags, and "target" (T,)."""
        x, target, _ = Batch(*batch)
        scores = widen(self(x))
        mask = target != NO_WORD
        tags = self.decoded(scores, mask)
        total, num = self.summed(scores, target)
        unknown, right = mask & (x[..., 0] == UNKNOWN), mask & (tags == target)
        parts = (mask.sum(), right.sum(), unknown.sum(), (right & unknown).sum(), total, num)
        for name, value in zip(COUNTS, parts, strict=True):
            self.counts[name].update(value)
        if self.spans is not None:
            self._update_spans(tags, target)
        output = scores if self.net.crf is None else self.one_hot(tags, mask)
        known = target >= 0
        return {"output": output[known], "target": target[known], "tags": tags, "loss": total / num.clamp(min=1)}

    def _update_spans(self, tags: Tensor, target: Tensor) -> None:
        assert self.spans is not None
        names = (*self.spec.target.names, "")  # the last, number -1, is a tag that no training word has
        for predicted, actual in zip(tags.tolist(), target.tolist(), strict=True):
            length = sum(tag != NO_WORD for tag in actual)
            self.spans.update([names[tag] for tag in predicted[:length]], [names[tag] for tag in actual[:length]])

    def log_split(self, split: str) -> None:
        sums = {name: metric.compute() for name, metric in self.counts.items()}
        for metric in self.counts.values():
            metric.reset()
        values = {"loss": sums["loss"] / sums["learned"].clamp(min=1), "accuracy": sums["right"] / sums["words"]}
        if sums["unknown"]:
            values["accuracy_unknown"] = sums["unknown_right"] / sums["unknown"]
        if self.spans is not None:
            values |= self.spans.compute()
            self.spans.reset()
        self.log_dict({f"{split}/{name}": value for name, value in values.items()})

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: TaggingView(self)}


def words_of(x: Tensor) -> Tensor:
    """Words (B, L, 1 + C) -> (B, L), false behind each sentence's end."""
    return x[..., 0] != PAD
