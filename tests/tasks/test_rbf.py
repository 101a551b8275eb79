"""Radial basis functions: the centres are those of k-means, the output is least squares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_runs import content, resume, run, run_until, same
from torch import Tensor

from dlzoo.checkpoint import load as checkpoint
from dlzoo.commands import export
from dlzoo.config import compose as config
from dlzoo.config import instantiate as build
from dlzoo.errors import UserError
from dlzoo.nets.rbf import RBF
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.targets import Classes
from dlzoo.tasks.rbf import RadialBasis

SHORT = ("task.center_epochs=3", "trainer.max_epochs=4")


def fitted(folder: Path, *overrides: str) -> tuple[Any, Tensor, Tensor]:
    """The task of a run's checkpoint, and the training rows as its net sees them, with their targets."""
    run(folder, "model=rbf", *SHORT, *overrides)
    task: Any = checkpoint.load_task(folder / "checkpoints" / "last.ckpt")[0]
    data = build.build_data(config.compose(["model=rbf", *SHORT, *overrides]).data)
    data.setup("fit")
    rows = data.arrays("train")
    return task, task.standardize(rows.x).flatten(1), rows.y


@pytest.mark.parametrize("ridge", [1e-6, 0.01])
def test_the_output_is_the_least_squares_solution(ridge: float, tmp_path: Path) -> None:
    task, x, y = fitted(tmp_path, "data=iris", f"task.ridge={ridge}", "net.num_centers=12")
    centers, widths = task.net.centers.centroids[0].double(), task.net.widths.double()
    phi = (-torch.cdist(x.double(), centers).square() / (2 * widths**2)).exp()
    about, wanted = phi - phi.mean(0), torch.eye(3, dtype=torch.float64)[y]
    decay = ridge * len(x) * torch.eye(12, dtype=torch.float64)
    weight = torch.linalg.solve(about.T @ about + decay, about.T @ (wanted - wanted.mean(0)))
    expected = about @ weight + wanted.mean(0)
    with torch.no_grad():
        torch.testing.assert_close(task.net(x).double(), expected, atol=2e-3, rtol=0)


def test_widths_are_distances_to_the_nearest_centers() -> None:
    spec = TableSpec((Column("a"), Column("b")), Classes(("p", "q")))
    net = RBF(spec, num_centers=4, num_neighbors=2, width=2, num_starts=1)
    with torch.no_grad():
        net.centers.centroids[0] = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [0.0, 1.0]])
    net.set_widths()
    expected = [2.0, 2 * 18**0.5, 2 * 0.5**0.5, 2 * 0.5**0.5]
    assert net.widths.tolist() == pytest.approx(expected)
    activity = net.activities(torch.tensor([[0.0, 2.0]]))[0]
    assert activity.tolist() == pytest.approx([np.exp(-4 / 8), np.exp(-13 / 144), np.exp(-1 / 4), np.exp(-1 / 4)])
    with torch.no_grad():
        net.centers.centroids.zero_()
    net.set_widths()
    assert net.widths.tolist() == [2.0] * 4, "all centres coincide"
    alone = RBF(spec, num_centers=1)
    alone.set_widths()
    assert alone.widths.tolist() == [1.0]


@pytest.mark.parametrize(
    ("overrides", "metric", "least"),
    [
        (("data=digits", "net.num_centers=60"), "test/accuracy", 0.92),
        (("data=synthetic", "data.kind=sine"), "test/r2", 0.95),
        (("data=synthetic", "data.kind=spiral", "net.num_centers=60"), "test/accuracy", 0.9),
    ],
    ids=["digits", "sine", "spiral"],
)
def test_it_learns_classes_and_values(overrides: tuple[str, ...], metric: str, least: float, tmp_path: Path) -> None:
    assert run(tmp_path, "model=rbf", *SHORT, *overrides)["metrics"][metric] > least


@pytest.mark.parametrize("stop", [(1, 3), (3, 3)], ids=["centres", "output"])
def test_a_resumed_run_equals_an_uninterrupted_one(stop: tuple[int, int], tmp_path: Path) -> None:
    """In the middle of an epoch in which the centres are learnt, and of the one in which the output is."""
    overrides = ("model=rbf", "data=iris", "data.batch_size=16", *SHORT)
    run(tmp_path / "whole", *overrides)
    run_until(RadialBasis, stop, tmp_path / "parts", *overrides)
    resume(tmp_path / "parts")
    assert same(content(tmp_path / "whole")["state_dict"], content(tmp_path / "parts")["state_dict"])


def test_an_export_is_verified(tmp_path: Path) -> None:
    run(tmp_path, "model=rbf", "data=iris", *SHORT)
    export.command([f"ckpt={tmp_path / 'checkpoints' / 'last.ckpt'}", f"output={tmp_path / 'net.onnx'}"])
    assert (tmp_path / "net.onnx").is_file()


def test_bad_input(tmp_path: Path) -> None:
    for overrides, message in (
        (("data=iris", "trainer.max_epochs=10"), "task.center_epochs=10 epochs, and the output one more; set trainer"),
        (("data=iris", "net.num_centers=500"), "but k-means.. has 108 rows to choose from: lower it$"),
        (
            ("data=iris", "task.init_rows=15"),
            "net.num_centers=20, .* choose from: lower it, or raise task.init_rows=15$",
        ),
        (("data=iris", "net.width=0"), "net.width=0 must be above 0"),
        (("data=iris", "task.ridge=-1"), "task.ridge=-1"),
        (("data=iris", "optimizer=adam"), "optimizer: RadialBasis learns without an optimizer"),
    ):
        with pytest.raises(UserError, match=message):
            run(tmp_path, "model=rbf", "trainer.max_epochs=11", *overrides)
