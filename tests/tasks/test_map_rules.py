"""The rules of self-organising maps against their definitions and MiniSom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from minisom import MiniSom
from torch import Tensor

from dlzoo.layers.unit_grid import UnitGrid
from dlzoo.nets.som import SelfOrganizingMap
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.targets import Unlabelled
from dlzoo.tasks.map_rules import Neighborhood, online_pass, principal_plane
from dlzoo.tasks.som import SelfOrganization

GRIDS = [UnitGrid(5, 7), UnitGrid(5, 7, "hexagonal"), UnitGrid(1, 12)]
SPEC = TableSpec(tuple(map(Column, "abcd")), Unlabelled())


def rows(num: int = 40, width: int = 4) -> Tensor:
    return torch.rand(num, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def start(grid: UnitGrid, width: int = 4) -> Tensor:
    return torch.randn(grid.num_units, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def peer(grid: UnitGrid, weights: Tensor, **options: Any) -> MiniSom:
    """MiniSom with these weights; its unit (i, j) is ours in column i and row j, its sigma ours / sqrt(2)."""
    som = MiniSom(grid.columns, grid.rows, weights.shape[1], topology=grid.kind, **options)
    som._weights = weights.view(grid.rows, grid.columns, -1).transpose(0, 1).numpy().copy()
    return som


def weights_of(som: MiniSom) -> Tensor:
    return torch.from_numpy(som.get_weights()).transpose(0, 1).flatten(0, 1)


def errors_of(grid: UnitGrid, weights: Tensor, x: Tensor) -> tuple[float, float]:
    """Quantisation and topographic error, as the task measures them."""
    net = SelfOrganizingMap(SPEC, rows=grid.rows, columns=grid.columns, grid=grid.kind).double()
    with torch.no_grad():
        net.weights.copy_(weights)
    task = SelfOrganization(net, SPEC)
    task.validation_step((x, torch.zeros(len(x)), None), 0)  # type: ignore[arg-type]
    values = {name: float(metric.compute()) for name, metric in task.eval_means.items() if metric.update_called}
    return values["quantization_error"], values["topographic_error"]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_the_online_rule_gives_the_weights_of_minisom(grid: UnitGrid) -> None:
    """At equal settings, row by row, with rate and radius that decrease after each pass; so are its errors."""
    x, weights, epochs = rows(), start(grid), 12
    options: dict[str, Any] = {"decay_function": "linear_decay_to_zero", "sigma_decay_function": "linear_decay_to_one"}
    som = peer(grid, weights, sigma=3.0, learning_rate=0.5, **options)
    som.train(x.numpy(), epochs, use_epochs=True)
    neighborhood = Neighborhood(grid, "gaussian", weights)
    for epoch in range(epochs):
        progress, radius = epoch / epochs, 2**0.5 * (3.0 + epoch * (1 - 3.0) / epochs)
        for part in x.split(9):
            rates = torch.full((len(part),), 0.5 * (1 - progress), dtype=torch.float64)
            online_pass(weights, part, rates, neighborhood, radius)
    torch.testing.assert_close(weights, weights_of(som), rtol=1e-9, atol=1e-9)
    quantization, topographic = errors_of(grid, weights, x)
    assert quantization == pytest.approx(som.quantization_error(x.numpy()), rel=1e-5)
    if grid.rows > 1 or grid.kind == "rectangular":
        assert topographic == pytest.approx(som.topographic_error(x.numpy()))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_the_batch_map_gives_the_weights_of_minisom(grid: UnitGrid) -> None:
    x, weights, epochs = rows(), start(grid), 8
    som = peer(grid, weights, sigma=2.0, decay_function=lambda *_: 1.0, sigma_decay_function="linear_decay_to_one")
    som.train_batch_offline(x.numpy(), epochs)
    neighborhood = Neighborhood(grid, "gaussian", weights)
    for epoch in range(epochs):
        winners = torch.cdist(x, weights).argmin(1)
        sums = torch.zeros_like(weights).index_add_(0, winners, x)
        counts = winners.bincount(minlength=len(weights)).double()
        weights, has_rows = neighborhood.means(sums, counts, 2**0.5 * (2.0 - epoch / epochs))
        assert has_rows.all()
    torch.testing.assert_close(weights, weights_of(som), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["gaussian", "bubble"])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_batched_distances_change_nothing(grid: UnitGrid, kind: Any) -> None:
    """Kohonen's rule as it is written, also with a rate for each row and rows that occur twice."""
    x, weights = rows(20), start(grid)
    x[7] = x[3]
    rates = torch.linspace(0, 1, 20, dtype=torch.float64)
    expected, nearest = weights.clone(), []
    positions = grid.positions().double()
    for row, rate in zip(x, rates, strict=True):
        squares = (row - expected).square().sum(1)
        winner = squares.argmin()
        apart = (positions - positions[winner]).square().sum(1)
        h = (-apart / 1.5**2).exp() if kind == "gaussian" else (apart <= 1.5**2).double()
        expected += rate * h[:, None] * (row - expected)
        nearest.append(squares[winner])
    found = online_pass(weights, x, rates, Neighborhood(grid, kind, weights), 1.5)
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(found, torch.stack(nearest))


def test_a_large_grid_needs_no_table_of_distances() -> None:
    small, large = UnitGrid(4, 5, "hexagonal"), UnitGrid(60, 50, "hexagonal")
    assert Neighborhood(small).table is not None
    neighborhood = Neighborhood(large)
    assert neighborhood.table is None
    units = torch.tensor([3, 2999])
    expected = (large.positions().float()[units][:, None] - large.positions().float()).square().sum(2)
    torch.testing.assert_close(neighborhood.distances(units), expected)
    torch.testing.assert_close(neighborhood.distances(units[1]), expected[1])


def test_means_far_from_all_winners_do_not_underflow() -> None:
    """Their only winner is 30 units away, and e^-900 is 0 in single precision. A bubble leaves them where they are."""
    grid = UnitGrid(1, 31)
    sums, counts = torch.zeros(31, 2), torch.zeros(31)
    sums[0], counts[0] = torch.tensor([6.0, 4.0]), 2.0
    means, has_rows = Neighborhood(grid).means(sums, counts, 1.0)
    assert has_rows.all()
    assert means.tolist() == [[3.0, 2.0]] * 31
    means, has_rows = Neighborhood(grid, "bubble").means(sums, counts, 2.0)
    assert has_rows.tolist() == [True] * 3 + [False] * 28
    assert not Neighborhood(grid).means(torch.zeros(31, 2), torch.zeros(31), 1.0)[1].any()


@pytest.mark.parametrize(
    ("grid", "longer"), [(UnitGrid(3, 9), 0), (UnitGrid(9, 3, "hexagonal"), 1), (UnitGrid(1, 9), 0)]
)
def test_the_principal_plane_spans_two_standard_deviations(grid: UnitGrid, longer: int) -> None:
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([5.0, 0.1, 2.0]) + 7
    weights = principal_plane(grid, x.mean(0), torch.cov(x.T, correction=0))
    place = grid.positions()[:, longer]
    assert np.corrcoef(place.numpy(), weights[:, 0].numpy())[0, 1] > 0.999
    assert float(weights[:, 0].max() - weights[:, 0].min()) == pytest.approx(4 * float(x[:, 0].std()), rel=0.05)
    assert float(weights[:, 1].std()) < 0.05
    if grid.rows == 1:
        assert float(weights[:, 2].std()) < 0.2


def test_one_feature_has_one_component() -> None:
    weights = principal_plane(UnitGrid(2, 3), torch.zeros(1), torch.ones(1, 1))
    assert weights[:, 0].tolist() == [-2.0, 0.0, 2.0] * 2
