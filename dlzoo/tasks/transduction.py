"""Training nets that turn one sequence of tokens into another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric

from dlzoo.errors import UserError, at_least, between
from dlzoo.losses.functional import widen
from dlzoo.nets.base import TransducerNet
from dlzoo.specs.batch import Batch
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.token_sequences import START, TokenSequences
from dlzoo.specs.tokenizer import PAD
from dlzoo.tasks.decoding import Outputs, beam_search, greedy
from dlzoo.tasks.interfaces import Transducing
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.transduction_views import DecoderStep, Encoder
from dlzoo.tasks.views import View


class Transduction(Transducing):
    """Cross-entropy of the next token of the target, given the input and the target so far (teacher forcing).

    Validation decodes greedily, a test and predictions by beam search.

    Metrics: loss in nats per token and token_accuracy, of the next token given the true ones before it; perplexity, exp
    of loss; exact_match, the fraction of outputs that are the target, token for token. Inputs longer than all training
    inputs do not count in these, but in token_accuracy_longer and exact_match_longer.

    Args:
        label_smoothing: probability that the training target gives to all tokens alike (C. Szegedy et al., 2016).
        scheduled_sampling: the probability in the last epoch that the decoder reads its own most probable token in
            place of the true one in training; it grows linearly from 0 in the first epoch (S. Bengio et al., "Scheduled
            Sampling for Sequence Prediction with Recurrent Neural Networks", 2015).
        beam_size: outputs that beam search keeps; 1: greedy.
        length_penalty: alpha of beam search, see `dlzoo.tasks.decoding.beam_search`; 0: none.
    """

    targets = (TokenSequences,)

    def __init__(
        self,
        net: TransducerNet,
        spec: TextSpec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        label_smoothing: float = 0.0,
        scheduled_sampling: float = 0.0,
        beam_size: int = 4,
        length_penalty: float = 0.6,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        between(0, 1, "task", label_smoothing=label_smoothing, scheduled_sampling=scheduled_sampling)
        between(1, 64, "task", beam_size=beam_size)
        at_least(0, "task", length_penalty=length_penalty)
        self.label_smoothing = label_smoothing
        self.scheduled_sampling = scheduled_sampling
        self.beam_size = beam_size
        self.length_penalty = length_penalty
        names = ("loss", "token_accuracy", "exact_match", "token_accuracy_longer", "exact_match_longer")
        self.means: Any = nn.ModuleDict({name: MeanMetric() for name in names})

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        return {"length_penalty": (self.beam_size > 1, "task.beam_size above 1")}

    def setup_trainer(self, trainer: pl.Trainer) -> None:
        super().setup_trainer(trainer)
        if self.scheduled_sampling and (trainer.max_epochs or -1) < 0:
            raise UserError(
                f"task.scheduled_sampling={self.scheduled_sampling} grows over the epochs, whose number must be known: "
                "set trainer.max_epochs"
            )

    # ------------------------------------------------------------------ training

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y, _ = Batch(*batch)
        share = self.own_share
        logits = self.net(x, shifted(y)) if share == 0 else self.sampled(x, y, share)
        count = (y != PAD).sum()
        loss = cross_entropy(logits, y, self.label_smoothing).sum() / count.clamp(min=1)
        self.log_step(count, loss=loss)
        return loss

    @property
    def own_share(self) -> float:
        """The probability that the decoder reads its own token in this epoch."""
        last = (self.trainer.max_epochs or 1) - 1
        return self.scheduled_sampling * min(self.current_epoch / last, 1.0) if last > 0 else 0.0

    def sampled(self, x: Tensor, y: Tensor, share: float) -> Tensor:
        """Logits (B, T, V), where each token that the decoder reads is its own with probability ``share``."""
        encoded, token = self.net.encode(x), shifted(y)[:, :1]
        drawn = self.noise.uniform((len(y), self.target.max_length + 1), x.device)  # whatever the rank's padding
        is_own = drawn < share
        steps = []
        for t in range(y.shape[1]):
            logits, encoded, _ = self.net.decode(token, encoded)
            steps.append(logits)
            token = torch.where(is_own[:, t], logits[:, 0].argmax(1), y[:, t])[:, None]
        return torch.cat(steps, 1)

    # ------------------------------------------------------------------ evaluation

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        x, y, _ = Batch(*batch)
        self.measure(x, y, greedy(self.net, x, self.target.max_length))

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        x, y, _ = Batch(*batch)
        outputs = self.search(x)
        self.measure(x, y, outputs)
        return {"output": outputs.tokens, "target": y}

    def measure(self, x: Tensor, y: Tensor, outputs: Outputs) -> None:
        """Add the rows of a batch to the metrics."""
        logits, is_token = self.net(x, shifted(y)), y != PAD
        hits, matches = (logits.argmax(2) == y).float(), exact_matches(outputs.tokens, y).float()
        is_longer = (x != PAD).sum(1) > (self.target.longest_input or x.shape[1])
        for suffix, rows in (("", ~is_longer), ("_longer", is_longer)):
            self.means[f"token_accuracy{suffix}"].update(hits, (is_token & rows[:, None]).float())
            self.means[f"exact_match{suffix}"].update(matches, rows.float())
        self.means["loss"].update(cross_entropy(logits, y), (is_token & ~is_longer[:, None]).float())

    def log_split(self, split: str) -> None:
        values = {name: float(mean.compute()) for name, mean in self.means.items()}
        for mean in self.means.values():
            mean.reset()
        values["perplexity"] = math.exp(min(values["loss"], 700.0))
        is_empty = {name for name, value in values.items() if name.endswith("_longer") and math.isnan(value)}
        self.log_dict({f"{split}/{name}": value for name, value in values.items() if name not in is_empty})

    # ------------------------------------------------------------------ use

    def search(self, x: Tensor) -> Outputs:
        """What the net writes for x: (B, S)."""
        if self.beam_size == 1:
            return greedy(self.net, x, self.target.max_length)
        options = {"beam_size": self.beam_size, "length_penalty": self.length_penalty}
        return beam_search(self.net, x, self.target.max_length, **options)  # type: ignore[arg-type]

    def predict(self, inputs: Tensor) -> Tensor:
        outputs = self.search(inputs)
        if not bool(outputs.scores.isfinite().all()):
            raise UserError("the net's output is not finite: its training diverged")
        return outputs.tokens

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"encoder": lambda: Encoder(self), "decoder": lambda: DecoderStep(self)}


def shifted(y: Tensor) -> Tensor:
    """What the decoder reads to predict y, (B, T): START, and all of y but its last column."""
    return torch.cat([torch.full_like(y[:, :1], START), y[:, :-1]], 1)


def cross_entropy(logits: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """(B, T, V), (B, T) -> (B, T) nats; 0 at padding."""
    flat = widen(logits.flatten(0, 1))
    each = F.cross_entropy(flat, y.flatten(), ignore_index=PAD, reduction="none", label_smoothing=label_smoothing)
    return each.view(y.shape)


def exact_matches(outputs: Tensor, y: Tensor) -> Tensor:
    """Outputs (B, T) and targets (B, U) -> (B,): whether they are equal, token for token up to END."""
    width = max(outputs.shape[1], y.shape[1])
    padded = (F.pad(part, (0, width - part.shape[1]), value=PAD) for part in (outputs, y))
    one, other = padded
    return (one == other).all(1)
