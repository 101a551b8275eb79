"""Principal component analysis in one pass over the training rows, without gradients.

The rows' mean and second moments are summed in double precision, so that batches, processes and a resumed run give what
one decomposition of all rows gives: the right singular vectors of the centred rows are the eigenvectors of their
covariance (C. M. Bishop, "Pattern Recognition and Machine Learning", 2006, section 12.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from dlzoo.errors import UserError
from dlzoo.losses.functional import widen
from dlzoo.nets.pca import PCA
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.specs.targets import Values
from dlzoo.tasks.interfaces import Decomposing
from dlzoo.tasks.manual import ManualTask
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.prediction_view import Prediction
from dlzoo.tasks.views import View

BLOCK = 4096
"""Rows whose second moments are summed by one matrix product: batches of 128 rows would take three times as long."""

MAX_FEATURES = 8192
"""Their covariance takes half a gigabyte."""

MAX_DOUBLE_FEATURES = 512
"""Products of more are in single precision, which is twice as fast; components of MNIST differ by 4e-6."""


class PrincipalComponents(ManualTask, Decomposing):
    """For nets with ``mean`` (F,), ``components`` (K, F) and ``variances`` (F,).

    Metrics: loss is the squared error of reconstructions per feature, as the net sees them, standardised if the data
    say so; mse the same in the units of the data; explained_variance the part of the rows' squared distances from the
    mean that the components keep, between 0 and 1.
    """

    uses_optimizer = False
    monitor = ("val/loss", "min")
    carried_state = ("statistics", "waiting")
    net_type = PCA
    net: PCA

    def __init__(
        self,
        net: PCA,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        if (num := net.components.shape[1]) > MAX_FEATURES:
            raise UserError(
                f"model=pca: inputs of {num:,} features need a covariance of {num**2 * 8 / 2**30:.0f} GB; give at most "
                f"{MAX_FEATURES:,} features, such as smaller images by data.size"
            )
        self.waiting: tuple[Tensor, ...] = ()
        """Rows of this rank that are not in the statistics yet, (B, F), each followed by their weights, (B, 1)."""
        self.means: Any = nn.ModuleDict(
            {name: MeanMetric(nan_strategy="disable") for name in ("loss", "mse", "spread")}
        )

    def setup_trainer(self, trainer: pl.Trainer) -> None:
        if trainer.accumulate_grad_batches > 1:
            raise UserError(
                f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}: all batches of an epoch make one "
                "step of PCA; omit it"
            )
        super().setup_trainer(trainer)

    def on_train_start(self) -> None:
        super().on_train_start()
        self.waiting = self.waiting or ()

    def carried_state_mismatch(self, name: str, value: object) -> str | None:
        size = self.net.components.shape[1]
        if not isinstance(value, Tensor) and not value:
            return None
        if not isinstance(value, tuple | list) or not all(isinstance(part, Tensor) for part in value):
            return "a list of tensors"
        shapes = [tuple(part.shape) for part in value]
        if name == "statistics":
            fits = shapes == [(), (), (size,), (size, size)]
            return None if fits else f"sums of {size} features and of their products"
        pairs = [*zip(shapes[::2], shapes[1::2], strict=False)]
        fits = 2 * len(pairs) == len(shapes) and all(x == (*x[:1], size) and w == (*x[:1], 1) for x, w in pairs)
        return None if fits else f"rows of {size} features, and their weights"

    # ------------------------------------------------------------------ the fit

    def is_last_of_step(self, batch_idx: int) -> bool:
        return bool(self.trainer.is_last_batch)

    @torch.no_grad()
    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        x, _, weight = Batch(*batch)
        weight = torch.ones(len(x), device=self.device) if weight is None else weight
        with torch.autocast(self.device.type, enabled=False):  # sums over many rows need full precision
            x = widen(self.standardize(x).flatten(1))
            weight = weight[:, None].to(x.dtype)
            self.check_finite((x, weight))
            if self.rank_weight and not self.step_skipped:
                self.waiting = (*self.waiting, x, weight)
            if sum(map(len, self.waiting[::2])) >= BLOCK or self.trainer.is_last_batch:
                self.add_rows(joined(x, self.waiting[::2]), joined(weight, self.waiting[1::2]))
                self.waiting = ()
            if self.is_last_of_step(batch_idx) and (totals := self.total_statistics()) is not None:
                self.decompose(*totals)

    def add_rows(self, x: Tensor, weight: Tensor) -> None:
        """Add rows (N, F) with their weights, (N, 1), to the statistics.

        Products are of the rows about their own mean, so that single precision does not cancel.
        """
        if x.shape[1] <= MAX_DOUBLE_FEATURES:
            x, weight = x.to(widest(x)), weight.to(widest(x))
        exact = weight.to(widest(x))
        count, num_rows = exact.sum(), exact.new_tensor(len(x))
        centre = (weight.T @ x)[0] / weight.sum().clamp(min=1e-12)  # `rest` makes up for its rounding
        scaled = x - centre
        if bool((weight != 1).any()):
            scaled *= weight.sqrt()
        products, rest = gram(scaled).to(exact), (weight.sqrt().T @ scaled)[0].to(exact)
        centre = centre.to(exact)
        crossed = torch.outer(rest, centre)
        products = products + crossed + crossed.T + count * torch.outer(centre, centre)
        self.add_statistics(count, num_rows, rest + count * centre, products, is_counted=True)

    def decompose(self, weight: Tensor, num_rows: Tensor, sums: Tensor, products: Tensor) -> None:
        """The mean, the components and the variances of all rows."""
        net, num = self.net, int(num_rows)
        if num < max(2, len(net.components)):
            raise UserError(
                f"net.num_components={len(net.components)}, but there are {num} training rows: they have at most "
                f"{num} components, and need 2 rows for one"
            )
        mean = sums / weight
        covariance = (products - torch.outer(mean, mean) * weight) / (weight - 1).clamp(min=1e-12)
        variances, vectors = eigh(covariance)
        variances, vectors = variances.flip(0).clamp(min=0), vectors.flip(1).T
        if variances[0] <= 1e-12 * mean.square().sum().clamp(min=1e-24):
            raise UserError("the training rows are all alike: they have no principal components; check the data")
        largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
        vectors = vectors * largest.sign()  # the largest entry of each is positive, as in scikit-learn
        net.mean.copy_(mean)
        net.components.copy_(vectors[: len(net.components)])
        net.variances.copy_(variances)
        lost = variances[len(net.components) :].sum() * (weight - 1) / weight
        total = variances.sum() * (weight - 1) / weight
        self.log_step(weight, loss=(lost / len(mean)).float(), explained_variance=(1 - lost / total).float())

    # ------------------------------------------------------------------ prediction and evaluation

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return widen(self.net.encode(self.standardize(x)))

    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.in_units(widen(self.net.decode(latents)))
        return x.clamp(0, 1) if self.spec.images is not None else x

    @property
    def components(self) -> Tensor:
        return self.net.components.detach()

    @property
    def variances(self) -> Tensor:
        return self.net.variances

    @property
    def predicted_target(self) -> Values | None:
        """Of tables, the scores; of images, `predict` gives the reconstructions."""
        if self.spec.images is not None:
            return None
        return Values(tuple(f"component_{k}" for k in range(1, len(self.net.components) + 1)))

    def predict(self, inputs: Tensor) -> Tensor:
        """Images -> their reconstructions; rows of a table (B, F) -> their scores (B, K)."""
        return self.encode(inputs) if self.spec.images is None else super().predict(inputs)

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return super().export_views() if self.spec.images is not None else {"model": lambda: Prediction(self)}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        x, _, weight = Batch(*batch)
        scores = self.encode(x)
        seen = widen(self.standardize(x))
        factors = 1.0 if weight is None else weight
        means = {"loss": seen - widen(self.net.decode(scores)), "mse": self.decode(scores) - x}
        means["spread"] = seen.flatten(1) - self.net.mean
        for name, difference in means.items():
            self.means[name].update(difference.square().flatten(1).mean(1), factors)
        return {"code": scores, "error": means["mse"].square().flatten(1).mean(1)}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self.validation_step(batch, batch_idx)

    def log_split(self, split: str) -> None:
        values = {name: metric.compute() for name, metric in self.means.items()}
        for metric in self.means.values():
            metric.reset()
        spread = values.pop("spread")
        values["explained_variance"] = 1 - values["loss"] / spread.clamp(min=1e-30)
        self.log_dict({f"{split}/{name}": value for name, value in values.items()})


def joined(like: Tensor, parts: tuple[Tensor, ...]) -> Tensor:
    """All rows; a single part without a copy."""
    return parts[0] if len(parts) == 1 else torch.cat([like[:0], *parts])


def widest(x: Tensor) -> torch.dtype:
    """Double precision, where the device has it."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def gram(x: Tensor) -> Tensor:
    """xᵀ x of (N, F), (F, F). NumPy knows that it is symmetric, which halves the time on a CPU."""
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return x.T @ x
    rows = x.numpy()
    return torch.from_numpy(np.dot(rows.T, rows))


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (F,) in ascending order and eigenvectors in columns (F, F), the same on every device."""
    values, vectors = torch.linalg.eigh(matrix.double().cpu())
    return values.to(matrix), vectors.to(matrix)
