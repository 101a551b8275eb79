"""k-means clustering: assign each row to the nearest centroid, then move each centroid to the mean of its rows.

No gradient and no optimizer: a step is a closed form. ``task.update=epoch`` is S. P. Lloyd's algorithm, 1957, one step
an epoch, which never increases the inertia; ``batch`` takes a step for each batch, a centroid being the mean of all
rows ever assigned to it (J. MacQueen, 1967; D. Sculley, "Web-Scale k-Means Clustering", WWW 2010). Initialised by
k-means++ (D. Arthur, S. Vassilvitskii, SODA 2007).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor
from torchmetrics import MeanMetric

from dlzoo.distributed.collectives import all_reduce_sum, rank_and_world
from dlzoo.errors import UserError, at_least
from dlzoo.losses.functional import widen
from dlzoo.nets.kmeans import KMeans
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.specs.targets import Classes
from dlzoo.tasks.manual import ManualTask
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.prediction_view import decisions
from dlzoo.tasks.views import Tensors, View


class Clustering(ManualTask):
    """For nets with ``centroids`` (S, K, F), that is S sets of K, and their ``counts`` (S, K).

    Metrics: loss is the mean squared distance to the nearest centroid, the inertia divided by the number of rows; where
    the data have classes, nmi is the mutual information of clusters and classes, divided by the mean of their
    entropies, and cluster_accuracy the accuracy of the best one-to-one matching of clusters and classes.

    Args:
        update: when centroids are updated.
        init_rows: number of rows for k-means++, the first ones of the first epoch.
    """

    uses_optimizer = False
    monitor = ("val/loss", "min")
    carried_state: ClassVar[tuple[str, ...]] = ("statistics", "waiting", "inertia")
    net: KMeans

    def __init__(
        self,
        net: KMeans,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        update: Literal["epoch", "batch"] = "epoch",
        init_rows: int = 10_000,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        at_least(1, "task", init_rows=init_rows)
        self.update = update
        self.init_rows = init_rows
        self.seed = torch.initial_seed() % 2**63
        self.is_initialized = False
        self.waiting: tuple[Tensor, ...] = ()
        """Rows of all ranks with their weights, (B, F + 1), collected for initialisation."""
        self.inertia: Tensor | None = None
        """(S,): inertia of each set of centroids, summed over the epoch so far."""
        self.eval_loss = MeanMetric()
        self.eval_table: Tensor | None = None
        """(K, C): rows of validation or test by cluster and class."""

    def setup_trainer(self, trainer: pl.Trainer) -> None:
        if self.update == "epoch" and trainer.accumulate_grad_batches > 1:
            raise UserError(
                f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}: with task.update=epoch all batches"
                " of an epoch make one step; omit it, or use task.update=batch"
            )
        super().setup_trainer(trainer)

    def on_train_start(self) -> None:
        super().on_train_start()
        self.is_initialized = bool(self.net.centroids.any())  # they are zeros before initialisation
        self.waiting = self.waiting or ()

    def carried_state_mismatch(self, name: str, value: object) -> str | None:
        num_starts, num_clusters, num_features = self.net.centroids.shape
        if not isinstance(value, Tensor) and not value:
            return None
        if isinstance(value, Tensor) != (name == "inertia"):
            fits, wanted = False, "a tensor" if name == "inertia" else "a list of tensors"
        elif name == "inertia":
            fits, wanted = shapes_of(value) == [(num_starts,)], f"{num_starts} sums"
        elif name == "statistics":
            sums = [(num_starts, num_clusters, num_features), (num_starts, num_clusters), (num_starts,)]
            fits, wanted = shapes_of(value) == sums, f"sums of {num_starts} sets of {num_clusters} centroids"
        else:
            fits = all(len(shape) == 2 and shape[1] == num_features + 1 for shape in shapes_of(value))
            wanted = f"rows of {num_features} features and a weight"
        return None if fits else wanted

    # ------------------------------------------------------------------ steps

    def is_last_of_step(self, batch_idx: int) -> bool:
        return bool(self.trainer.is_last_batch) if self.update == "epoch" else super().is_last_of_step(batch_idx)

    def steps_in(self, batch_idx: int) -> int:
        if self.step_skipped:  # for a non-finite batch; the other batches of the epoch still make a step
            return 1
        return super().steps_in(batch_idx) if self.is_initialized else 0

    @torch.no_grad()
    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        x, _, weight = Batch(*batch)
        weight = torch.ones(len(x), device=self.device) if weight is None else weight
        with torch.autocast(self.device.type, enabled=False):  # sums over many rows need full precision
            x = widen(self.standardize(x).flatten(1))
            rows = torch.cat([x, weight[:, None].to(x.dtype)], 1)
            if not self.is_initialized:
                rows = self.wait(rows, batch_idx)
            if self.is_initialized:
                self.add_rows(rows)
                if self.is_last_of_step(batch_idx):
                    self.move_centroids()
                if self.trainer.is_last_batch:
                    self.sort_by_inertia()

    def wait(self, rows: Tensor, batch_idx: int) -> Tensor:
        """Buffer rows (B, F + 1); once there are enough, initialise the centroids and return all buffered rows.

        They are returned on the first rank only.
        """
        rows = self.gather_batch(rows, batch_idx)
        self.check_finite((rows,))
        if self.step_skipped:
            return rows[:0]
        self.waiting = (*self.waiting, rows)
        kept = torch.cat(self.waiting)
        if len(kept) >= self.init_rows or self.trainer.is_last_batch:
            self.initialize(kept)
            self.waiting = ()
        return kept if rank_and_world()[0] == 0 else kept[:0]

    def gather_batch(self, rows: Tensor, batch_idx: int) -> Tensor:
        """The rows of all ranks in a training batch, in the order of a single process."""
        if rank_and_world()[1] == 1:
            return rows
        loader: Any = self.trainer.train_dataloader
        places, num_rows = loader.positions(batch_idx)
        whole = rows.new_zeros(num_rows, rows.shape[1])
        if self.rank_weight:
            whole[places] = rows
        return all_reduce_sum(whole)

    def initialize(self, rows: Tensor) -> None:
        x, weight = rows[:, :-1], rows[:, -1]
        num_starts, num_clusters, _ = self.net.centroids.shape
        if len(x) < num_clusters:
            raise UserError(
                f"net.num_clusters={num_clusters}, but k-means++ has {len(x)} rows to choose from: lower it, or raise "
                f"task.init_rows={self.init_rows}"
            )
        draw = torch.Generator().manual_seed(self.seed)
        starts = [plus_plus(x, weight, num_clusters, draw) for _ in range(num_starts)]
        self.net.centroids.copy_(torch.stack(starts))
        self.is_initialized = True

    def add_rows(self, rows: Tensor) -> None:
        """Assign rows (B, F + 1) to centroids, and add them to the statistics."""
        x, weight = rows[:, :-1], rows[:, -1]
        sums, counts, inertia = [], [], []
        for centroids in self.net.centroids:
            squares, cluster = self.net.squared_distances(x, centroids.to(x.dtype)).min(1)
            members = torch.zeros(len(x), len(centroids), dtype=x.dtype, device=x.device)
            members[torch.arange(len(x), device=x.device), cluster] = weight
            sums.append(members.T @ x)
            counts.append(members.sum(0))
            inertia.append((weight * squares).sum())
        total = weight.sum()
        self.add_statistics(torch.stack(sums), torch.stack(counts), torch.stack(inertia))
        self.log_step(total, loss=inertia[0] / total.clamp(min=1e-12))

    def move_centroids(self) -> None:
        """Move centroids to the means of their rows; those without rows are kept."""
        if (totals := self.total_statistics()) is None:
            return
        sums, counts, inertia = totals
        net = self.net
        before = net.counts if self.update == "batch" else torch.zeros_like(net.counts)
        after = before + counts
        moved = (before[..., None] * net.centroids + sums) / after.clamp(min=1e-12)[..., None]
        net.centroids.copy_(torch.where(after[..., None] > 0, moved, net.centroids))
        net.counts.copy_(after)
        self.inertia = inertia if self.inertia is None else self.inertia + inertia

    def sort_by_inertia(self) -> None:
        """Sort the sets of centroids by their inertia in this epoch, best first."""
        if self.inertia is not None:
            order = self.inertia.argsort(stable=True)
            self.net.centroids.copy_(self.net.centroids[order])
            self.net.counts.copy_(self.net.counts[order])
        self.inertia = None

    # ------------------------------------------------------------------ prediction and evaluation

    @property
    def predicted_target(self) -> Classes:
        """Clusters, numbered from 0."""
        names = tuple(f"cluster {i}" for i in range(self.net.centroids.shape[1]))
        return Classes(names, has_probabilities=False)

    def predict(self, inputs: Tensor) -> Tensor:
        """Raw inputs (B, …) -> (B, K), one-hot nearest cluster."""
        return decisions(self(inputs))

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: ClusterView(self)}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        x, target, weight = Batch(*batch)
        nearest, cluster = self(x).max(1)
        self.eval_loss.update(-nearest, 1.0 if weight is None else weight)
        if (classes := self.spec.target.classes) is not None:
            num_clusters, num_classes = self.net.centroids.shape[1], classes.num_outputs
            pairs = torch.bincount(cluster * num_classes + target, minlength=num_clusters * num_classes)
            table = pairs.view(num_clusters, num_classes)
            self.eval_table = table if self.eval_table is None else self.eval_table + table

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def log_split(self, split: str) -> None:
        metrics = {"loss": self.eval_loss.compute()}
        self.eval_loss.reset()
        if self.eval_table is not None:
            table, self.eval_table = all_reduce_sum(self.eval_table).double().cpu(), None
            metrics |= {"nmi": normalized_mutual_information(table), "cluster_accuracy": matching_accuracy(table)}
        self.log_dict({f"{split}/{name}": value.float() for name, value in metrics.items()})


class ClusterView(View[Clustering]):
    """Exported clustering: the nearest cluster, one-hot."""

    def __init__(self, task: Clustering) -> None:
        super().__init__(task)
        self.inputs = task.spec.ports()
        self.outputs = task.predicted_target.ports()

    def forward(self, x: Tensor) -> Tensors:  # type: ignore[override]
        return (self.task.predict(self.pixels(x)),)

    def expected(self, x: Tensor) -> Tensors:  # type: ignore[override]
        with torch.inference_mode():
            return (self.trained.predict(self.pixels(x)),)


def shapes_of(value: object) -> list[tuple[int, ...]]:
    """Of a tensor, or of several; empty for what is none."""
    parts = value if isinstance(value, tuple | list) else (value,)
    return [tuple(part.shape) if isinstance(part, Tensor) else () for part in parts]


def plus_plus(x: Tensor, weight: Tensor, num: int, draw: torch.Generator) -> Tensor:
    """Centroids (K, F): rows of x (N, F), each chosen with a probability in proportion to its weight times its squared
    distance from the nearest one chosen before."""
    chosen: list[Tensor] = []
    nearest = torch.ones_like(weight)
    for _ in range(num):
        scores = (weight * nearest).double()
        scores = scores if scores.any() else torch.ones_like(scores)  # fewer distinct rows than centroids
        cumulative = scores.cumsum(0)
        threshold = torch.rand((), generator=draw, dtype=torch.float64).to(x.device) * cumulative[-1]
        row = x[torch.searchsorted(cumulative, threshold, right=True).clamp(max=len(x) - 1)]
        squares = (x - row).square().sum(1)
        nearest = torch.minimum(nearest, squares) if chosen else squares
        chosen.append(row)
    return torch.stack(chosen)


def normalized_mutual_information(table: Tensor) -> Tensor:
    """NMI of clusters and classes, from their counts (K, C): 0 if they are independent, 1 if each determines the
    other."""
    joint = table / table.sum().clamp(min=1)
    outer = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    shared = torch.special.xlogy(joint, joint / outer.clamp(min=1e-300)).sum()
    entropies = [-torch.special.xlogy(p, p).sum() for p in (joint.sum(0), joint.sum(1))]
    mean = (entropies[0] + entropies[1]) / 2
    return shared / mean if mean > 0 else torch.ones(())


def matching_accuracy(table: Tensor) -> Tensor:
    """The accuracy of the best one-to-one matching of clusters and classes, from their counts (K, C)."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
    return table[rows, columns].sum() / table.sum().clamp(min=1)
