"""Generative adversarial learning: a discriminator tells real pictures from made ones, a generator deceives it.

I. Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, with its non-saturating loss. To choose: least
squares (X. Mao et al., ICCV 2017), hinge (J. Lim, J. Ye, 2017), and Wasserstein with a gradient penalty (I. Gulrajani
et al., "Improved Training of Wasserstein GANs", NeurIPS 2017). A penalty on the slope at real pictures lets any of them
settle (L. Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018: R1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.distributed.collectives import gather_rows
from dlzoo.errors import UserError, pick
from dlzoo.losses.functional import widen
from dlzoo.nets.base import AdversarialPair
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.specs.targets import Classes
from dlzoo.tasks.base import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.interfaces import EVAL_SEED, Generating
from dlzoo.tasks.manual import ManualTask, Part, frozen

LossName = Literal["bce", "least_squares", "hinge", "wasserstein"]
DISCRIMINATOR, GENERATOR = 0, 1
NUM_COMPARED = 1000
"""Pictures of each kind that the energy distance compares."""


class Losses(NamedTuple):
    """Of logits (B,): what the discriminator minimises on real and on made pictures, and the generator on made ones."""

    real: Callable[[Tensor], Tensor]
    made: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


LOSSES = {
    "bce": Losses(lambda z: F.softplus(-z), F.softplus, lambda z: F.softplus(-z)),
    "least_squares": Losses(lambda z: (z - 1).square(), torch.square, lambda z: (z - 1).square()),
    "hinge": Losses(lambda z: (1 - z).relu(), lambda z: (1 + z).relu(), torch.neg),
    "wasserstein": Losses(torch.neg, lambda z: z, torch.neg),
}


class Adversarial(Generating, ManualTask):
    """For nets with ``generate`` and ``discriminate``.

    In a step the discriminator moves first, then the generator, by its judgement of the same made pictures. Gradients
    that are accumulated over k batches are those of one batch k times as large, BatchNorm apart: all k batches first
    move the discriminator, then their codes the generator.

    Metrics: generator_loss, discriminator_loss, d_real and d_fake (the discriminator's mean output, for bce as a
    probability) of train; energy_distance of validation and test, between real pictures and as many made ones: 0 where
    both come from one distribution, whatever that is (G. Székely, M. Rizzo, "Energy Statistics", 2013). It chooses the
    best checkpoint, since the two losses measure the balance of the game and not the pictures.

    Args:
        discriminator_lr: its own learning rate; null is that of the optimizer (M. Heusel et al., NeurIPS 2017: two
            time-scales).
        discriminator_steps: of the discriminator for one of the generator.
        label_smoothing: what real pictures lack to be called certainly real, for bce (T. Salimans et al., 2016).
        gradient_penalty: times the squared distance from 1 of the slope's norm, between real and made pictures.
        real_penalty: times half the squared norm of the slope at real pictures.
        penalty_every: discriminator steps from one penalty to the next, which counts as many times (T. Karras et al.,
            CVPR 2020: lazy regularization).
    """

    net_type = AdversarialPair
    monitor = ("val/energy_distance", "min")
    is_adversarial = True

    def __init__(
        self,
        net: AdversarialPair,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        loss: LossName = "bce",
        discriminator_lr: float | None = None,
        discriminator_steps: int = 1,
        label_smoothing: float = 0.0,
        gradient_penalty: float = 0.0,
        real_penalty: float = 0.0,
        penalty_every: int = 1,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        if discriminator_steps < 1:
            raise UserError(f"task.discriminator_steps={discriminator_steps} must be at least 1")
        if penalty_every < 1:
            raise UserError(f"task.penalty_every={penalty_every} must be at least 1")
        if label_smoothing and loss != "bce":
            raise UserError(f"task.label_smoothing is for task.loss=bce; {loss} has no labels to smooth")
        self.losses = pick(loss, LOSSES, "task.loss")
        self.loss_name = loss
        self.discriminator_lr = discriminator_lr
        self.discriminator_steps = discriminator_steps
        self.label_smoothing = label_smoothing
        self.gradient_penalty = gradient_penalty
        self.real_penalty = real_penalty
        self.penalty_every = penalty_every
        self.latent_dim = self.net.latent_dim
        self.waiting: list[tuple[Tensor, Tensor | None, float]] = []
        """Codes, conditions and shares of the batches of this step, for the generator's turn."""
        self.real: list[tuple[Tensor, Tensor]] = []

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        has_penalty = bool(self.gradient_penalty or self.real_penalty)
        return super().option_uses() | {
            "penalty_every": (has_penalty, "task.gradient_penalty or task.real_penalty"),
        }

    def parts(self) -> list[Part]:
        own = {} if self.discriminator_lr is None else {"lr": self.discriminator_lr}
        generator = self.net.generator.parameters()
        return [Part(self.net.discriminator.parameters(), own), Part(generator, every=self.discriminator_steps)]

    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        x, target, _ = Batch(*batch)
        if not self.waiting:  # not after the step: callbacks look at gradients when a batch ends
            self.trainer.optimizers[DISCRIMINATOR].zero_grad()
        condition = self.condition(target)
        codes = self.noise.normal((len(x), self.latent_dim), x.device)
        is_generators_turn = (self.global_step + 1) % self.discriminator_steps == 0
        keeps = is_generators_turn and self.accumulate == 1  # then one generation serves both nets
        with torch.set_grad_enabled(keeps):
            made = self.net.generate(codes, condition)
        measured = self.discriminator_backward(x, made.detach(), condition)
        self.waiting.append((codes, condition, self.share))
        if self.is_last_of_step(batch_idx):
            self.step_optimizer(DISCRIMINATOR)
            if is_generators_turn:
                measured["generator_loss"] = self.generator_step(made if keeps else None)
            self.waiting.clear()
        self.log_step(len(x), **measured)

    def discriminator_backward(self, x: Tensor, made: Tensor, condition: Tensor | None) -> dict[str, Tensor]:
        real, fake = widen(self.net.discriminate(x, condition)), widen(self.net.discriminate(made, condition))
        if self.label_smoothing:
            loss = torch.lerp(self.losses.real(real), self.losses.made(real), self.label_smoothing).mean()
        else:
            loss = self.losses.real(real).mean()
        loss = loss + self.losses.made(fake).mean()
        is_due = (self.gradient_penalty or self.real_penalty) and self.global_step % self.penalty_every == 0
        penalty = self.penalty_every * self.penalty(x, made, condition) if is_due else 0.0
        self.backward_part(loss + penalty)
        with torch.no_grad():
            shown = torch.sigmoid if self.loss_name == "bce" else torch.clone
            return {"discriminator_loss": loss, "d_real": shown(real).mean(), "d_fake": shown(fake).mean()}

    def generator_step(self, made: Tensor | None) -> Tensor:
        """Move the generator by the codes of this step; their pictures may be there already. Returns its loss, which is
        that of all ranks."""
        total = torch.zeros((), device=self.device)
        self.trainer.optimizers[GENERATOR].zero_grad()
        with frozen(self.net.discriminator):
            for codes, condition, share in self.waiting:
                self.take_share(share)
                pictures = self.net.generate(codes, condition) if made is None else made
                loss = self.losses.generator(widen(self.net.discriminate(pictures, condition))).mean()
                self.backward_part(loss)
                total += self.batch_mean(loss.detach()) / len(self.waiting)
        self.step_optimizer(GENERATOR)
        return total

    def penalty(self, x: Tensor, made: Tensor, condition: Tensor | None) -> Tensor | float:
        """On the slopes of the discriminator, weighted."""
        total: Tensor | float = 0.0
        with torch.autocast(x.device.type, enabled=False):  # squares of slopes overflow in half precision
            if self.gradient_penalty:
                shares = self.noise.uniform((len(x), 1, 1, 1), x.device)
                between = torch.lerp(widen(made), widen(x), shares)
                slopes = self.slopes(between, condition).norm(dim=1)
                total = total + self.gradient_penalty * (slopes - 1).square().mean()
            if self.real_penalty:
                total = total + self.real_penalty / 2 * self.slopes(widen(x), condition).square().sum(1).mean()
        return total

    def slopes(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """d discriminator / d picture, (B, C * H * W), for pictures (B, C, H, W)."""
        x = x.detach().requires_grad_()
        (slopes,) = torch.autograd.grad(self.net.discriminate(x, condition).sum(), x, create_graph=True)
        return slopes.flatten(1)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.waiting.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        if sum(len(x) for x, _ in self.real) < NUM_COMPARED:
            self.real.append((batch[0], batch[1]))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        self.log_split("val")

    def on_test_epoch_end(self) -> None:
        self.log_split("test")

    def log_split(self, split: str) -> None:
        real, labels = (gather_rows(torch.cat(parts))[:NUM_COMPARED] for parts in zip(*self.real, strict=True))
        self.real.clear()
        made = self.decode(self.draw(len(real), EVAL_SEED), labels)
        self.log(f"{split}/energy_distance", energy_distance(real, made))

    def decode(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        return widen(self.net.generate(codes, self.condition(labels)))

    def diagnostics(self) -> Iterator[str]:
        yield from super().diagnostics()
        if self.loss_name != "bce" or "d_real" not in self.train_means or not self.trainer.training:
            return
        real, fake = self.train_means["d_real"].read(), self.train_means["d_fake"].read()
        if real > 0.99 and fake < 0.01:
            yield (
                f"the discriminator wins: it calls real pictures {real:.1%} real and made ones {fake:.1%}, which "
                "leaves the generator no slope; lower task.discriminator_lr, or set task.label_smoothing=0.1"
            )
        elif abs(real - fake) < 0.002 and not math.isnan(real):
            yield (
                f"the discriminator is blind: it calls real pictures {real:.1%} real and made ones {fake:.1%}; raise "
                "task.discriminator_lr, or take task.discriminator_steps=2"
            )


class ConditionalAdversarial(Adversarial):
    """For nets that are told the class."""

    targets = (Classes,)


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """2 E|x - y| - E|x - x'| - E|y - y'| of pictures (N, C, H, W), by Euclidean distance, without comparing a picture
    with itself."""
    x, y = widen(x.flatten(1)), widen(y.flatten(1))

    def within(a: Tensor) -> Tensor:
        return torch.cdist(a, a).sum() / max(len(a) * (len(a) - 1), 1)

    return 2 * torch.cdist(x, y).mean() - within(x) - within(y)
