"""The rules of self-organising maps: the neighbourhood, Kohonen's online rule and the batch map."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dlzoo.layers.unit_grid import UnitGrid, squared_distances
from dlzoo.nets.som import squared_distances as squared_norms

NeighborhoodName = Literal["gaussian", "bubble"]
"""How strongly a winner's neighbours learn: exp(-d^2 / sigma^2), or 1 up to the distance sigma."""

MAX_TABLE = 2048
"""Units up to which the distances of all pairs are stored."""
CHUNK = 1024
"""Units of the batch map that are moved at a time."""
SMALLEST_SIGMA = 1e-6


class Neighborhood:
    """The neighbourhood h of the units of a grid.

    >>> [round(h, 4) for h in Neighborhood(UnitGrid(1, 3)).of(torch.tensor(0), sigma=1.0).tolist()]
    [1.0, 0.3679, 0.0183]
    """

    def __init__(self, grid: UnitGrid, kind: NeighborhoodName = "gaussian", like: Tensor | None = None) -> None:
        self.kind = kind
        self.positions = grid.positions().float() if like is None else grid.positions().to(like)
        is_small = grid.num_units <= MAX_TABLE
        self.table = squared_distances(self.positions, self.positions) if is_small else None
        self._sigma, self._calls = -1.0, 0
        self._h: Tensor | None = None
        """h of all pairs for the radius of the last calls, once they are many."""

    def distances(self, units: Tensor) -> Tensor:
        """Squared distances on the grid of units () or (n,) from all units, (U,) or (n, U)."""
        if self.table is not None:
            return self.table[units]
        return (self.positions[units].unsqueeze(-2) - self.positions).square().sum(-1)

    def of(self, units: Tensor, sigma: float) -> Tensor:
        """h of winners () or (n,) for all units, (U,) or (n, U)."""
        if sigma != self._sigma:
            self._sigma, self._calls, self._h = sigma, 0, None
        self._calls += 1
        if self._h is None and self.table is not None and self._calls > len(self.table) / 8:
            self._h = self.values(self.table, sigma)
        return self.values(self.distances(units), sigma) if self._h is None else self._h[units]

    def values(self, distances: Tensor, sigma: float) -> Tensor:
        """h at squared distances on the grid."""
        sigma = max(sigma, SMALLEST_SIGMA)
        if self.kind == "bubble":
            return (distances <= sigma**2 * (1 + 1e-6)).to(distances.dtype)
        return (distances * (-1 / sigma**2)).exp()

    def means(self, sums: Tensor, counts: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """The means of the rows that units win, weighted by h, (U, F), and whether a unit has any, (U,).

        Args:
            sums: (U, F), of the rows that each unit wins.
            counts: (U,), their number.
        """
        winners = counts.nonzero().flatten()
        means, has_rows = torch.zeros_like(sums), torch.zeros_like(counts, dtype=torch.bool)
        every = torch.arange(len(counts), device=counts.device)
        for units in every.split(CHUNK) if len(winners) else ():
            distances = self.distances(units)[:, winners]
            if self.kind == "gaussian":  # relative to the nearest winner: the ratio is the same, and nothing underflows
                distances = distances - distances.amin(1, keepdim=True)
            h = self.values(distances, sigma)
            total = h @ counts[winners]
            means[units] = (h @ sums[winners]) / total.clamp(min=1e-12)[:, None]
            has_rows[units] = total > 0
        return means, has_rows


def online_pass(weights: Tensor, x: Tensor, rates: Tensor, neighborhood: Neighborhood, sigma: float) -> Tensor:
    """Kohonen's rule for one row after the other: w_j += rate * h(winner, j) * (x - w_j), in place.

    The distances of some rows from all units come from one matrix product, and are then corrected for each change of
    the weights: for w' = w + a (y - w),

        |x - w'|^2 = (1 - a) |x - w|^2 + a |x - y|^2 - a (1 - a) |y - w|^2,

    so that a row of B costs O(B U) in place of O(U F), and the weights are computed once, after B rows.

    Args:
        weights: (U, F)
        x: (B, F)
        rates: (B,), at most 1.

    Returns:
        (B,) squared distance of each row to its winner at that moment.
    """
    nearest = []
    size = max(8, round(2 * x.shape[1] ** 0.5))  # the more features, the more rows pay
    for rows, rates_of_rows in zip(x.split(size), rates.split(size), strict=True):
        nearest.append(_few_rows(weights, precise(rows), precise(rates_of_rows), neighborhood, sigma))
    return torch.cat(nearest)


def _few_rows(weights: Tensor, x: Tensor, rates: Tensor, neighborhood: Neighborhood, sigma: float) -> Tensor:
    start = precise(weights)
    distances, between = squared_norms(x, start), squared_norms(x, x)
    pulls = torch.empty(len(x), len(weights), dtype=x.dtype, device=x.device)
    for k in range(len(x)):
        row = distances[k]
        pull = torch.mul(neighborhood.of(row.argmin(), sigma), rates[k], out=pulls[k])
        if k + 1 < len(x):
            distances[k + 1 :].sub_(pull * row).mul_(1 - pull).addcmul_(between[k + 1 :, k, None], pull)
    kept = (1 - pulls).flip(0).cumprod(0).flip(0)  # of what was there before each row
    after = torch.cat([kept[1:], torch.ones_like(kept[:1])])
    weights.copy_(start * kept[0, :, None] + (pulls * after).T @ x)
    return distances.amin(1).clamp(min=0).to(weights.dtype)  # a row's are final when it is learned


def precise(values: Tensor) -> Tensor:
    """In double precision, in which differences of squares do not cancel; Apple's GPUs have none."""
    return values if values.device.type == "mps" else values.double()


def principal_plane(grid: UnitGrid, mean: Tensor, covariance: Tensor) -> Tensor:
    """(U, F) weights on the plane of the first two principal components, two standard deviations to each side; on the
    first one alone for a chain.

    Args:
        mean: (F,)
        covariance: (F, F)
    """
    values, vectors = torch.linalg.eigh(covariance.double().cpu())
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    axes = (vectors * signs * values.sqrt()).T[:2]
    positions = grid.positions().double()
    extent = positions.amax(0).clamp(min=1e-12)
    places = torch.where(positions.amax(0) > 0, 4 * positions / extent - 2, 0.0)
    longer = int(grid.rows > grid.columns)  # the first component lies along the longer side
    places = places.flip(1) if longer else places
    return (mean.double().cpu() + places[:, : len(axes)] @ axes).to(mean)
