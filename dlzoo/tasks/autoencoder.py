"""Training autoencoders: plain, denoising, sparse, contractive, or any combination.

Denoising: P. Vincent, H. Larochelle, Y. Bengio, P.-A. Manzagol, "Extracting and Composing Robust Features with
Denoising Autoencoders", ICML 2008. Sparse by Kullback-Leibler divergence: A. Ng, "Sparse Autoencoder", CS294A, 2011.
Contractive: S. Rifai et al., "Contractive Auto-Encoders", ICML 2011.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric

from dlzoo.distributed.noise import Noise
from dlzoo.errors import UserError
from dlzoo.losses.functional import widen
from dlzoo.nets.base import EncoderDecoder
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.tasks.corruption import NoiseName, corruption
from dlzoo.tasks.interfaces import Encoding
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory

LossName = Literal["mse", "bce"]


class Autoencoding(Encoding):
    """For nets with ``encode`` and ``decode``. Metrics: loss, mse and bce, each averaged over pixels.

    Args:
        loss: squared error, or binary cross-entropy of each pixel.
        noise: corruption of the input, in validation and test as well; the net reconstructs the clean image.
        noise_level: its strength, see dlzoo/tasks/corruption.py.
        activity_l1: coefficient of the mean absolute value of the latent in the loss.
        activity_l2: coefficient of the mean square of the latent in the loss.
        sparsity: target mean activation of each latent unit over a batch, between 0 and 1.
        sparsity_weight: coefficient of the sum over units of KL(sparsity || mean of the unit) in the loss.
        contraction: coefficient of the squared Frobenius norm of the encoder's Jacobian, averaged over the batch.
    """

    net_type = EncoderDecoder
    net: EncoderDecoder

    def __init__(
        self,
        net: EncoderDecoder,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        loss: LossName = "mse",
        noise: NoiseName = "none",
        noise_level: float = 0.5,
        activity_l1: float = 0.0,
        activity_l2: float = 0.0,
        sparsity: float = 0.05,
        sparsity_weight: float = 0.0,
        contraction: float = 0.0,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        if not 0 < sparsity < 1:
            raise UserError(
                f"task.sparsity={sparsity} must lie between 0 and 1: it is the target mean activation of a unit"
            )
        if sparsity_weight and not net.has_unit_latents:
            raise UserError(
                "task.sparsity_weight treats activations as probabilities, so latents must lie between 0 and 1: "
                "set net.code_activation=sigmoid, or use task.activity_l1"
            )
        self.loss_name = loss
        self.has_noise = noise != "none"
        self._corrupt = corruption(noise, noise_level)
        self.activity_l1, self.activity_l2 = activity_l1, activity_l2
        self.sparsity, self.sparsity_weight = sparsity, sparsity_weight
        self.contraction = contraction
        self.means: Any = nn.ModuleDict({name: MeanMetric(nan_strategy="disable") for name in ("mse", "bce")})

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        return super().option_uses() | {
            "noise_level": (self.has_noise, "task.noise, such as task.noise=gaussian"),
            "sparsity": (self.sparsity_weight > 0, "task.sparsity_weight"),
        }

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x = batch[0]
        corrupted = self.corrupt(x)
        if self.contraction:
            corrupted = corrupted.detach().requires_grad_()
        latents = self.net.encode(self.standardize(corrupted))
        loss = self.loss(self.net.decode(latents), x)
        self.log_step(len(x), loss=loss)
        return loss + self.penalty(corrupted, latents)

    def loss(self, logits: Tensor, x: Tensor) -> Tensor:
        """The loss without penalties, so that training and validation are comparable."""
        return errors(logits, x)[self.loss_name].mean()

    def penalty(self, corrupted: Tensor, latents: Tensor) -> Tensor | float:
        """The regularisation terms of the training loss."""
        total: Tensor | float = 0.0
        if self.activity_l1:
            total = total + self.activity_l1 * latents.abs().mean()
        if self.activity_l2:
            total = total + self.activity_l2 * latents.square().mean()
        if self.sparsity_weight:
            activity = self.batch_mean(widen(latents).mean(0))
            total = total + self.sparsity_weight * bernoulli_kl(self.sparsity, activity).sum()
        if self.contraction:
            total = total + self.contraction * jacobian_norm(corrupted, latents, self.noise).mean()
        return total

    def corrupt(self, x: Tensor, noise: Noise | None = None) -> Tensor:
        return self._corrupt(x, noise or self.noise)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        x = batch[0]
        latents = self.encode(self.corrupt(x, self.eval_noise.of_next(len(x))))
        results = errors(self.net.decode(latents), x)
        for name, each in results.items():
            self.means[name].update(each)
        return {"code": latents, "error": results["mse"]}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self.validation_step(batch, batch_idx)

    def log_split(self, split: str) -> None:
        values = {name: metric.compute() for name, metric in self.means.items()}
        self.log_dict({f"{split}/{name}": value for name, value in (values | {"loss": values[self.loss_name]}).items()})
        for metric in self.means.values():
            metric.reset()

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return widen(self.net.encode(self.standardize(x)))

    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return widen(self.net.decode(latents)).sigmoid()


def errors(logits: Tensor, x: Tensor) -> dict[str, Tensor]:
    """Reconstruction errors of each image, (B,), averaged over pixels."""
    logits = widen(logits)
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    return {"mse": (logits.sigmoid() - x).square().flatten(1).mean(1), "bce": bce.flatten(1).mean(1)}


def bernoulli_kl(target: float, mean: Tensor) -> Tensor:
    """KL(target || mean) of each unit, in nats."""
    mean = mean.clamp(1e-6, 1 - 1e-6)
    p = torch.full_like(mean, target)
    return p * (p / mean).log() + (1 - p) * ((1 - p) / (1 - mean)).log()


def jacobian_norm(x: Tensor, latents: Tensor, noise: Noise) -> Tensor:
    """An unbiased estimate of the squared Frobenius norm of d latents / d x, (B,).

    |J|^2 is the mean of |v J|^2 over v ~ N(0, 1) (M. F. Hutchinson, 1990): one backward pass for any latent size,
    where the exact norm takes one per unit.
    """
    directions = noise.normal(latents.shape, latents.device, latents.dtype)
    (gradients,) = torch.autograd.grad(latents, x, directions, create_graph=True)
    return gradients.square().flatten(1).sum(1)
