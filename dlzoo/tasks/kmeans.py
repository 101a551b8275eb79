"""k-means clustering: assign each row to the nearest centroid, then move each centroid to the mean of its rows.

No gradient and no optimizer: a step is a closed form. ``task.update=epoch`` is S. P. Lloyd's algorithm, 1957, one step
an epoch, which never increases the inertia; ``batch`` takes a step for each batch, a centroid being the mean of all
rows ever assigned to it (J. MacQueen, 1967; D. Sculley, "Web-Scale k-Means Clustering", WWW 2010). Initialised by
k-means++ (D. Arthur, S. Vassilvitskii, SODA 2007).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from dlzoo.distributed.collectives import all_reduce_sum
from dlzoo.errors import UserError, at_least
from dlzoo.losses.functional import widen
from dlzoo.metrics.clustering import agreement
from dlzoo.nets.kmeans import KMeans
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.batch import Batch
from dlzoo.specs.targets import Classes, Unlabelled, Values
from dlzoo.tasks.centroids import CentroidLearning
from dlzoo.tasks.interfaces import Grouping
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.prediction_view import Prediction, decisions
from dlzoo.tasks.views import View

MAX_CELLS = 2**24
"""Of the table of clusters and classes, which no checkpoint stores: 128 MiB."""


class Clustering(CentroidLearning, Grouping):
    """For nets with ``centroids`` (S, K, F), that is S sets of K, and their ``counts`` (S, K).

    Metrics: loss is the mean squared distance to the nearest centroid, the inertia divided by the number of rows, and
    explained_variance the part of the squared distances from the mean that it leaves out; where the data have classes,
    nmi is the mutual information of clusters and classes, divided by the mean of their entropies, cluster_accuracy the
    accuracy of the best one-to-one matching of clusters and classes, purity the share of rows of their cluster's most
    frequent class, and adjusted_rand the share of pairs of rows on which both agree, 0 for random clusters.

    Args:
        update: when centroids are updated.
        init_rows: number of rows for k-means++, the first ones of the first epoch.
    """

    uses_optimizer = False
    monitor = ("val/loss", "min")
    net_type = KMeans
    targets: ClassVar[tuple[type[Target], ...]] = (Classes, Values, Unlabelled)
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
        num_clusters, classes = net.centroids.shape[1], spec.target.classes
        if classes is not None and num_clusters * classes.num_outputs > MAX_CELLS:
            raise UserError(
                f"net.num_clusters={num_clusters} times {classes.num_outputs:,} classes must be {MAX_CELLS:,} or less: "
                "rows are counted by cluster and class"
            )
        self.update = update
        self.init_rows = init_rows
        self.start_centroids()
        self.means: Any = nn.ModuleDict({name: MeanMetric() for name in ("loss", "spread")})
        self.eval_table: Tensor | None = None
        """(K, C): rows of validation or test by cluster and class."""

    @property
    def clusters(self) -> KMeans:
        return self.net

    @torch.no_grad()
    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        x, _, weight = Batch(*batch)
        with torch.autocast(self.device.type, enabled=False):  # sums over many rows need full precision
            if measured := self.learn_centroids(*self.rows_of(x, weight), batch_idx):
                self.log_step(measured["count"], loss=measured["inertia"])

    # ------------------------------------------------------------------ prediction and evaluation

    @property
    def centroids(self) -> Tensor:
        return self.net.centroids[0].detach()

    @property
    def predicted_target(self) -> Classes:
        """Clusters, numbered from 0."""
        names = tuple(f"cluster {i}" for i in range(self.net.centroids.shape[1]))
        return Classes(names, has_probabilities=False)

    def predict(self, inputs: Tensor) -> Tensor:
        """Raw inputs (B, …) -> (B, K), one-hot nearest cluster."""
        return decisions(self(inputs))

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return widen(-self(x)).sqrt()

    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Distances (B, K) -> the nearest centroid in the units of the data."""
        nearest = widen(self.net.centroids[0])[latents.argmin(1)].unflatten(1, self.spec.shape)
        x = self.in_units(nearest)
        return x.clamp(0, 1) if self.spec.images is not None else x

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: Prediction(self)}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        x, target, weight = Batch(*batch)
        scores = self(x)
        nearest, cluster = scores.max(1)
        counts = self.net.counts[0]
        mean = counts @ self.net.centroids[0] / counts.sum().clamp(min=1e-12)  # of the training rows
        factors = 1.0 if weight is None else weight
        self.means["loss"].update(-nearest, factors)
        self.means["spread"].update((self.standardize(x).flatten(1) - mean).square().sum(1), factors)
        if (classes := self.spec.target.classes) is not None:
            num_clusters, num_classes = self.net.centroids.shape[1], classes.num_outputs
            pairs = torch.bincount(cluster * num_classes + target, minlength=num_clusters * num_classes)
            table = pairs.view(num_clusters, num_classes)
            self.eval_table = table if self.eval_table is None else self.eval_table + table
        return {"code": widen(-scores).sqrt(), "error": -nearest / self.spec.num_features, "cluster": cluster}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self.validation_step(batch, batch_idx)

    def log_split(self, split: str) -> None:
        loss, spread = (self.means[name].compute() for name in ("loss", "spread"))
        for metric in self.means.values():
            metric.reset()
        metrics = {"loss": loss, "explained_variance": 1 - loss / spread.clamp(min=1e-30)}
        if self.eval_table is not None:
            table, self.eval_table = all_reduce_sum(self.eval_table).double().cpu(), None
            metrics |= agreement(table)
        self.log_dict({f"{split}/{name}": value.float() for name, value in metrics.items()})
