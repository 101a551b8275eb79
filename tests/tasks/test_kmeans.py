"""k-means: no gradient and no optimizer, against scikit-learn and the definitions."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_runs import content, resume, run, run_until, same
from sklearn.cluster import KMeans as Reference
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score
from torch import Tensor

from dlzoo.checkpoint import load as checkpoint
from dlzoo.commands import predict
from dlzoo.config import compose as config
from dlzoo.config import instantiate as build
from dlzoo.errors import UserError
from dlzoo.metrics.clustering import adjusted_rand_index, matching_accuracy, normalized_mutual_information, purity
from dlzoo.nets.kmeans import KMeans
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.targets import Classes, Values
from dlzoo.tasks.centroids import plus_plus
from dlzoo.tasks.kmeans import Clustering

SPEC = TableSpec((Column("a"), Column("b")), Classes(("p", "q")))


def trained(folder: Path, *overrides: str) -> tuple[Clustering, Tensor]:
    """The task of a run's last checkpoint, and the training rows (N, F) as its net sees them."""
    run(folder, "model=kmeans", *overrides)
    task: Any = checkpoint.load_task(folder / "checkpoints" / "last.ckpt")[0]
    data = build.build_data(config.compose(["model=kmeans", *overrides]).data)
    data.prepare_data()
    data.setup("fit")
    x = torch.cat([batch[0] for batch in data.train_dataloader()])
    return task, task.standardize(x.float() / 255 if x.dtype == torch.uint8 else x).flatten(1)


def inertia(task: Any, rows: Tensor) -> float:
    return float(-task.net(rows.double()).max(1).values.detach().sum())


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("data", "epochs", "tolerance"), [("iris", 15, 1e-4), ("wine", 15, 1e-4), ("digits", 50, 0.01)]
)
def test_the_inertia_is_that_of_scikit_learn(data: str, epochs: int, tolerance: float, tmp_path: Path) -> None:
    """It also decreases in each epoch of Lloyd's algorithm."""
    task, rows = trained(tmp_path, f"data={data}", f"trainer.max_epochs={epochs}")
    num_clusters = task.net.centroids.shape[1]
    reference = Reference(num_clusters, n_init=10, random_state=0).fit(rows.double().numpy())
    assert inertia(task.double(), rows) == pytest.approx(reference.inertia_, rel=tolerance)
    results = losses(tmp_path)
    assert all(after <= before * (1 + 1e-5) for before, after in itertools.pairwise(results))
    assert results[-1] == pytest.approx(reference.inertia_ / len(rows), rel=tolerance)


def test_minibatch_updates_reach_a_similar_inertia(tmp_path: Path) -> None:
    overrides = ("data=digits", "task.update=batch", "task.init_rows=300")
    task, rows = trained(tmp_path, *overrides, "trainer.max_epochs=10")
    reference = Reference(10, n_init=10, random_state=0).fit(rows.double().numpy())
    assert inertia(task.double(), rows) == pytest.approx(reference.inertia_, rel=0.03)


def test_steps_are_counted_and_the_best_checkpoint_has_the_lowest_loss(tmp_path: Path) -> None:
    results = run(tmp_path / "lloyd", "model=kmeans", "data=iris", "trainer.max_epochs=6")
    assert (results["steps"], results["epochs"]) == (6, 6)
    with (tmp_path / "lloyd" / "metrics.csv").open() as file:
        values = [float(row["val/loss"]) for row in csv.DictReader(file)]
    assert content(tmp_path / "lloyd", "best")["epoch"] == int(np.argmin(values))
    assert results["checkpoints"]["best"].endswith("best.ckpt")
    assert 0.5 < results["metrics"]["test/nmi"] <= 1
    assert 0.5 < results["metrics"]["test/cluster_accuracy"] <= 1
    overrides = ("data.batch_size=16", "task.init_rows=16", "task.update=batch")
    results = run(tmp_path / "batches", "model=kmeans", "data=iris", *overrides)
    assert results["steps"] == 2 * -(-len(rows_of("iris")) // 16)


def rows_of(name: str) -> Any:
    data = build.build_data(config.compose(["model=kmeans", f"data={name}"]).data)
    data.setup("fit")
    return torch.cat([batch[0] for batch in data.train_dataloader()])


@pytest.mark.parametrize(
    "overrides",
    [
        ("data=iris",),
        ("data=digits", "task.update=batch", "task.init_rows=100", "trainer.accumulate_grad_batches=2"),
        ("data=iris", "callbacks=[checkpoint,history,ema]"),
    ],
    ids=["lloyd", "batches", "averaged"],
)
def test_a_resumed_run_equals_an_uninterrupted_one(overrides: tuple[str, ...], tmp_path: Path) -> None:
    run(tmp_path / "whole", "model=kmeans", *overrides, "trainer.max_epochs=3")
    run(tmp_path / "parts", "model=kmeans", *overrides, "trainer.max_epochs=1")
    resume(tmp_path / "parts", "trainer.max_epochs=3")
    whole, parts = content(tmp_path / "whole"), content(tmp_path / "parts")
    for key in ("state_dict", "global_step", "optimizer_states"):
        assert same(whole[key], parts[key]), key


@pytest.mark.parametrize("init_rows", [20, 10_000])
def test_a_mid_epoch_checkpoint_holds_pending_statistics(init_rows: int, tmp_path: Path) -> None:
    """The sums so far; or, before there are centroids, the buffered rows."""
    overrides = (
        "model=kmeans",
        "data=iris",
        f"task.init_rows={init_rows}",
        "data.batch_size=16",
        "trainer.max_epochs=3",
    )
    run(tmp_path / "whole", *overrides)
    run_until(Clustering, (0, 4), tmp_path / "parts", *overrides)
    carried = content(tmp_path / "parts")["continuation"]["ranks"][0]["carried"]
    assert bool(carried["waiting"]) == (init_rows > 100) != (carried["statistics"] is not None)
    resume(tmp_path / "parts")
    whole, parts = content(tmp_path / "whole"), content(tmp_path / "parts")
    assert same(whole["state_dict"], parts["state_dict"])
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


def test_the_cluster_is_that_of_the_nearest_centroid() -> None:
    task: Any = Clustering(KMeans(SPEC, num_clusters=3, num_starts=2), SPEC)
    with torch.no_grad():
        task.net.centroids[0] = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    x = torch.tensor([[1.0, 1.0], [9.0, 2.0], [0.0, 6.0]])
    assert task.predict(x).tolist() == torch.eye(3).tolist()
    assert task.predicted_target.names == ("cluster 0", "cluster 1", "cluster 2")
    torch.testing.assert_close(-task(x), torch.cdist(x, task.net.centroids[0]).square())


def test_the_command_predicts_clusters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, "model=kmeans", "data=iris", "trainer.max_epochs=5")
    rows = tmp_path / "rows.csv"
    lines = (
        "sepal_length,sepal_width,petal_length,petal_width",
        "5.1,3.5,1.4,0.2",
        "5.0,3.4,1.5,0.2",
        "6.9,3.1,5.4,2.1",
    )
    rows.write_text("\n".join(lines))
    capsys.readouterr()
    predict.command([f"ckpt={tmp_path / 'checkpoints' / 'last.ckpt'}", f"input={rows}", "format=json", "top_k=1"])
    first, second, third = (record["predictions"][0]["class"] for record in json.loads(capsys.readouterr().out))
    assert first == second != third
    assert first.startswith("cluster ")


def test_centroids_are_means_of_their_rows_by_weight() -> None:
    """One without rows stays where it is; in batches, a mean of all rows so far."""
    for update in ("epoch", "batch"):
        task: Any = Clustering(KMeans(SPEC, num_clusters=3, num_starts=1), SPEC, update=update)
        task.log_step = lambda *_, **__: None
        start = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 99.0]])
        with torch.no_grad():
            task.net.centroids[0] = start
            for rows in ([[1.0, 0.0, 1.0], [4.0, 0.0, 2.0], [9.0, 3.0, 1.0]], [[3.0, 6.0, 3.0]]):
                part = torch.tensor(rows)
                task.add_rows(part[:, :-1], part[:, -1])
                task.move_centroids()
        second = [(9 + 9) / 6, 18 / 6] if update == "batch" else [3.0, 6.0]
        assert task.net.centroids[0].tolist() == [second, [9.0, 3.0], [0.0, 99.0]]


def test_the_best_initialisation_comes_first() -> None:
    task: Any = Clustering(KMeans(SPEC, num_starts=3), SPEC)
    with torch.no_grad():
        task.net.centroids.copy_(torch.arange(3.0)[:, None, None].expand_as(task.net.centroids))
        task.inertia = torch.tensor([5.0, 1.0, 3.0])
        task.sort_by_inertia()
    assert task.net.centroids[:, 0, 0].tolist() == [1, 2, 0]
    assert task.inertia is None, "each epoch anew"


def test_kmeans_plus_plus_prefers_distant_and_heavy_rows() -> None:
    """Three tight groups: each start takes one row of each. A row without weight is never chosen."""
    groups = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]]).repeat(20, 1) + 0.01 * torch.randn(60, 2)
    weight = torch.ones(60)
    for seed in range(20):
        chosen = plus_plus(groups, weight, 3, torch.Generator().manual_seed(seed))
        assert {tuple((row / 100).round().tolist()) for row in chosen} == {(0, 0), (1, 0), (0, 1)}
    weight[0::3] = 0
    chosen = plus_plus(groups, weight, 2, torch.Generator().manual_seed(0))
    assert (chosen.abs().amax(1) > 50).all()
    alike = plus_plus(torch.ones(5, 2), torch.ones(5), 3, torch.Generator().manual_seed(0))
    assert alike.tolist() == [[1, 1]] * 3


def test_cluster_metrics_match_their_definitions() -> None:
    draw = np.random.default_rng(0)
    classes, clusters = draw.integers(3, size=200), draw.integers(4, size=200)
    clusters[:120] = classes[:120]
    table = torch.zeros(4, 3, dtype=torch.float64)
    for cluster, label in zip(clusters, classes, strict=True):
        table[cluster, label] += 1
    expected = normalized_mutual_info_score(classes, clusters)
    assert float(normalized_mutual_information(table)) == pytest.approx(expected)
    assert float(adjusted_rand_index(table)) == pytest.approx(adjusted_rand_score(classes, clusters))
    assert float(purity(table)) == pytest.approx(sum(table.max(1).values.tolist()) / 200)
    assert float(adjusted_rand_index(torch.eye(3) * 4)) == float(purity(torch.eye(3))) == 1
    assert float(adjusted_rand_index(torch.tensor([[9.0]]))) == 1
    assert float(matching_accuracy(torch.tensor([[0.0, 5.0], [3.0, 2.0], [4.0, 0.0]]))) == pytest.approx(9 / 14)
    assert float(matching_accuracy(torch.eye(3)[[2, 0, 1]])) == float(normalized_mutual_information(torch.eye(3))) == 1


def test_invalid_options(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"net\.num_clusters must be given"):
        KMeans(TableSpec((Column("a"),), Values(("y",))))
    for overrides, message in (
        (("optimizer=adam",), "optimizer: Clustering learns without an optimizer"),
        (("scheduler=step",), "scheduler: Clustering learns without an optimizer"),
        (("trainer.gradient_clip_val=1",), "gradient_clip_val=1: Clustering learns without gradients"),
        (("trainer.accumulate_grad_batches=2",), "use task.update=batch"),
        (("net.num_clusters=500",), "net.num_clusters=500, but k-means.. has"),
        (("lr_find=true",), "lr_find needs a task with one optimizer"),
    ):
        with pytest.raises(UserError, match=message):
            run(tmp_path, "model=kmeans", "data=iris", *overrides)


def test_values_are_clustered_too(tmp_path: Path) -> None:
    results = run(tmp_path, "model=kmeans", "data=synthetic", "data.kind=friedman", "net.num_clusters=4")
    assert {name for name in results["metrics"] if name.startswith("test/")} == {"test/loss", "test/explained_variance"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("inertia", torch.zeros(7)),
        ("statistics", (torch.zeros(1),)),
        ("statistics", (torch.zeros(2, 3, 4), torch.zeros(2, 9), torch.zeros(2))),
        ("waiting", (torch.zeros(2, 2),)),
        ("waiting", torch.zeros(())),
        ("waiting", (None,)),
        ("waiting", torch.zeros(9, 5)),
        ("inertia", (torch.zeros(2),)),
    ],
)
def test_what_a_checkpoint_carries_must_be_of_these_centroids(name: str, value: Any) -> None:
    flowers = TableSpec(tuple(map(Column, "abcd")), Classes(("p", "q", "r")))
    task = Clustering(KMeans(flowers, num_starts=2), flowers)
    good: dict[str, Any] = {"inertia": torch.zeros(2), "waiting": (torch.zeros(9, 5),)}
    good["statistics"] = (torch.zeros(2, 3, 4), torch.zeros(2, 3), torch.zeros(2))
    for key in good:
        assert [task.carried_state_mismatch(key, stored) for stored in (good[key], None, ())] == [None] * 3
    assert task.carried_state_mismatch(name, value) is not None


@pytest.mark.parametrize(("data", "clusters"), [("iris", 3), ("digits", 10)])
def test_the_centroids_are_those_of_scikit_learn(data: str, clusters: int, tmp_path: Path) -> None:
    """From the same first centroids, until no row changes its cluster."""
    overrides = (f"data={data}", "net.num_starts=1", "trainer.max_epochs=40", "callbacks=[checkpoint,history,clusters]")
    task, rows = trained(tmp_path, *overrides)
    starts = plus_plus(rows, torch.ones(len(rows)), clusters, torch.Generator().manual_seed(0)).numpy()
    learnt: Any = Clustering(KMeans(task.spec, num_starts=1), task.spec)
    learnt.log_step = lambda *_, **__: None
    with torch.no_grad():
        learnt.net.centroids[0] = torch.from_numpy(starts)
        for _ in range(60):
            for part in rows.split(100):
                learnt.add_rows(part, torch.ones(len(part)))
            learnt.move_centroids()
    reference = Reference(clusters, init=starts.astype(np.float64), n_init=1, tol=0, max_iter=60, algorithm="lloyd")
    reference.fit(rows.double().numpy())
    np.testing.assert_allclose(learnt.centroids, reference.cluster_centers_, atol=1e-5)
    assert {path.name for path in tmp_path.glob("*.png")} >= {"centroids.png", "silhouette.png", "clusters.png"}


def test_the_silhouette_is_that_of_the_test_rows(tmp_path: Path) -> None:
    overrides = ("model=kmeans", "data=iris", "trainer.max_epochs=5")
    results = run(tmp_path, *overrides, "callbacks=[checkpoint,clusters]")
    task: Any = checkpoint.load_task(tmp_path / "checkpoints" / "best.ckpt")[0]
    data = build.build_data(config.compose([*overrides]).data)
    data.setup()
    x = data.arrays("test").x
    expected = silhouette_score(task.standardize(x).double().numpy(), task.predict(x).argmax(1).numpy())
    assert results["metrics"]["test/silhouette"] == pytest.approx(expected, abs=1e-5)


def test_codes_are_distances_and_are_decoded_as_the_nearest_centroid(tmp_path: Path) -> None:
    task, rows = trained(tmp_path, "data=iris", "trainer.max_epochs=5")
    raw = task.standardize.inverse(rows)
    with torch.no_grad():
        codes = task.encode(raw)
        torch.testing.assert_close(codes, torch.cdist(rows, task.centroids), atol=1e-3, rtol=1e-3)
        nearest = task.centroids[codes.argmin(1)]
        torch.testing.assert_close(task.standardize(task.reconstruct(raw)), nearest, atol=1e-5, rtol=1e-5)


def test_rows_far_from_the_origin_are_told_apart() -> None:
    """Their squares would cancel: 2020 squared leaves single precision a quarter of a unit."""
    task: Any = Clustering(KMeans(SPEC, num_clusters=2, num_starts=1), SPEC)
    with torch.no_grad():
        task.net.centroids[0] = torch.tensor([[2020.0, 0.0], [2020.0, 0.1]])
    assert task.predict(torch.tensor([[2020.0, 0.04], [2020.0, 0.06]])).argmax(1).tolist() == [0, 1]


def test_the_table_of_clusters_and_classes_is_bounded() -> None:
    """A file of 100 kB may name so many of both that their table takes gigabytes."""
    spec = TableSpec((Column("a"),), Classes(tuple(map(str, range(8000)))))
    with pytest.raises(UserError, match=r"net.num_clusters=8000 times 8,000 classes must be 16,777,216 or less"):
        Clustering(KMeans(spec, num_clusters=8000, num_starts=1), spec)
    Clustering(KMeans(spec, num_clusters=1000, num_starts=1), spec)
