"""Training GloVe: weighted least squares on logarithms of co-occurrences, by AdaGrad.

J. Pennington, R. Socher, C. D. Manning, "GloVe: Global Vectors for Word Representation", EMNLP 2014; rates and start
values are those of the authors' program, which corrects the vectors after each pair; here after some thousand.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dlzoo.errors import UserError, at_least, between
from dlzoo.layers.cooccurrences import Cooccurrences, count
from dlzoo.nets.glove import GloVe
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.specs.tokenizer import UNKNOWN
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory, count_batches
from dlzoo.tasks.word_vectors import WordLearning

MAX_WINDOW = 1000
EVAL_PAIRS = 1 << 16
"""At once: affects memory only."""


class CooccurrenceFactorization(WordLearning):
    """For `GloVe`.

    The co-occurrences of the training texts are counted when training starts or is resumed. An epoch passes over all
    pairs in a new order; each batch of texts stands for an equal share of them.

    Metrics: loss, the mean over the pairs of f(x) (v.u + b + c - log x)^2 / 2; that of training is measured on the
    first pairs of each batch. Those of validation and test are over the pairs of these texts, whose counts are fitted
    after they are scaled to the number of words of the training text, and weighed by as they are: that a pair of rare
    words is there at all makes its scaled count too large.

    Args:
        window: words of the context on each side; a pair at distance d counts 1 / d.
        x_max: the count from which on pairs weigh 1; below, they weigh (x / x_max)^alpha.
        alpha: of this weight.
        pairs_per_step: pairs between two corrections of the vectors.
    """

    net_type = GloVe
    net: GloVe

    def __init__(
        self,
        net: GloVe,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        window: int = 10,
        x_max: float = 100.0,
        alpha: float = 0.75,
        pairs_per_step: int = 4096,
        learning_rate: float = 0.05,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler, learning_rate=learning_rate)
        between(1, MAX_WINDOW, "task", window=window)
        between(0, 1, "task", alpha=alpha)
        at_least(1, "task", pairs_per_step=pairs_per_step)
        if not x_max > 0:
            raise UserError(f"task.x_max={x_max} must be above 0")
        self.window, self.x_max, self.alpha = window, x_max, alpha
        self.pairs_per_step = pairs_per_step
        self.seed = torch.initial_seed() % 2**63
        self.pairs: Cooccurrences | None = None
        """Of the training texts."""
        self.order: tuple[int, Tensor] | None = None
        """An epoch, and the order of its pairs."""
        self.eval_texts: list[Tensor] = []
        """Of the split that is evaluated."""

    # ------------------------------------------------------------------ steps

    def on_train_start(self) -> None:
        super().on_train_start()
        pairs = count(self.training_texts(), self.spec.num_tokens, self.window)
        if not len(pairs.values):
            raise UserError("no training text has two known words: lower data.min_count, or give more text")
        self.pairs, self.order = Cooccurrences(*(part.to(self.device) for part in pairs)), None

    @torch.no_grad()
    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        assert self.pairs is not None
        with torch.autocast(self.device.type, enabled=False):  # vectors are corrected in place
            for number, rows in enumerate(self.share(batch_idx).split(self.pairs_per_step)):
                words, contexts, values = (part.index_select(0, rows) for part in self.pairs)
                loss, change, change_of_contexts = self.gradients(words, contexts, values)
                if not number:
                    mean = loss.mean()
                    self.check_finite((mean,))
                    self.log_step(len(rows), loss=mean)
                if self.step_skipped:
                    return
                self.adagrad(self.net.table.data, self.net.squares, words, change)
                self.adagrad(self.net.context_table.data, self.net.context_squares, contexts, change_of_contexts)

    def share(self, batch_idx: int) -> Tensor:
        """The numbers of the pairs that a batch of the epoch stands for."""
        assert self.pairs is not None
        num, num_batches = len(self.pairs.values), count_batches(self.trainer)
        if self.order is None or self.order[0] != self.current_epoch:
            draw = torch.Generator().manual_seed((self.seed * 1_000_003 + self.current_epoch) % 2**63)
            self.order = self.current_epoch, torch.randperm(num, generator=draw).to(self.device)
        return self.order[1][batch_idx * num // num_batches : (batch_idx + 1) * num // num_batches]

    def gradients(
        self, words: Tensor, contexts: Tensor, values: Tensor, scale: float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs (N,) and their counts -> their losses (N,), and the gradients with respect to the rows of both tables,
        (N, D + 1).

        Args:
            scale: factor of the counts that are fitted, but not of those that pairs weigh by.
        """
        a = self.net.table.data.index_select(0, words)
        b = self.net.context_table.data.index_select(0, contexts)
        error = (a[:, :-1] * b[:, :-1]).sum(1) + a[:, -1] + b[:, -1] - values.to(a.dtype).log() - math.log(scale)
        weight = (values / self.x_max).clamp(max=1).to(a.dtype) ** self.alpha
        scaled = weight * error
        change, change_of_contexts = scaled[:, None] * b, scaled[:, None] * a
        change[:, -1] = change_of_contexts[:, -1] = scaled  # of the biases
        return scaled * error / 2, change, change_of_contexts

    def adagrad(self, table: Tensor, squares: Tensor, rows: Tensor, gradients: Tensor) -> None:
        """Correct rows by their rate divided by the root of the sum of their squared gradients so far."""
        index = rows[:, None].expand_as(gradients)
        step = gradients * squares.index_select(0, rows).rsqrt_()
        table.scatter_add_(0, index, step.mul_(-self.learning_rate_at_start))
        squares.scatter_add_(0, index, gradients.square_())

    # ------------------------------------------------------------------ evaluation

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.eval_texts.append(Batch(*batch).inputs.cpu())

    def log_split(self, split: str) -> None:
        texts, self.eval_texts = self.eval_texts, []
        pairs = count(texts, self.spec.num_tokens, self.window)
        if not len(pairs.values):
            name = {"val": "validation", "test": "test"}[split]
            raise UserError(f"no {name} text has two known words, which could stand near each other: give more text")
        num_words = sum(int((x > UNKNOWN).sum()) for x in texts)
        scale = max(float(self.net.counts.sum()), 1.0) / num_words
        total = 0.0
        with torch.autocast(self.device.type, enabled=False):
            for part in zip(*(column.split(EVAL_PAIRS) for column in pairs), strict=True):
                words, contexts, values = (column.to(self.device) for column in part)
                loss, _, _ = self.gradients(words, contexts, values, scale)
                total += float(loss.double().sum())
        self.log(f"{split}/loss", total / len(pairs.values))
