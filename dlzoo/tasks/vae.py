"""Variational autoencoders: the evidence lower bound, in nats per image.

D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014; beta: I. Higgins et al., "beta-VAE", ICLR 2017.
-ELBO = reconstruction + KL: the binary cross-entropy of all pixels of an image, given a latent drawn from the encoder's
Gaussian, and the divergence of this Gaussian from the standard one. For non-binary pixels the cross-entropy
is not a log-likelihood, but it is what most sources report; ``binarize`` makes them binary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric

from dlzoo.distributed.noise import Noise
from dlzoo.errors import at_least, between
from dlzoo.losses.functional import widen
from dlzoo.nets.base import GaussianEncoderDecoder
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.specs.targets import Classes
from dlzoo.tasks.interfaces import Encoding, Generating
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.running_mean import RunningMean

COLLAPSED = 0.01
"""In nats: a latent unit with a lower mean KL counts as collapsed."""

TEST_MEASURES = ("neg_elbo", "reconstruction", "kl", "nll", "mse")


class VariationalAutoencoder(Encoding, Generating):
    """Maximises the ELBO with one latent sample per image, with fixed noise in validation and test.

    Metrics: neg_elbo, reconstruction and kl; in the test also nll, mse (of the pixels, from the mean latent), and
    active_units, the number of units that are not collapsed.

    Args:
        beta: weight of the KL in the loss; metrics are those of the true bound (beta = 1).
        kl_warmup: epochs over which the weight rises from 0 to beta, against posterior collapse.
        binarize: dynamic samples each pixel as 0 or 1 with its brightness as the probability, each time it is used.
        num_importance_samples: latents per image for the test nll, the importance-weighted estimate of -log p(x)
            (Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016).
    """

    net_type = GaussianEncoderDecoder
    net: GaussianEncoderDecoder

    def __init__(
        self,
        net: GaussianEncoderDecoder,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        beta: float = 1.0,
        kl_warmup: float = 0.0,
        binarize: Literal["none", "dynamic"] = "none",
        num_importance_samples: int = 100,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        at_least(0, "task", beta=beta, kl_warmup=kl_warmup)
        # Each is a pass through the decoder; Y. Burda et al. (2016) use 5,000.
        between(1, 20_000, "task", num_importance_samples=num_importance_samples)
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.binarize = binarize
        self.num_importance_samples = num_importance_samples
        self.latent_dim = self.net.latent_dim
        self.means: Any = nn.ModuleDict({name: MeanMetric(nan_strategy="disable") for name in ("loss", *TEST_MEASURES)})
        self.unit_kl = RunningMean()
        self.num_active = self.latent_dim

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        return super().option_uses() | {"kl_warmup": (self.beta > 0 or not self.kl_warmup, "task.beta above 0")}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, target, _ = Batch(*batch)
        reconstruction, kl, _ = self.bound(self.pixels(x, self.noise), target, self.noise)
        reconstruction, kl = reconstruction.mean(), kl.sum(1).mean()
        loss = reconstruction + self.kl_factor(batch_idx) * kl
        self.log_step(len(x), loss=loss, reconstruction=reconstruction, kl=kl)
        return loss

    def kl_factor(self, batch_idx: int) -> float:
        if not self.kl_warmup:
            return self.beta
        epochs = self.current_epoch + batch_idx / self.trainer.num_training_batches
        return self.beta * min(1.0, epochs / self.kl_warmup)

    def pixels(self, x: Tensor, noise: Noise) -> Tensor:
        """x unchanged, or sampled as binary pixels."""
        if self.binarize == "none":
            return x
        return (noise.uniform(x.shape, x.device) < x).to(x.dtype)

    def bound(self, x: Tensor, labels: Tensor, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction (B,) and KL of each unit (B, D), which add up to -ELBO, and the mean latents (B, D)."""
        condition = self.condition(labels)
        mean, log_var = self.net.encode(self.standardize(x), condition)
        mean, log_var = widen(mean), widen(log_var)
        latents = mean + (log_var / 2).exp() * noise.normal(mean.shape, mean.device)
        logits = self.net.decode(latents, condition)
        return cross_entropy(logits, x), gaussian_kl(mean, log_var), mean

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return {"code": self.measure(batch, self.eval_noise.of_next(len(batch[0])))}

    def measure(self, batch: Batch, noise: Noise) -> Tensor:
        """Update the metrics with a batch's bounds; returns the mean latents (B, D)."""
        x, target, _ = Batch(*batch)
        x = self.pixels(x, noise)
        reconstruction, kl, mean = self.bound(x, target, noise)
        total = kl.sum(1)
        self.means["loss"].update(reconstruction + self.beta * total)
        self.means["neg_elbo"].update(reconstruction + total)
        self.means["reconstruction"].update(reconstruction)
        self.means["kl"].update(total)
        self.unit_kl.add(kl.mean(0), len(x))
        return mean

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        x, target, _ = Batch(*batch)
        noise = self.eval_noise.of_next(len(x))
        latents = self.measure(batch, noise)
        self.means["nll"].update(self.importance_nll(self.pixels(x, noise), target, noise))
        error = (self.decode(latents, target) - x).square().flatten(1).mean(1)
        self.means["mse"].update(error)
        return {"code": latents, "error": error}

    def importance_nll(self, x: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """-log of the mean over K latents of p(x, z) / q(z | x): (B,). It tends to -log p(x) from above as K grows."""
        condition = self.condition(labels)
        mean, log_var = self.net.encode(self.standardize(x), condition)
        mean, std = widen(mean), (widen(log_var) / 2).exp()
        log_sum = x.new_full((len(x),), -torch.inf)
        for _ in range(self.num_importance_samples):
            unit = noise.normal(mean.shape, x.device)
            z = mean + std * unit
            # log p(z) - log q(z | x): the constants of both Gaussians cancel
            log_ratio = (unit.square() / 2 + std.log() - z.square() / 2).sum(1)
            logits = self.net.decode(z, condition)
            log_sum = torch.logaddexp(log_sum, log_ratio - cross_entropy(logits, x))
        return math.log(self.num_importance_samples) - log_sum

    def log_split(self, split: str) -> None:
        if self.trainer.world_size > 1:
            self.unit_kl.join(self.trainer.strategy)
        if self.unit_kl.total is not None:
            self.num_active = int((self.unit_kl.total / self.unit_kl.count >= COLLAPSED).sum())
        names = TEST_MEASURES if split == "test" else ("reconstruction", "kl")
        self.log_dict({f"{split}/{name}": self.means[name].compute() for name in ("loss", *names)})
        if split == "test":
            self.log("test/active_units", float(self.num_active))
        for metric in (*self.means.values(), self.unit_kl):
            metric.reset()

    def diagnostics(self) -> Iterator[str]:
        yield from super().diagnostics()
        num_collapsed = self.latent_dim - self.num_active
        if num_collapsed and self.trainer.testing:  # early in training it is common and often temporary
            yield (
                f"posterior collapse: {num_collapsed} of {self.latent_dim} latent units carry less than {COLLAPSED} "
                f"nats; warm up the KL with task.kl_warmup=5, lower task.beta={self.beta}, or use fewer units: "
                f"net.latent_dim={max(self.num_active, 1)}"
            )

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return widen(self.net.encode(self.standardize(x), self.condition(labels))[0])

    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return widen(self.net.decode(latents, self.condition(labels))).sigmoid()


class ConditionalVAE(VariationalAutoencoder):
    """For class-conditional nets: K. Sohn, H. Lee, X. Yan, "Learning Structured Output Representation using Deep
    Conditional Generative Models", NeurIPS 2015."""

    targets = (Classes,)


def cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    """In nats, summed over the pixels of each image: (B,)."""
    each = F.binary_cross_entropy_with_logits(widen(logits), x, reduction="none")
    return each.flatten(1).sum(1)


def gaussian_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, var) || N(0, 1)) of each unit, (B, D)."""
    return (mean.square() + log_var.exp() - 1 - log_var) / 2
