"""Training language models: by truncated back-propagation through time, or on windows of text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric

from dlzoo.data.base import DataModule
from dlzoo.errors import between
from dlzoo.layers.recurrent import State
from dlzoo.losses.functional import widen
from dlzoo.nets.base import RecurrentNet, WindowNet
from dlzoo.specs.base import Port
from dlzoo.specs.batch import Batch
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import NextTokens
from dlzoo.specs.tokenizer import PAD, UNKNOWN
from dlzoo.tasks.interfaces import LanguageModel
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.views import Tensors, View, typical_batch

EVAL_STEPS = 256
EVAL_LOGITS = 1 << 25
"""Largest length of a chunk in validation and test, and its largest number of logits: affects memory only."""


class NextTokenLoss(LanguageModel):
    """Cross-entropy of the next token.

    In validation and test each row is a separate passage, which is read from its beginning without a state.

    Metrics: perplexity, exp of the mean loss per token, and bits per character where characters are not hidden.
    """

    targets = (NextTokens,)
    spec: TextSpec

    num_chars: Tensor
    """Characters of each token, (V,)."""

    def __init__(
        self,
        net: RecurrentNet,
        spec: TextSpec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        self.eval_loss = MeanMetric()
        self.eval_chars = MeanMetric()
        lengths = torch.tensor(
            [0 if i == PAD else 1 if i == UNKNOWN else len(t) for i, t in enumerate(spec.vocabulary)]
        )
        self.register_buffer("num_chars", lengths, persistent=False)

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """The mean over the tokens of a training batch, which is logged."""
        count = (y != PAD).sum()
        loss = cross_entropy(logits, y).sum() / count.clamp(min=1)
        self.log_step(count, loss=loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.measure(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.measure(batch)

    def measure(self, batch: Batch) -> None:
        state: State | None = None
        steps = min(EVAL_STEPS, max(EVAL_LOGITS // (len(batch[0]) * self.spec.num_tokens), 1))
        for x, y in zip(*(part.split(steps, 1) for part in batch[:2]), strict=True):
            logits, state = self.advance(x, state)
            is_token = (y != PAD).float()
            self.eval_loss.update(cross_entropy(logits, y), is_token)
            self.eval_chars.update(self.num_chars[y].float(), is_token)

    def log_split(self, split: str) -> None:
        found = measures(float(self.eval_loss.compute()), self.spec, float(self.eval_chars.compute()))
        self.log_dict({f"{split}/{name}": value for name, value in found.items()})
        self.eval_loss.reset()
        self.eval_chars.reset()

    def advance(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return self.net.step(x, state)


class Language(NextTokenLoss):
    """A language model that is trained by truncated back-propagation through time.

    Each row of a batch continues the same row of the previous batch, so the net's state is carried over, but
    gradients are truncated (P. Werbos, "Backpropagation Through Time", 1990; truncated as in R. Williams, J. Peng,
    1990). The state is reset at the start of an epoch.

    Args:
        forget: probability of resetting a row's state between training batches, so that the net also learns to
            start a text.
    """

    carried_state = ("train_state",)

    def __init__(
        self,
        net: RecurrentNet,
        spec: TextSpec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        forget: float = 0.05,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        between(0, 1, "task", forget=forget)
        self.forget = forget
        self.train_state: State | None = None

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.train_state = None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y, _ = Batch(*batch)
        logits, state = self.advance(x, self.train_state)
        is_reset = self.noise.uniform((len(x), 1), x.device) < self.forget
        self.train_state = _map(state, lambda part: part.detach().masked_fill(is_reset, 0))
        return self.loss(logits, y)

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: Writer(self)}


class WindowLanguage(NextTokenLoss):
    """A language model that is trained on windows of text, each read from its beginning."""

    net_type = WindowNet
    net: WindowNet

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y, _ = Batch(*batch)
        return self.loss(self.net(x), y)

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: WindowWriter(self)}


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """(B, T, V), (B, T) -> (B, T) nats; 0 at padding."""
    return F.cross_entropy(widen(logits.flatten(0, 1)), y.flatten(), ignore_index=PAD, reduction="none").view(y.shape)


def measures(loss: float, spec: TextSpec, chars_per_token: float = 1.0) -> dict[str, float]:
    """Metrics from a mean loss in nats per token.

    Word models have no bits per character: an ``<unk>`` hides characters that the model need not predict.
    """
    metrics = {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}
    if spec.tokenizer.hides_characters:
        return metrics
    return metrics | {"bits_per_char": loss / chars_per_token / math.log(2)}


def _map(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return change(state) if isinstance(state, Tensor) else tuple(_map(part, change) for part in state)


class Writer(View[Language]):
    """Exported language model: next-token probabilities, and the state to continue from."""

    def __init__(self, task: Language) -> None:
        super().__init__(task)
        spec, states = task.spec, _states(task, torch.ones(1, 1, dtype=torch.long))
        shape, names = (len(states[0]), "batch", states[0].shape[2]), ["h", "c"][: len(states)]
        before = (
            Port(name, "float32", shape, "state before the first token; zeros at a text's start") for name in names
        )
        after = (
            Port(f"{name}_after", "float32", shape, "state after the last token, to continue from") for name in names
        )
        self.inputs = (*spec.ports(), *before)
        self.outputs = (
            Port("probabilities", "float32", ("batch", "length", spec.num_tokens), "of the token after each"),
            *after,
        )

    def real_inputs(self, data: DataModule, num: int) -> Tensors:
        """A piece of real text, and the state after the piece before it."""
        x = typical_batch(data)[0][:num]
        half = min(x.shape[1] // 2, num)
        return (x[:, half : 2 * half], *_states(self.trained, x[:, :half]))

    def forward(self, tokens: Tensor, *state: Tensor) -> Tensors:  # type: ignore[override]
        return self._advanced(self.task, tokens, state)

    def expected(self, tokens: Tensor, *state: Tensor) -> Tensors:  # type: ignore[override]
        with torch.inference_mode():
            return self._advanced(self.trained, tokens, state)

    def _advanced(self, task: Language, tokens: Tensor, state: Tensors) -> Tensors:
        logits, after = task.advance(tokens, state if len(state) > 1 else state[0])
        return (logits.softmax(-1), *(after if isinstance(after, tuple) else (after,)))


class WindowWriter(View[WindowLanguage]):
    """Exported language model of windows: next-token probabilities, and the cache to continue the window with."""

    def __init__(self, task: WindowLanguage) -> None:
        super().__init__(task)
        num, _, _, size = task.net.start(1).shape
        context, shape = task.net.context, (num, "batch")
        before = "keys and values of the tokens so far: (…, 0, …) where a window begins; with those given at most"
        cache = Port("cache", "float32", (*shape, "past", size), f"{before} {context}", least=0)
        self.inputs = (*task.spec.ports(), cache)
        self.outputs = (
            Port("probabilities", "float32", ("batch", "length", task.spec.num_tokens), "of the token after each"),
            Port("cache_after", "float32", (*shape, "past + length", size), "the same after the last token"),
        )

    def real_inputs(self, data: DataModule, num: int) -> Tensors:
        """A piece of real text, and the cache of the piece before it."""
        x = typical_batch(data)[0][:num]
        half = min(x.shape[1] // 2, self.trained.net.context // 2, num)
        net = self.trained.net
        with torch.no_grad():
            cache = net.decode(x[:, :half], net.start(len(x)))[1]
        return x[:, half : 2 * half].contiguous(), cache

    def forward(self, tokens: Tensor, cache: Tensor) -> Tensors:  # type: ignore[override]
        logits, after = self.task.net.decode(tokens, cache)
        return logits.softmax(-1), after

    def expected(self, tokens: Tensor, cache: Tensor) -> Tensors:  # type: ignore[override]
        with torch.inference_mode():
            logits, after = self.trained.net.decode(tokens, cache)
        return logits.softmax(-1), after


def _states(task: Language, tokens: Tensor) -> Tensors:
    """The state after reading the tokens, as a tuple."""
    with torch.no_grad():
        state = task.advance(tokens)[1]
    return state if isinstance(state, tuple) else (state,)
