"""Clusters after a test: their centroids, and how well they are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, Step, eval_mode
from dlzoo.callbacks.sinks import publish
from dlzoo.distributed.collectives import gather_rows
from dlzoo.errors import at_least
from dlzoo.tasks.base import Task
from dlzoo.visualization import latent as latent_plots
from dlzoo.visualization import plots, unsupervised

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CENTROIDS = 100
"""That are drawn."""


class ClusterReport(Report):
    """Test metric of a clustering: test/silhouette, the mean over test rows of (b - a) / max(a, b), with a the mean
    distance to the other rows of the cluster and b that to the rows of the next cluster.

    Writes centroids.png, as images where the inputs are, headed by the number of test rows and their most frequent
    class, or as values of each feature; silhouette.png; and clusters.png, test rows by cluster in the plane of their
    first two principal components.

    Args:
        num_rows: random test rows for the silhouette, at most; its time grows with their square.
    """

    def __init__(self, *, num_rows: int = 2000) -> None:
        at_least(3, "callbacks.clusters", num_rows=num_rows)
        self.num_rows = num_rows
        self.batches: list[tuple[Tensor, Tensor, Tensor]] = []
        self.rows: tuple[Tensor, Tensor, Tensor] | None = None
        """Of all ranks: inputs as the net sees them (N, F), clusters (N,), targets."""
        self.silhouettes: tuple[Tensor, Tensor] | None = None

    def applies_to(self, task: Task) -> bool:
        return task.as_clustering() is not None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.batches, self.rows, self.silhouettes = [], None, None

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        x = task.standardize(step.batch[0]).flatten(1).float()
        self.batches.append((x, step.outputs["cluster"], step.batch[1]))

    def measure(self, trainer: pl.Trainer, task: Task) -> None:
        from sklearn.metrics import silhouette_samples

        if not self.batches:
            return
        x, clusters, targets = (gather_rows(torch.cat(parts)).cpu() for parts in zip(*self.batches, strict=True))
        self.batches = []
        if not trainer.is_global_zero:
            return
        some = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[: self.num_rows]
        self.rows = x[some], clusters[some], targets[some]
        num_found = len(clusters[some].unique())
        if 2 <= num_found < len(some):  # it is not defined for one cluster, nor for as many as rows
            values = torch.from_numpy(silhouette_samples(x[some].double().numpy(), clusters[some].numpy()))
            self.silhouettes = values, clusters[some]
            task.log_dict({"test/silhouette": float(values.mean())}, rank_zero_only=True)

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        grouping = task.as_clustering()
        assert grouping is not None
        if self.rows is None:
            return
        x, clusters, targets = self.rows
        num = len(grouping.centroids)
        names = tuple(f"cluster {k}" for k in range(num))
        with eval_mode(task):
            publish(trainer, "centroids", self.draw_centroids(task, clusters, targets))
        if self.silhouettes is not None:
            publish(trainer, "silhouette", unsupervised.silhouettes(*self.silhouettes, num))
        if x.shape[1] > 1:
            points, axes = latent_plots.planar(x)
            title = f"{num} clusters of {len(x):,} test rows"
            publish(trainer, "clusters", latent_plots.map_of(points, clusters, names, title=title, axes=axes))
        self.begin_test(trainer, task)

    def draw_centroids(self, task: Task, clusters: Tensor, targets: Tensor) -> Figure:
        grouping = task.as_clustering()
        assert grouping is not None
        centroids = grouping.centroids[:MAX_CENTROIDS].cpu()
        titles = [title_of(task, targets[clusters == k]) for k in range(len(centroids))]
        num = len(grouping.centroids)
        own = torch.full((len(centroids), num), 1.0)
        values = grouping.decode(own.scatter(1, torch.arange(len(centroids))[:, None], 0.0).to(task.device)).cpu()
        if task.spec.images is not None:
            heading = "centroids: number of test rows, and the most frequent class" if titles else "centroids"
            return plots.image_grid(values, titles, heading=heading)
        columns = task.spec.table.feature_names if task.spec.table is not None else map(str, range(values.shape[1]))
        rows = [f"{k}: {title}".translate({10: ", ", 9: " "}) for k, title in enumerate(titles)]
        return unsupervised.weights_of_features(
            centroids - centroids.mean(0),
            rows,
            [*columns],
            title="centroids, coloured by their distance from the mean",
            texts=values,
        )


def title_of(task: Task, targets: Tensor) -> str:
    """The number of rows of a cluster, and the class that most of them have with its share."""
    classes = task.spec.target.classes
    if classes is None or not len(targets):
        return f"{len(targets):,}"
    counts = targets.bincount(minlength=classes.num_outputs)
    return f"{len(targets):,}\n{classes.names[int(counts.argmax())]}\t{counts.max() / len(targets):.0%}"
