"""The steps of k-means, for tasks whose nets have centroids: clustering, and radial basis functions.

No gradient and no optimizer: a step is a closed form, over the rows of an epoch or of a batch.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.distributed.collectives import rank_and_world
from dlzoo.errors import UserError
from dlzoo.losses.functional import widen
from dlzoo.nets.kmeans import KMeans
from dlzoo.tasks.manual import ManualTask


class CentroidLearning(ManualTask):
    """Learns the sets of centroids of `clusters`, each started by k-means++; the best one comes first."""

    carried_state: ClassVar[tuple[str, ...]] = ("statistics", "waiting", "inertia")
    update: Literal["epoch", "batch"] = "epoch"
    """When centroids are updated."""
    init_rows: int = 10_000
    """Number of rows for k-means++, the first ones of the first epoch."""
    clusters_key: ClassVar[str] = "net.num_clusters"
    """The option for their number."""

    def start_centroids(self) -> None:
        """To be called by the constructor."""
        self.seed = torch.initial_seed() % 2**63
        self.is_initialized = False
        self.waiting: tuple[Tensor, ...] = ()
        """Rows of all ranks with their weights, (B, F + 1), collected for initialisation."""
        self.inertia: Tensor | None = None
        """(S,): inertia of each set of centroids, summed over the epoch so far."""

    @property
    @abstractmethod
    def clusters(self) -> KMeans:
        """The net with the centroids."""

    def setup_trainer(self, trainer: pl.Trainer) -> None:
        if self.update == "epoch" and trainer.accumulate_grad_batches > 1:
            raise UserError(
                f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}: with task.update=epoch all batches"
                " of an epoch make one step; omit it, or use task.update=batch"
            )
        super().setup_trainer(trainer)

    def on_train_start(self) -> None:
        super().on_train_start()
        self.is_initialized = bool(self.clusters.centroids.any())  # they are zeros before initialisation
        self.waiting = self.waiting or ()

    def carried_state_mismatch(self, name: str, value: object) -> str | None:
        num_starts, num_clusters, num_features = self.clusters.centroids.shape
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

    def rows_of(self, x: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """Raw inputs and weights -> rows (B, F) as the net sees them, and weights (B,)."""
        x = widen(self.standardize(x).flatten(1))
        return x, x.new_ones(len(x)) if weight is None else weight.to(x.dtype)

    def learn_centroids(self, x: Tensor, weight: Tensor, batch_idx: int) -> dict[str, Tensor]:
        """Learn from rows (B, F) of a batch with their weights (B,); returns their inertia per row and its weight, if
        there are centroids already."""
        if not self.is_initialized:
            rows = self.wait(torch.cat([x, weight[:, None]], 1), batch_idx)
            x, weight = rows[:, :-1], rows[:, -1]
        if not self.is_initialized:
            return {}
        measured = self.add_rows(x, weight)
        if self.is_last_of_step(batch_idx):
            self.move_centroids()
        if self.trainer.is_last_batch:
            self.sort_by_inertia()
        return measured

    def wait(self, rows: Tensor, batch_idx: int) -> Tensor:
        """Buffer rows (B, F + 1); once there are enough, initialise the centroids and return all buffered rows.

        They are returned on the first rank only.
        """
        rows = self.gather_batch(rows, batch_idx)
        self.check_finite((rows,))
        if self.step_skipped:
            return rows[:0]
        self.waiting = (*self.waiting, rows)
        if sum(map(len, self.waiting)) < self.init_rows and not self.trainer.is_last_batch:
            return rows[:0]
        kept, self.waiting = torch.cat(self.waiting), ()
        self.initialize(kept)
        return kept if rank_and_world()[0] == 0 else kept[:0]

    def initialize(self, rows: Tensor) -> None:
        x, weight = rows[:, :-1], rows[:, -1]
        num_starts, num_clusters, _ = self.clusters.centroids.shape
        if len(x) < num_clusters:
            remedy = f", or raise task.init_rows={self.init_rows}" if len(x) >= self.init_rows else ""  # else an epoch
            raise UserError(
                f"{self.clusters_key}={num_clusters}, but k-means++ has {len(x)} rows to choose from: lower it{remedy}"
            )
        draw = torch.Generator().manual_seed(self.seed)
        starts = [plus_plus(x, weight, num_clusters, draw) for _ in range(num_starts)]
        self.clusters.centroids.copy_(torch.stack(starts))
        self.is_initialized = True

    def add_rows(self, x: Tensor, weight: Tensor) -> dict[str, Tensor]:
        """Assign rows (B, F) with their weights (B,) to centroids, and add them to the statistics."""
        centroids = self.clusters.centroids.to(x.dtype)
        distances = self.clusters.squared_distances(x, centroids.flatten(0, 1), far=is_far(centroids)).unflatten(
            1, centroids.shape[:2]
        )
        squares, cluster = distances.min(2)  # (B, S)
        members = torch.zeros_like(distances).scatter_(
            2, cluster[..., None], weight[:, None, None].expand_as(squares[..., None])
        )
        sums = (members.flatten(1).T @ x).view_as(centroids)
        inertia = weight @ squares
        self.add_statistics(*(exact(part) for part in (sums, members.sum(0), inertia)))
        total = weight.sum()
        return {"count": total, "inertia": inertia[0] / total.clamp(min=1e-12)}

    def move_centroids(self) -> None:
        """Move centroids to the means of their rows; those without rows are kept."""
        if (totals := self.total_statistics()) is None:
            return
        sums, counts, inertia = totals
        net = self.clusters
        before = exact(net.counts if self.update == "batch" else torch.zeros_like(net.counts))
        after = before + counts
        moved = (before[..., None] * net.centroids + sums) / after.clamp(min=1e-12)[..., None]
        net.centroids.copy_(torch.where(after[..., None] > 0, moved, net.centroids))
        net.counts.copy_(after)
        self.inertia = inertia if self.inertia is None else self.inertia + inertia

    def sort_by_inertia(self) -> None:
        """Sort the sets of centroids by their inertia in this epoch, best first."""
        if self.inertia is not None:
            order = self.inertia.argsort(stable=True)
            self.clusters.centroids.copy_(self.clusters.centroids[order])
            self.clusters.counts.copy_(self.clusters.counts[order])
        self.inertia = None


def shapes_of(value: object) -> list[tuple[int, ...]]:
    """Of a tensor, or of several; empty for what is none."""
    parts = value if isinstance(value, tuple | list) else (value,)
    return [tuple(part.shape) if isinstance(part, Tensor) else () for part in parts]


def is_far(centroids: Tensor) -> bool:
    """Whether centroids (..., F) are farther from the origin than from each other, so that squares would cancel."""
    flat = centroids.flatten(0, -2)
    centre = flat.mean(0)
    return bool(centre.square().sum() > 10 * (flat - centre).square().sum(1).mean())


def exact(x: Tensor) -> Tensor:
    """In double precision, where the device has it: sums over many rows."""
    return x if x.device.type == "mps" else x.double()


def plus_plus(x: Tensor, weight: Tensor, num: int, draw: torch.Generator) -> Tensor:
    """Centroids (K, F): rows of x (N, F), each chosen with a probability in proportion to its weight times its squared
    distance from the nearest one chosen before."""
    chosen: list[int] = []
    nearest = torch.ones_like(weight)
    about = x - x.mean(0)
    norms = about.square().sum(1)
    for _ in range(num):
        scores = (weight * nearest).double()
        scores = scores if scores.any() else torch.ones_like(scores)  # fewer distinct rows than centroids
        cumulative = scores.cumsum(0)
        threshold = torch.rand((), generator=draw, dtype=torch.float64).to(x.device) * cumulative[-1]
        row = int(torch.searchsorted(cumulative, threshold, right=True).clamp(max=len(x) - 1))
        squares = (norms + norms[row] - 2 * (about @ about[row])).clamp(min=0)
        squares[row] = 0
        nearest = torch.minimum(nearest, squares) if chosen else squares
        chosen.append(row)
    return x[chosen]
