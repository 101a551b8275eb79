"""Training radial basis function networks: first the centres by k-means, then the output by least squares.

J. Moody, C. J. Darken, "Fast Learning in Networks of Locally-Tuned Processing Units", Neural Computation 1, 1989. The
centres do not see the targets, and the output is the solution of a linear system, summed in one pass over the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.errors import UserError, at_least
from dlzoo.losses.heads import Head
from dlzoo.losses.objectives import ValueObjective
from dlzoo.nets.kmeans import KMeans
from dlzoo.nets.rbf import RBF
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.batch import Batch, TensorOrDict
from dlzoo.tasks.centroids import CentroidLearning, exact, shapes_of
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.prediction_view import decisions
from dlzoo.tasks.supervised import LossKind, Supervised


class RadialBasis(CentroidLearning, Supervised):  # type: ignore[misc]  # training_step gives no loss
    """For nets with ``centers``, ``widths`` and ``linear``.

    Metrics: loss is half the squared error, summed over the outputs, which of classes are 1 for the right one and 0 for
    the others; in training, inertia is the mean squared distance to the nearest centre, while these are learnt.

    Args:
        center_epochs: passes of Lloyd's algorithm over the rows before the one that the output is fitted in.
        ridge: weight decay of the output, relative to the number of rows; it keeps units that overlap apart.
        init_rows: number of rows for k-means++, the first ones of the first epoch.
    """

    uses_optimizer = False
    clusters_key = "net.num_centers"
    net_type = RBF
    net: RBF

    def __init__(
        self,
        net: RBF,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        center_epochs: int = 10,
        ridge: float = 1e-6,
        init_rows: int = 10_000,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        at_least(1, "task", center_epochs=center_epochs, init_rows=init_rows)
        at_least(0, "task", ridge=ridge)
        self.center_epochs = center_epochs
        self.ridge = ridge
        self.init_rows = init_rows
        self.start_centroids()

    def setup_trainer(self, trainer: pl.Trainer) -> None:
        epochs = trainer.max_epochs
        if epochs is not None and 0 <= epochs <= self.center_epochs:
            raise UserError(
                f"trainer.max_epochs={epochs}: the centres take task.center_epochs={self.center_epochs} epochs, and "
                f"the output one more; set trainer.max_epochs={self.center_epochs + 1}, or lower task.center_epochs"
            )
        super().setup_trainer(trainer)

    @property
    def clusters(self) -> KMeans:
        return self.net.centers

    def carried_state_mismatch(self, name: str, value: object) -> str | None:
        size, num = self.net.linear.in_features + 1, self.net.linear.out_features
        if name == "statistics" and shapes_of(value) == [(), (size, size), (size, num), ()]:
            return None  # of the output
        return super().carried_state_mismatch(name, value)

    # ------------------------------------------------------------------ steps

    @torch.no_grad()
    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        x, target, weight = Batch(*batch)
        with torch.autocast(self.device.type, enabled=False):  # sums over many rows need full precision
            rows, factors = self.rows_of(x, weight)
            if self.current_epoch >= self.center_epochs:
                self.learn_output(rows, factors, self.wanted(target), batch_idx)
                return
            outputs = self.net.linear(self.net.activities(rows))
            self.log_step(factors.sum(), loss=self.loss(outputs, target, weight))
            if measured := self.learn_centroids(rows, factors, batch_idx):
                self.log_step(measured["count"], inertia=measured["inertia"])
            if self.trainer.is_last_batch:
                self.net.set_widths()

    def wanted(self, target: Tensor) -> Tensor:
        """What the outputs should be, (B, K): ones and zeros of classes and labels, or values as they are scaled."""
        if self.spec.target.classes is not None and target.ndim == 1:
            return F.one_hot(target, self.spec.target.num_outputs).float()
        return self.objective.scaled(target) if isinstance(self.objective, ValueObjective) else target

    def learn_output(self, rows: Tensor, factors: Tensor, wanted: Tensor, batch_idx: int) -> None:
        """Add rows (B, F) with their weights (B,) to the normal equations, and solve them with the last batch."""
        phi = F.pad(exact(self.net.activities(rows)), (0, 1), value=1.0)
        weight, wanted = exact(factors[:, None]), exact(wanted)
        weighted = phi * weight
        squares = (wanted.square() * weight).sum()
        self.add_statistics(weight.sum(), weighted.T @ phi, weighted.T @ wanted, squares)
        if not self.is_last_of_step(batch_idx) or (totals := self.total_statistics()) is None:
            return
        count, gram, cross, squares = totals
        decay = torch.full_like(gram.diagonal(), self.ridge) * count
        decay[-1] = 0  # of the bias
        solution = torch.linalg.lstsq((gram + decay.diag()).cpu(), cross.cpu(), driver="gelsd").solution.to(gram)
        self.net.linear.weight.copy_(solution[:-1].T)
        self.net.linear.bias.copy_(solution[-1])
        error = squares - 2 * (solution * cross).sum() + (solution * (gram @ solution)).sum()
        self.log_step(count, loss=(error / 2 / count).float())

    # ------------------------------------------------------------------ prediction and evaluation

    def mean_loss(
        self, head: Head, output: Tensor, target: Tensor, weight: Tensor | None = None, kind: LossKind = "minimized"
    ) -> Tensor:
        each = (self.wanted(target) - output).square().sum(1) / 2
        return each.mean() if weight is None else (each * weight).sum() / self._total(weight)

    @property
    def predicted_target(self) -> Target:
        """The classes, without probabilities: the outputs are not those."""
        classes = self.spec.target.classes
        return super().predicted_target if classes is None else replace(classes, has_probabilities=False)

    def predict(self, inputs: TensorOrDict) -> TensorOrDict:
        """(B, …) -> (B, K), one-hot class of the largest output, or values."""
        return super().predict(inputs) if self.spec.target.classes is None else decisions(self(inputs))

    def diagnostics(self) -> Iterator[str]:
        """Before the output is fitted, all rows are predicted alike."""
        if self.current_epoch >= self.center_epochs or self.trainer.testing:
            yield from super().diagnostics()
