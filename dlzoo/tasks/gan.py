"""Adversarial training: a discriminator separates real from generated images, a generator tries to fool it.

I. Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, with its non-saturating loss. Options: least
squares (X. Mao et al., ICCV 2017), hinge (J. Lim, J. Ye, 2017), and Wasserstein with a gradient penalty (I. Gulrajani
et al., "Improved Training of Wasserstein GANs", NeurIPS 2017). A gradient penalty at real images helps any of them
converge (L. Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018: R1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.distributed.collectives import gather_rows
from dlzoo.errors import UserError, at_least, between, pick
from dlzoo.losses.functional import widen
from dlzoo.nets.base import AdversarialPair
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.specs.targets import Classes
from dlzoo.tasks.interfaces import EVAL_SEED, Generating
from dlzoo.tasks.manual import ManualTask, Part, frozen
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory

LossName = Literal["bce", "least_squares", "hinge", "wasserstein"]
DISCRIMINATOR, GENERATOR = 0, 1
NUM_COMPARED = 1000
"""Number of real and of generated images in the energy distance."""


class Losses(NamedTuple):
    """Losses on logits (B,): the discriminator's on real and on generated images, and the generator's."""

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


LOSSES = {
    "bce": Losses(lambda z: F.softplus(-z), F.softplus, lambda z: F.softplus(-z)),
    "least_squares": Losses(lambda z: (z - 1).square(), torch.square, lambda z: (z - 1).square()),
    "hinge": Losses(lambda z: (1 - z).relu(), lambda z: (1 + z).relu(), torch.neg),
    "wasserstein": Losses(torch.neg, lambda z: z, torch.neg),
}


class Adversarial(Generating, ManualTask):
    """For nets with ``generate`` and ``discriminate``.

    In a step the discriminator is updated first, then the generator, on the same generated images. Gradients
    accumulated over k batches equal those of one batch k times as large, except for BatchNorm: all k batches first
    update the discriminator, then their latents the generator.

    Metrics: generator_loss, discriminator_loss, d_real and d_fake (the discriminator's mean output, for bce as a
    probability) of train; energy_distance of validation and test, between real images and as many generated ones: 0 if
    both come from the same distribution (G. Székely, M. Rizzo, "Energy Statistics", 2013). It selects the
    best checkpoint, since the two losses measure the balance of the game, not image quality.

    Args:
        loss: of both nets: cross-entropy, least squares (X. Mao et al., 2017), hinge (T. Miyato et al., 2018) or the
            Wasserstein critic's (M. Arjovsky et al., 2017).
        discriminator_lr: the discriminator's learning rate; null: the optimizer's (M. Heusel et al., NeurIPS 2017: two
            time-scales).
        discriminator_steps: discriminator steps per generator step.
        label_smoothing: one-sided label smoothing of real images, for bce (T. Salimans et al., 2016).
        gradient_penalty: coefficient of (gradient norm - 1)^2 between real and generated images.
        real_penalty: coefficient of half the squared gradient norm at real images.
        penalty_every: discriminator steps between penalties, whose weight is scaled accordingly (T. Karras et al.,
            CVPR 2020: lazy regularization).
    """

    net_type = AdversarialPair
    net: AdversarialPair
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
        at_least(1, "task", discriminator_steps=discriminator_steps, penalty_every=penalty_every)
        between(0, 1, "task", label_smoothing=label_smoothing)
        if label_smoothing and loss != "bce":
            raise UserError(f"task.label_smoothing requires task.loss=bce; {loss} has no labels to smooth")
        self.losses = pick(loss, LOSSES, "task.loss")
        self.loss_name = loss
        self.discriminator_lr = discriminator_lr
        self.discriminator_steps = discriminator_steps
        self.label_smoothing = label_smoothing
        self.gradient_penalty = gradient_penalty
        self.real_penalty = real_penalty
        self.penalty_every = penalty_every
        self.latent_dim = self.net.latent_dim
        self.waiting: list[tuple[Tensor, Tensor | None, float, float]] = []
        """Latents, conditions, rank and batch weights of the batches of this step, for the generator's update."""
        self.real: list[tuple[Tensor, Tensor]] = []

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        has_penalty = bool(self.gradient_penalty or self.real_penalty)
        return super().option_uses() | {
            "penalty_every": (has_penalty, "task.gradient_penalty or task.real_penalty"),
        }

    def parts(self) -> list[Part]:
        changes = {} if self.discriminator_lr is None else {"lr": self.discriminator_lr}
        generator = self.net.generator.parameters()
        return [Part(self.net.discriminator.parameters(), changes), Part(generator, every=self.discriminator_steps)]

    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        x, target, _ = Batch(*batch)
        if not self.waiting:  # not after the step: callbacks look at gradients when a batch ends
            self.trainer.optimizers[DISCRIMINATOR].zero_grad()
        condition = self.condition(target)
        latents = self.noise.normal((len(x), self.latent_dim), x.device)
        is_generator_step = (self.global_step + 1) % self.discriminator_steps == 0
        keep_graph = is_generator_step and self.accumulate == 1  # then both nets can use the same forward pass
        with torch.set_grad_enabled(keep_graph):
            fake = self.net.generate(latents, condition)
        metrics = self.discriminator_backward(x, fake.detach(), condition)
        self.waiting.append((latents, condition, self.rank_weight, self.batch_weight))
        if self.is_last_of_step(batch_idx):
            self.step_optimizer(DISCRIMINATOR)
            if is_generator_step:
                metrics["generator_loss"] = self.generator_step(fake if keep_graph else None)
            self.waiting.clear()
        self.log_step(len(x), **metrics)

    def discriminator_backward(self, x: Tensor, fake: Tensor, condition: Tensor | None) -> dict[str, Tensor]:
        real_logits = widen(self.net.discriminate(x, condition))
        fake_logits = widen(self.net.discriminate(fake, condition))
        if self.label_smoothing:
            loss = torch.lerp(self.losses.real(real_logits), self.losses.fake(real_logits), self.label_smoothing).mean()
        else:
            loss = self.losses.real(real_logits).mean()
        loss = loss + self.losses.fake(fake_logits).mean()
        is_due = (self.gradient_penalty or self.real_penalty) and self.global_step % self.penalty_every == 0
        penalty = self.penalty_every * self.penalty(x, fake, condition) if is_due else 0.0
        self.backward_part(loss + penalty)
        with torch.no_grad():
            transform = torch.sigmoid if self.loss_name == "bce" else torch.clone
            return {
                "discriminator_loss": loss,
                "d_real": transform(real_logits).mean(),
                "d_fake": transform(fake_logits).mean(),
            }

    def generator_step(self, fake: Tensor | None) -> Tensor:
        """Update the generator on the latents of this step; ``fake`` are their images, if generated. Returns its
        loss over all ranks."""
        total = torch.zeros((), device=self.device)
        self.trainer.optimizers[GENERATOR].zero_grad()
        with frozen(self.net.discriminator):
            for latents, condition, rank_weight, batch_weight in self.waiting:
                self.set_rank_weight(rank_weight)
                self.batch_weight = batch_weight
                images = self.net.generate(latents, condition) if fake is None else fake
                loss = self.losses.generator(widen(self.net.discriminate(images, condition))).mean()
                self.backward_part(loss)
                total += self.batch_mean(loss.detach()) * batch_weight / self.accumulate
        self.step_optimizer(GENERATOR)
        return total

    def penalty(self, x: Tensor, fake: Tensor, condition: Tensor | None) -> Tensor | float:
        """Gradient penalties of the discriminator, weighted."""
        total: Tensor | float = 0.0
        with torch.autocast(x.device.type, enabled=False):  # squares of gradients overflow in half precision
            if self.gradient_penalty:
                alpha = self.noise.uniform((len(x), 1, 1, 1), x.device)
                interpolated = torch.lerp(widen(fake), widen(x), alpha)
                gradients = self.gradients(interpolated, condition).norm(dim=1)
                total = total + self.gradient_penalty * (gradients - 1).square().mean()
            if self.real_penalty:
                total = total + self.real_penalty / 2 * self.gradients(widen(x), condition).square().sum(1).mean()
        return total

    def gradients(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """d discriminator / d image, (B, C * H * W), for images (B, C, H, W)."""
        x = x.detach().requires_grad_()
        (gradients,) = torch.autograd.grad(self.net.discriminate(x, condition).sum(), x, create_graph=True)
        return gradients.flatten(1)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.waiting.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        if sum(len(x) for x, _ in self.real) < NUM_COMPARED:
            self.real.append((batch[0], batch[1]))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def log_split(self, split: str) -> None:
        real, labels = (gather_rows(torch.cat(parts))[:NUM_COMPARED] for parts in zip(*self.real, strict=True))
        self.real.clear()
        fake = self.decode(self.draw(len(real), EVAL_SEED), labels)
        self.log(f"{split}/energy_distance", energy_distance(real, fake))

    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return widen(self.net.generate(latents, self.condition(labels)))

    def diagnostics(self) -> Iterator[str]:
        yield from super().diagnostics()
        if self.loss_name != "bce" or "d_real" not in self.train_means or not self.trainer.training:
            return
        real, fake = self.train_means["d_real"].read(), self.train_means["d_fake"].read()
        if real > 0.99 and fake < 0.01:
            yield (
                f"the discriminator wins: it rates real images {real:.1%} real and generated ones {fake:.1%}, which "
                "leaves the generator no gradient; lower task.discriminator_lr, or set task.label_smoothing=0.1"
            )
        elif abs(real - fake) < 0.002 and not math.isnan(real):
            yield (
                f"the discriminator fails: it rates real images {real:.1%} real and generated ones {fake:.1%}; raise "
                "task.discriminator_lr, or use task.discriminator_steps=2"
            )


class ConditionalAdversarial(Adversarial):
    """For class-conditional nets."""

    targets = (Classes,)


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """2 E|x - y| - E|x - x'| - E|y - y'| of images (N, C, H, W), with Euclidean distances, excluding pairs of an image
    with itself."""
    x, y = widen(x.flatten(1)), widen(y.flatten(1))

    def within(a: Tensor) -> Tensor:
        return torch.cdist(a, a).sum() / max(len(a) * (len(a) - 1), 1)

    return 2 * torch.cdist(x, y).mean() - within(x) - within(y)
