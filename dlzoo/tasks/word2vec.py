"""Training word2vec: skip-gram and CBOW, with negative sampling or hierarchical softmax.

T. Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality", 2013, for skip-gram,
negative sampling and subsampling; "Efficient Estimation of Word Representations in Vector Space", 2013, for CBOW.
The rate, subsampling and the noise distribution are those of the authors' program, which corrects the vectors after
each pair; here they are corrected after some hundred words, by matrix products over blocks of words that share
their negative samples (as in S. Ji, N. Satish, S. Li, P. Dubey, "Parallelizing Word2Vec in Shared and Distributed
Memory", 2016).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric

from dlzoo.errors import UserError, at_least, between, pick
from dlzoo.layers.huffman import Tree, huffman
from dlzoo.layers.word_windows import Chunk, Windows, running_words
from dlzoo.nets.word2vec import Word2Vec
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.specs.tokenizer import UNKNOWN
from dlzoo.tasks.interfaces import EVAL_SEED
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory, count_batches
from dlzoo.tasks.word_vectors import WordLearning, add_rows

MAX_STEP = 2.0
"""Sum of the steps of a row in one correction: the learning rate times its terms of the loss."""
MAX_WINDOW = 1000
MIN_RATE = 1e-4
"""Of the learning rate at the end, as a fraction of that at the start."""


class Gradient(NamedTuple):
    """What one chunk changes: rows of a table, in the direction of falling loss."""

    table: Tensor
    rows: Tensor
    """(N,)"""
    changes: Tensor
    """(N, D)"""
    terms: Tensor
    """(N,), the number of terms of the loss that each is summed over."""


class Derived(NamedTuple):
    """What follows from the counts of the words."""

    kept: Tensor
    """(V,), the probability of keeping an occurrence."""
    noise: Tensor
    """(V,), the cumulative distribution of negative samples."""
    tree: Tree | None
    """The Huffman codes of the words, of hierarchical softmax."""


class WordPrediction(WordLearning):
    """For `Word2Vec`.

    Metrics: loss, the mean loss per predicted word: with negative sampling -log s(u.v) - sum log s(-u_k.v) over K
    negative samples, with hierarchical softmax the negative log-likelihood. That of training is measured on the first
    words of each batch.

    Args:
        architecture: skipgram: a word predicts each word of its context; cbow: the mean of the context predicts it.
        window: words of the context on each side, at most; drawn anew for each word, from 1 up to this.
        num_negatives: K, negative samples per pair, from the distribution of words to the power 0.75. One that is the
            predicted word itself counts too, where the authors' program draws none.
        shared_negatives: distinct draws per block of 32 words, which all its pairs share, weighted so that they count
            as K.
        subsample: words that make up more than this share of the text are dropped with probability
            1 - (sqrt(f / t) + 1) t / f, anew in each epoch; 0: none are.
        words_per_step: words between two corrections of the vectors.
    """

    net_type = Word2Vec
    net: Word2Vec

    def __init__(
        self,
        net: Word2Vec,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        architecture: Literal["skipgram", "cbow"] = "skipgram",
        window: int = 5,
        num_negatives: int = 5,
        shared_negatives: int = 64,
        subsample: float = 1e-3,
        words_per_step: int = 512,
        learning_rate: float = 0.025,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler, learning_rate=learning_rate)
        pick(architecture, {"skipgram": 0, "cbow": 0}, "task.architecture")
        between(1, MAX_WINDOW, "task", window=window)
        at_least(1, "task", num_negatives=num_negatives, shared_negatives=shared_negatives)
        at_least(1, "task", words_per_step=words_per_step)
        between(0, 1, "task", subsample=subsample)
        self.architecture = architecture
        self.windows = Windows(window)
        self.num_negatives, self.shared_negatives = num_negatives, shared_negatives
        self.subsample = subsample
        self.words_per_step = words_per_step
        self.num_epochs = 1.0
        """Epochs over which the rate falls."""
        self.eval_loss = MeanMetric()
        self.eval_draw = torch.Generator()
        self._derived: Derived | None = None

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        samples = (self.net.output == "negative_sampling", "net.output=negative_sampling")
        return super().option_uses() | {"num_negatives": samples, "shared_negatives": samples}

    # ------------------------------------------------------------------ what follows from the counts

    def on_train_start(self) -> None:
        super().on_train_start()
        self._derived = None
        self.num_epochs = self.planned_epochs()

    @property
    def derived(self) -> Derived:
        """Computed when it is first needed, of a trained net or when its training starts."""
        if self._derived is None:
            counts = self.net.counts
            weights = counts.double() ** 0.75
            noise = (weights / weights.sum().clamp(min=1e-300)).cumsum(0)
            kept = kept_probability(counts, self.subsample) if self.subsample else torch.ones_like(counts)
            tree = None
            if self.net.output == "hierarchical_softmax":
                tree = Tree(*(part.to(counts.device) for part in huffman(counts[UNKNOWN + 1 :].cpu())))
            self._derived = Derived(kept, noise, tree)
        return self._derived

    def planned_epochs(self) -> float:
        trainer, limits = self.trainer, []
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            limits.append(float(trainer.max_epochs))
        if trainer.max_steps >= 0:
            limits.append(trainer.max_steps / count_batches(trainer))
        if not limits:
            raise UserError(
                "trainer.max_epochs=-1: the learning rate of word vectors falls over the run, whose length must be "
                "known; set trainer.max_epochs or trainer.max_steps"
            )
        return max(min(limits), 1e-9)

    def progress(self, batch_idx: int, part: float = 0.0) -> float:
        """From 0 at the start of the run to 1 at its end.

        Args:
            part: of the batch that is done.
        """
        done = self.current_epoch + (batch_idx + part) / count_batches(self.trainer)
        return min(done / self.num_epochs, 1.0)

    # ------------------------------------------------------------------ steps

    @torch.no_grad()
    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        with torch.autocast(self.device.type, enabled=False):  # vectors are corrected in place
            x, _, _ = Batch(*batch)
            chunks = list(self.chunks(x))
            for number, chunk in enumerate(chunks):
                loss, count, gradients = self.gradients(chunk, with_loss=not number)
                if not number:
                    mean = loss / count.clamp(min=1)
                    self.check_finite((mean,))
                    self.log_step(count, loss=mean)
                if self.step_skipped:
                    return
                progress = self.progress(batch_idx, number / len(chunks))
                rate = self.learning_rate_at_start * max(1 - progress, MIN_RATE)
                for table, rows, changes, terms in gradients:
                    add_rows(table, rows, changes.mul_(rate), terms * rate, most=MAX_STEP)

    def chunks(self, x: Tensor, draw: torch.Generator | None = None, *, drops: bool = True) -> Iterator[Chunk]:
        """Texts (B, L) -> their words in chunks, with windows.

        Args:
            drops: whether frequent words are dropped.
        """
        words, texts = running_words(x)
        if self.subsample and drops:
            is_kept = self.uniform(words.shape, draw) < self.derived.kept[words]
            words, texts = words[is_kept], texts[is_kept]
        reach = 1 + (self.uniform(words.shape, draw) * self.windows.size).floor()
        if len(words):
            yield from self.windows.chunks(words, texts, reach, self.words_per_step)

    def uniform(self, shape: tuple[int, ...], draw: torch.Generator | None) -> Tensor:
        """Uniform numbers in [0, 1) in single precision, from a generator of the CPU or that of the run."""
        if draw is None:
            return torch.rand(shape, device=self.device, dtype=torch.float32)
        return torch.rand(shape, generator=draw, dtype=torch.float32).to(self.device)

    def gradients(
        self, chunk: Chunk, *, with_loss: bool, draw: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, list[Gradient]]:
        """Sum of the losses of a chunk (0 unless asked for), number of predicted words, and the negative gradients."""
        chunk = chunk._replace(mask=chunk.mask.to(self.net.table.dtype))
        if self.net.output == "hierarchical_softmax":
            method = self.hierarchical_cbow if self.architecture == "cbow" else self.hierarchical_skipgram
            return method(chunk, with_loss)
        num_blocks = len(chunk.mask)
        shape = (num_blocks, self.shared_negatives)
        noise = self.derived.noise
        draws = self.uniform(shape, draw).to(noise.dtype)
        negatives = torch.searchsorted(noise, draws, right=True).clamp_(max=len(noise) - 1)
        sampled = self.sampled_cbow if self.architecture == "cbow" else self.sampled_skipgram
        return sampled(chunk, negatives, with_loss)

    def sampled_skipgram(
        self, chunk: Chunk, negatives: Tensor, with_loss: bool
    ) -> tuple[Tensor, Tensor, list[Gradient]]:
        windows, outputs = self.windows, self.net.output_weights.data
        num_pairs = chunk.mask.sum(2)  # (N / B, B)
        share = self.num_negatives / self.shared_negatives
        v = self.rows(self.net.table, chunk.words).view(*num_pairs.shape, -1)
        u = windows.band(self.rows(outputs, chunk.around))
        u_noise = self.rows(outputs, negatives)
        scores, noise_scores = v @ u.transpose(1, 2), v @ u_noise.transpose(1, 2)
        loss = scores.new_zeros(())
        if with_loss:
            loss = (F.softplus(-scores) * chunk.mask).sum()
            loss += (F.softplus(noise_scores) * num_pairs[..., None]).sum() * share
        error = scores.neg_().sigmoid_().mul_(chunk.mask)  # 1 - s(u.v)
        noise_error = noise_scores.sigmoid_().mul_(num_pairs[..., None] * -share)
        return loss, num_pairs.sum(), [
            Gradient(
                self.net.table.data, chunk.words, flat(error @ u + noise_error @ u_noise),
                num_pairs.flatten() * (1 + self.num_negatives),
            ),
            Gradient(
                outputs, chunk.around, windows.sum_band(error.transpose(1, 2) @ v),
                windows.sum_band(chunk.mask.sum(1)[..., None])[:, 0],
            ),
            Gradient(
                outputs, negatives.flatten(), flat(noise_error.transpose(1, 2) @ v),
                (num_pairs.sum(1, keepdim=True) * share).expand_as(negatives).flatten(),
            ),
        ]  # fmt: skip

    def sampled_cbow(self, chunk: Chunk, negatives: Tensor, with_loss: bool) -> tuple[Tensor, Tensor, list[Gradient]]:
        outputs = self.net.output_weights.data
        hidden, is_predicted = self.context_means(chunk)
        share = self.num_negatives / self.shared_negatives
        u, u_noise = self.rows(outputs, chunk.words).view_as(hidden), self.rows(outputs, negatives)
        scores, noise_scores = (hidden * u).sum(2), hidden @ u_noise.transpose(1, 2)
        loss = scores.new_zeros(())
        if with_loss:
            loss = (F.softplus(-scores) * is_predicted).sum()
            loss += (F.softplus(noise_scores) * is_predicted[..., None]).sum() * share
        error = (scores.neg_().sigmoid_() * is_predicted)[..., None]
        noise_error = noise_scores.sigmoid_().mul_(is_predicted[..., None] * -share)
        change = error * u + noise_error @ u_noise
        return loss, is_predicted.sum(), [
            self.context_gradient(chunk, change, is_predicted[..., None] * (1 + self.num_negatives)),
            Gradient(outputs, chunk.words, flat(error * hidden), is_predicted.flatten()),
            Gradient(
                outputs, negatives.flatten(), flat(noise_error.transpose(1, 2) @ hidden),
                (is_predicted.sum(1, keepdim=True) * share).expand_as(negatives).flatten(),
            ),
        ]  # fmt: skip

    def hierarchical_skipgram(self, chunk: Chunk, with_loss: bool) -> tuple[Tensor, Tensor, list[Gradient]]:
        """Each word is predicted by the words around it, so that its path is gathered once."""
        size, num = self.windows.size, len(chunk.words)
        nodes, signs, is_node, weights = self.paths(chunk.words)
        pairs = self.by_position(chunk.mask)  # (N, 2w + 1)
        v = self.rows(self.net.table, chunk.around)
        inputs = v.as_strided((num, 2 * size + 1, v.shape[1]), (v.shape[1], v.shape[1], 1))
        scores = (inputs @ weights.transpose(1, 2)) * signs[:, None]  # (N, 2w + 1, P)
        mask = pairs[..., None] * is_node[:, None]
        loss = (F.softplus(-scores) * mask).sum() if with_loss else scores.new_zeros(())
        error = scores.neg_().sigmoid_().mul_(mask).mul_(signs[:, None])
        change, change_of_words = error @ weights, torch.zeros_like(v)
        terms, steps = v.new_zeros(len(v)), is_node.sum(1)
        for offset in range(2 * size + 1):
            change_of_words[offset : offset + num] += change[:, offset]
            terms[offset : offset + num] += pairs[:, offset] * steps
        num_pairs = pairs.sum(1)
        return loss, num_pairs.sum(), [
            Gradient(self.net.table.data, chunk.around, change_of_words, terms),
            self.node_gradient(nodes, error.transpose(1, 2) @ inputs, is_node * num_pairs[:, None]),
        ]  # fmt: skip

    def hierarchical_cbow(self, chunk: Chunk, with_loss: bool) -> tuple[Tensor, Tensor, list[Gradient]]:
        nodes, signs, is_node, weights = self.paths(chunk.words)
        hidden, is_predicted = self.context_means(chunk)
        inputs = flat(hidden)[:, None]  # (N, 1, D)
        scores = (inputs @ weights.transpose(1, 2))[:, 0] * signs
        mask = is_node * is_predicted.flatten()[:, None]
        loss = (F.softplus(-scores) * mask).sum() if with_loss else scores.new_zeros(())
        error = (scores.neg_().sigmoid_() * mask * signs)[:, None]  # (N, 1, P)
        return loss, is_predicted.sum(), [
            self.context_gradient(
                chunk, (error @ weights).view_as(hidden), mask.sum(1).view(*is_predicted.shape, 1)
            ),
            self.node_gradient(nodes, error.transpose(1, 2) * inputs, mask),
        ]  # fmt: skip

    # ------------------------------------------------------------------ parts of a step

    def rows(self, table: Tensor, rows: Tensor) -> Tensor:
        return table.data.index_select(0, rows.flatten()).view(*rows.shape, -1)

    def context_means(self, chunk: Chunk) -> tuple[Tensor, Tensor]:
        """Mean vectors (N / B, B, D) of the contexts, and whether there is any, (N / B, B)."""
        sizes = chunk.mask.sum(2)
        around = self.windows.band(self.rows(self.net.table, chunk.around))
        return (chunk.mask / sizes.clamp(min=1)[..., None]) @ around, (sizes > 0).to(chunk.mask.dtype)

    def context_gradient(self, chunk: Chunk, change: Tensor, terms: Tensor) -> Gradient:
        """Each word of a context gets the whole change (N / B, B, D) of the mean, as in the authors' program.

        Args:
            terms: (N / B, B, 1), of which each change is summed.
        """
        total = self.windows.sum_band(chunk.mask.transpose(1, 2) @ change)
        terms = self.windows.sum_band(chunk.mask.transpose(1, 2) @ terms)[:, 0]
        return Gradient(self.net.table.data, chunk.around, total, terms)

    def paths(self, words: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The inner nodes of words (N, P), 1 where a path goes left and -1 where right, 1 where it has not ended, else
        0, and the weights (N, P, D) of the nodes."""
        tree = self.derived.tree
        assert tree is not None
        places = (words - UNKNOWN - 1).clamp(min=0)
        longest = int(tree.lengths[places].max())
        dtype = self.net.table.dtype
        nodes = tree.nodes[places, :longest]
        signs = 1 - 2 * tree.codes[places, :longest].to(dtype)
        is_node = (torch.arange(longest, device=words.device) < tree.lengths[places][:, None]).to(dtype)
        return nodes, signs, is_node, self.rows(self.net.output_weights, nodes)

    def node_gradient(self, nodes: Tensor, changes: Tensor, pairs: Tensor) -> Gradient:
        return Gradient(self.net.output_weights.data, nodes.flatten(), flat(changes), pairs.flatten())

    def by_position(self, mask: Tensor) -> Tensor:
        """(N / B, B, B + 2w) -> (N, 2w + 1), the part of the band that each word can see."""
        num, block, width = mask.shape
        strides = (block * width, width + 1, 1)  # a row further, and a column further
        return mask.contiguous().as_strided((num, block, 2 * self.windows.size + 1), strides).flatten(0, 1)

    # ------------------------------------------------------------------ evaluation

    def on_validation_epoch_start(self) -> None:
        self.eval_draw.manual_seed(EVAL_SEED)

    def on_test_epoch_start(self) -> None:
        self.eval_draw.manual_seed(EVAL_SEED)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        x, _, _ = Batch(*batch)
        with torch.autocast(self.device.type, enabled=False):
            chunks = list(self.chunks(x, self.eval_draw))
            if not any(bool(chunk.mask.any()) for chunk in chunks):  # of a few texts, too much was dropped
                chunks = list(self.chunks(x, self.eval_draw, drops=False))
            for chunk in chunks:
                loss, count, _ = self.gradients(chunk, with_loss=True, draw=self.eval_draw)
                if count:
                    self.eval_loss.update((loss / count).float(), count.float())

    def log_split(self, split: str) -> None:
        if not self.eval_loss.update_called:
            name = {"val": "validation", "test": "test"}[split]
            raise UserError(f"no {name} text has two known words, of which one could predict the other: give more text")
        self.log(f"{split}/loss", self.eval_loss.compute())
        self.eval_loss.reset()


def kept_probability(counts: Tensor, threshold: float) -> Tensor:
    """The probability of keeping each occurrence of words with these counts (V,), by the authors' program.

    >>> kept_probability(torch.tensor([0.0, 99.0, 1.0]), 0.01)  # sqrt(t / f) + t / f with f = 0.99
    tensor([1.0000, 0.1106, 1.0000])
    """
    frequency = counts / counts.sum().clamp(min=1)
    ratio = threshold / frequency.clamp(min=1e-12)
    return (ratio.sqrt() + ratio).clamp(max=1)


def flat(x: Tensor) -> Tensor:
    """(N, M, D) -> (N * M, D)"""
    return x.flatten(0, 1)
