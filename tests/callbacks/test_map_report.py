"""Pictures of maps: what they show, of which data, and that they can be drawn for every grid."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlzoo.config import compose as config
from dlzoo.data.tables.colors import COLORS
from dlzoo.layers.unit_grid import UnitGrid
from dlzoo.training.run import run as run_training
from dlzoo.visualization import unit_maps
from dlzoo.visualization.plots import save

WORDS = ("model=som", "trainer=cpu", "trainer.max_epochs=3", "callbacks=[map]", "logger=none")


def run(folder: Path, *words: str) -> set[str]:
    """The pictures of a run."""
    words = (*WORDS, *words)
    run_training(config.compose(words), folder, words)
    return {path.stem for path in folder.glob("*.png")}


def test_names_stand_at_the_winners_of_the_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a map that has learned them, each name stands on its colour."""
    seen: dict[str, Any] = {}
    draw = unit_maps.named_map

    def spy(grid: UnitGrid, colours: np.ndarray, winners: dict[str, int], **named: Any) -> Any:
        seen.update(grid=grid, colours=colours, winners=winners, **named)
        return draw(grid, colours, winners, **named)

    monkeypatch.setattr(unit_maps, "named_map", spy)
    words = ("task.final_sigma=0", "trainer.max_epochs=30")
    assert run(tmp_path, "data=colors", *words) == {"map", "u_matrix", "hits", "component_planes"}
    assert {*seen["winners"]} == {*COLORS}
    for name, unit in seen["winners"].items():
        assert seen["colours"][unit] == pytest.approx(np.array(COLORS[name]) / 255, abs=0.02), name


def test_a_csv_file_has_names_from_all_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{i % 4},{i % 7},{i % 5},{i % 3},row {i}" for i in range(30)]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,c,d,who", *lines]))
    seen: list[Any] = []
    draw = unit_maps.named_map
    monkeypatch.setattr(unit_maps, "named_map", lambda *a, **k: (seen.append(a[2]), draw(*a, **k))[1])
    data = ("data=csv", f"data.path={tmp_path / 'table.csv'}", "data.target=null", "data.names=who")
    assert "map" in run(tmp_path / "run", *data, "net.rows=1")
    assert {*seen[0]} == {f"row {i}" for i in range(30)}


def test_images_have_prototypes(tmp_path: Path) -> None:
    assert run(tmp_path, "data=digits", "net.rows=3", "net.columns=4") == {"map", "u_matrix", "hits", "prototypes"}


def test_other_models_have_no_map(tmp_path: Path) -> None:
    assert run(tmp_path, "model=kmeans", "data=iris") == set()


@pytest.mark.parametrize(
    "grid", [UnitGrid(6, 9), UnitGrid(7, 4, "hexagonal"), UnitGrid(1, 40), UnitGrid(2, 1)], ids=str
)
def test_every_grid_can_be_drawn(grid: UnitGrid, tmp_path: Path) -> None:
    values = torch.rand(grid.num_units, 14)
    unit_maps.component_planes(grid, values, [f"a rather long name of feature {i}" for i in range(14)])
    colours = unit_maps.class_shares(torch.randint(5, (grid.num_units, 3)).float())
    names = {f"name {i}": 0 for i in range(3)} | {"_last": grid.num_units - 1}
    figure = unit_maps.named_map(grid, colours, names, title="map", classes=("a", "b", "c"))
    save(figure, tmp_path / "map.png")
    constant = unit_maps.units_as_values(grid, torch.zeros(grid.num_units), title="hits")
    save(constant, tmp_path / "hits.png")
    assert all((tmp_path / f"{name}.png").stat().st_size > 2000 for name in ("map", "hits"))


def test_shares_and_distances() -> None:
    labels = torch.tensor([[4.0, 0.0], [2.0, 2.0], [0.0, 0.0], [0.0, 4.0]])
    pure, mixed, empty, other = unit_maps.class_shares(labels)
    assert pure.sum() < mixed.sum() < empty.sum()
    assert tuple(empty) == unit_maps.EMPTY
    assert not np.allclose(pure, other)
    corners = torch.tensor([[0.0], [3.0], [0.0], [1.0]])
    assert unit_maps.u_matrix(UnitGrid(2, 2), corners).tolist() == pytest.approx([4 / 3, 8 / 3, 4 / 3, 4 / 3])


@pytest.mark.parametrize("kind", ["rectangular", "hexagonal"])
@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (4, 5), (5, 4)])
def test_the_u_matrix_is_the_mean_distance_of_neighbours(kind: Any, shape: tuple[int, int]) -> None:
    grid = UnitGrid(*shape, kind)
    weights = torch.randn(grid.num_units, 3, dtype=torch.float64)
    near = grid.neighbours().double()
    expected = (torch.cdist(weights, weights) * near).sum(1) / near.sum(1)
    torch.testing.assert_close(unit_maps.u_matrix(grid, weights), expected.float())


def test_the_u_matrix_of_a_large_map_takes_no_minutes() -> None:
    start = time.process_time()
    unit_maps.u_matrix(UnitGrid(400, 400), torch.randn(160_000, 1))
    assert time.process_time() - start < 10
