"""Pictures of a test: the right data, and none ends a run, whatever the net says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_runs import run
from tiny_runs import CLASSES, VALUES, Foretold, Pictures, Tiny, make
from torch import Tensor, nn

from dlzoo.callbacks.decision_boundary import DecisionBoundary, plane_features
from dlzoo.callbacks.probabilities import Probabilities
from dlzoo.callbacks.tsne import TSNE
from dlzoo.data.loaders import Arrays
from dlzoo.errors import UserError
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.targets import Classes
from dlzoo.visualization import classifiers, regions
from dlzoo.visualization import latent as latent_plots


def shown(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.png")}


def moons(folder: Path, target: str, drop: str, num: int = 60) -> tuple[str, ...]:
    """A table of two features; how to train on it."""
    from sklearn.datasets import make_moons

    points, labels = make_moons(num, noise=0.1, random_state=0)
    lines = [f"{a:.4f},{b:.4f},{'ab'[k]},{a + b:.4f}" for (a, b), k in zip(points, labels, strict=True)]
    folder.mkdir(exist_ok=True)
    (folder / "moons.csv").write_text("\n".join(["east,north,kind,sum", *lines]) + "\n")
    words = ("data=csv", f"data.path={folder}/moons.csv", f"data.target={target}", f"data.drop=[{drop}]")
    return (*words, "trainer.max_epochs=1", "callbacks=[decision_boundary]")


class Constant(nn.Module):
    """Gives the same for every row."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, x: Tensor) -> Tensor:
        return self.values.expand(len(x), -1)


def measured(folder: Path, *callbacks: Any, net: nn.Module | None = None, target: Any = CLASSES, **options: Any) -> Any:
    trainer, _, data = make(folder, *callbacks, target=target, **options)
    data.eval_batch_size = 13
    trainer.test(Tiny(data.spec, net=net), data, verbose=False)
    return data


def test_probabilities_and_classes_of_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    detections, reliability = classifiers.detections, classifiers.calibration
    monkeypatch.setattr(
        classifiers,
        "detections",
        lambda *args: (seen.update(zip(("p", "y"), args, strict=False)), detections(*args))[1],
    )
    monkeypatch.setattr(classifiers, "calibration", lambda bins: (seen.update(bins=bins), reliability(bins))[1])
    measured(tmp_path, Probabilities(), net=Foretold())
    assert shown(tmp_path) == {"roc_and_precision_recall", "calibration"}
    assert seen["y"].argmax(1).tolist() == [i % 3 for i in range(60)]
    assert torch.allclose(seen["p"].sum(1), torch.ones(60))
    assert seen["p"][:13, 0].diff().min() > 0  # as the net foretells it
    assert seen["bins"].counts.sum() == 60
    assert float((seen["bins"].accuracy.nan_to_num() * seen["bins"].counts).sum()) == pytest.approx(20)


def test_more_classes_than_can_be_told_apart_have_calibration_only(tmp_path: Path) -> None:
    measured(tmp_path, Probabilities(max_classes=2), net=Foretold())
    assert shown(tmp_path) == {"calibration"}


def test_of_two_classes_the_second_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[Any] = []
    monkeypatch.setattr(classifiers, "detections", lambda p, y, which: names.append((which, p.shape)) or [])
    run(tmp_path / "run", *moons(tmp_path, "kind", "sum"), "model=mlp", "callbacks=[probabilities]")
    ((which, shape),) = names
    assert len(which) == shape[1] == 1


def test_each_of_several_predictions_has_its_own_files(tmp_path: Path) -> None:
    words = ("callbacks=[checkpoint,probabilities,decision_boundary,tsne]", "trainer.max_epochs=1")
    run(tmp_path, "model=wide_deep", "data=wine", *words)
    kinds = ("roc_and_precision_recall", "calibration")
    assert shown(tmp_path) == {f"{kind}_{name}" for kind in kinds for name in ("main", "auxiliary")} | {"tsne"}


ODD = {
    "nan": Constant(torch.nan, 0.0, 0.0),
    "infinite": Constant(torch.inf, 0.0, 0.0),
    "constant": Constant(0.0, 0.0, 0.0),
}


class OneClass(Pictures):
    """Its test rows are all of one class."""

    def load(self, split: str) -> Arrays:
        rows = super().load(split)
        return Arrays(rows.x, torch.zeros_like(rows.y)) if split == "test" else rows


@pytest.mark.parametrize("net", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("kind", [Pictures, OneClass])
def test_odd_answers_end_no_run(tmp_path: Path, net: nn.Module, kind: type[Pictures]) -> None:
    trainer, _, _ = make(tmp_path, Probabilities(), TSNE())
    data = kind(CLASSES)
    data.setup("fit")
    trainer.test(Tiny(data.spec, net=net), data, verbose=False)
    assert "tsne" not in shown(tmp_path)
    assert "all alike" in (tmp_path / "warnings.txt").read_text()


@pytest.mark.parametrize("report", [Probabilities, TSNE])
def test_a_test_without_batches_draws_nothing(tmp_path: Path, report: Any) -> None:
    measured(tmp_path, report(), limit_test_batches=0)
    assert shown(tmp_path) == set()


# t-SNE


def test_the_map_shows_what_the_last_layer_receives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(latent_plots, "t_sne", lambda x, **_: (seen.update(x=x), x[:, :2].numpy())[1])
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.Tanh(), nn.Linear(4, 3))
    data = measured(tmp_path, TSNE(num_rows=30), net=net)
    hidden = net[:3](data.arrays("test").x / 255).detach()
    assert len(seen["x"]) == 30
    assert ((seen["x"][:, None] - hidden).abs().amax(2).amin(1) < 1e-5).all()
    assert not any(layer._forward_pre_hooks for layer in net.modules())  # nothing is left on the net
    assert shown(tmp_path) == {"tsne"}


def test_rows_of_a_class_lie_together() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    features = 8 * torch.eye(3, 60)[labels] + torch.randn(90, 60, generator=generator)
    points = torch.from_numpy(latent_plots.t_sne(features))
    nearest = torch.cdist(points, points).fill_diagonal_(torch.inf).argmin(1)
    assert (labels[nearest] == labels).float().mean() > 0.95
    assert torch.equal(points, torch.from_numpy(latent_plots.t_sne(features)))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_features_of_any_size_have_a_map(scale: float) -> None:
    features = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    points = latent_plots.t_sne(scale * features)
    assert np.isfinite(points).all()
    assert points.std() > 1


def test_many_equal_rows_have_a_map() -> None:
    features = torch.zeros(40, 3)
    features[0] = 1.0
    assert np.isfinite(latent_plots.t_sne(features)).all()


def test_a_map_is_drawn_of_latents_and_of_values(tmp_path: Path) -> None:
    run(tmp_path / "codes", "model=autoencoder", "callbacks=[tsne]", "callbacks.tsne.num_rows=40", "net.encoder=[4]")
    run(tmp_path / "values", "model=mlp", *moons(tmp_path, "sum", "kind"), "callbacks=[tsne]")
    assert shown(tmp_path / "codes") == shown(tmp_path / "values") == {"tsne"}


def test_mistakes_are_refused() -> None:
    with pytest.raises(UserError, match=r"callbacks\.tsne\.num_rows=2"):
        TSNE(num_rows=2)


# Decision boundaries


@pytest.mark.parametrize("model", ["mlp", "softmax", "perceptron", "kmeans"])
def test_regions_of_classes_and_clusters(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    draw = regions.class_regions

    def spy(plane: Any, probabilities: Tensor, points: Tensor, **named: Any) -> Any:
        seen.update(plane=plane, probabilities=probabilities, points=points, **named)
        return draw(plane, probabilities, points, **named)

    monkeypatch.setattr(regions, "class_regions", spy)
    run(tmp_path / "run", f"model={model}", *moons(tmp_path, "kind", "sum"))
    assert "decision_boundary" in shown(tmp_path / "run")
    assert seen["features"] == ("east", "north")
    assert seen["probabilities"].shape[:2] == (regions.SIDE, regions.SIDE)
    assert len(seen["points"]) == 12
    if model == "kmeans":
        assert seen["labels"] is None
        assert seen["names"][0] == "cluster 0"
    else:
        assert seen["names"] == ("a", "b")
        assert sorted(seen["labels"].tolist()) == [0] * 6 + [1] * 6
        grid, points = torch.cartesian_prod(seen["plane"].up, seen["plane"].across), seen["points"].flip(1)
        nearest = seen["probabilities"].flatten(0, 1).argmax(1)[torch.cdist(points, grid).argmin(1)]
        assert ((nearest != seen["labels"]) == seen["wrong"]).sum() >= 11  # one may lie on the boundary


def test_surfaces_of_values(tmp_path: Path) -> None:
    run(tmp_path / "run", "model=linear", *moons(tmp_path, "sum", "kind"))
    assert "decision_boundary" in shown(tmp_path / "run")


def test_other_tables_have_no_plane() -> None:
    target = Classes(("a", "b"))
    two = TableSpec((Column("width", "cm"), Column("height")), target)
    assert plane_features(two) == ("width (cm)", "height")
    assert plane_features(TableSpec((Column("width"), Column("kind", categories=("x", "y"))), target)) is None
    assert plane_features(TableSpec((Column("kind", categories=("x", "y")),), target)) is None
    assert plane_features(Pictures(VALUES).declare()) is None
    assert not DecisionBoundary().applies_to(Tiny(Pictures(VALUES).declare()))
