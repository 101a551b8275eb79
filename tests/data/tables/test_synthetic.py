"""Synthetic tables: each law is what it says, and a seed chooses the points."""

import typing
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import make_friedman1

from dlzoo.data.tables.synthetic import KINDS, Synthetic, SyntheticKind
from dlzoo.errors import UserError
from dlzoo.specs.targets import Classes, Values

VALUES = ("line", "sine", "boxcar", "friedman")


def test_every_kind_is_listed() -> None:
    assert typing.get_args(SyntheticKind) == tuple(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_keep_the_spec(kind: SyntheticKind) -> None:
    data = Synthetic(kind=kind, num_samples=200, test_fraction=0.25, val_size=30)
    spec = data.declare()
    assert isinstance(spec.target, Values if kind in VALUES else Classes)
    for split, num_rows in {"train": 120, "val": 30, "test": 50}.items():
        rows = data.arrays(split)  # type: ignore[arg-type]
        assert rows.x.shape == (num_rows, spec.num_features)
        assert rows.x.dtype == torch.float32
        if isinstance(spec.target, Classes):
            assert rows.y.unique().tolist() == list(range(spec.target.num_outputs))
        else:
            assert rows.y.shape == (num_rows, 1)
            assert rows.y.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_sample_seed_chooses_the_points_and_the_run_seed_does_not(kind: SyntheticKind) -> None:
    first = Synthetic(kind=kind, seed=1).arrays("test").x
    assert torch.equal(first, Synthetic(kind=kind, seed=2).arrays("test").x)
    assert not torch.equal(first, Synthetic(kind=kind, sample_seed=1).arrays("test").x)


@pytest.mark.parametrize("kind", VALUES)
def test_noise_is_the_deviation_from_the_truth(kind: SyntheticKind) -> None:
    data = Synthetic(kind=kind, num_samples=4000, noise=0.3)
    rows = data.table()
    assert (rows.y - data.truth(rows.x)).std().item() == pytest.approx(0.3, rel=0.05)
    data = Synthetic(kind=kind, noise=0.0)
    rows = data.table()
    assert torch.allclose(rows.y, data.truth(rows.x), atol=1e-4) or kind == "boxcar"


def test_least_squares_finds_the_line() -> None:
    rows = Synthetic(kind="line", num_features=3, num_samples=20_000, noise=0.1).arrays("train")
    design = torch.cat([rows.x, torch.ones(len(rows.x), 1)], dim=1)
    solution = torch.linalg.lstsq(design, rows.y).solution.flatten()
    assert solution.tolist() == pytest.approx([2, 3, 4, -1], abs=0.01)


def test_truths_by_hand() -> None:
    x = torch.tensor([[-0.75], [0.0], [0.25], [0.75]])
    assert Synthetic(kind="sine").truth(x).flatten().tolist() == pytest.approx([1, 0, 1, -1], abs=1e-6)
    assert Synthetic(kind="boxcar").truth(x).flatten().tolist() == [0, 1, 1, 0]
    x_sklearn, y_sklearn = make_friedman1(50, 7, noise=0.0, random_state=0)
    ours = Synthetic(kind="friedman", num_features=7).truth(torch.from_numpy(x_sklearn))
    assert np.allclose(ours.flatten().numpy(), y_sklearn, rtol=1e-5)


def test_spiral_arms_are_turned_copies_of_each_other() -> None:
    rows = Synthetic(kind="spiral", num_classes=4, noise=0.0).table()
    radius = rows.x.norm(dim=1)
    start = torch.atan2(rows.x[:, 1], rows.x[:, 0]) - 4 * radius  # what is left is the angle of the arm
    turn = (start - rows.y * torch.pi / 2).remainder(2 * torch.pi)
    assert torch.minimum(turn, 2 * torch.pi - turn).max() < 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "lien"}, "data.kind=lien is unknown; did you mean 'line'"),
        ({"kind": "moons", "num_features": 3}, "data.num_features=3 does not fit data.kind=moons"),
        ({"kind": "friedman", "num_features": 4}, "data.num_features=4 .* needs at least 5"),
        ({"kind": "line", "num_classes": 2}, "data.num_classes=2 does not fit data.kind=line"),
        ({"kind": "blobs", "num_classes": 1}, "data.num_classes=1 .* needs at least 2"),
        ({"num_samples": 5}, "data.num_samples=5"),
        ({"noise": -1.0}, "data.noise=-1"),
        ({"test_fraction": 1.0}, "data.test_fraction=1.0"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Synthetic(**options)
