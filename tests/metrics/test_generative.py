"""Sample quality metrics against closed forms and brute force; mode-collapse warnings."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import pytest
import torch
from picture_runs import run
from torch import Tensor

from dlzoo.metrics import generative
from dlzoo.metrics import reference_classifier as ruler
from dlzoo.metrics.generative import (
    ClassifierOutput,
    class_fractions,
    fraction_inside,
    frechet,
    inception_score,
    measures,
    precision_recall,
)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.getbasetemp() / "classifiers"
    monkeypatch.setenv("DLZOO_CACHE_DIR", str(folder))
    monkeypatch.setitem(ruler.RECIPE, "least_steps", 120)
    return folder


def test_the_frechet_distance_of_gaussians_is_known() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(60_000, 2), torch.randn(60_000, 2) * torch.tensor([2.0, 1.0]) + torch.tensor([3.0, 0.0])
    assert frechet(a, a) == pytest.approx(0, abs=1e-3)
    assert frechet(a, b) == pytest.approx(9 + 1, rel=0.03)  # |difference of means|^2 + (2 - 1)^2


def test_the_inception_score_of_certain_predictions_is_the_number_of_classes() -> None:
    sure = 50 * torch.eye(5).repeat(20, 1)
    assert inception_score(sure) == pytest.approx(5, rel=1e-3)
    assert inception_score(sure[:1].repeat(40, 1)) == pytest.approx(1, rel=1e-3)
    assert inception_score(torch.zeros(40, 5)) == pytest.approx(1, rel=1e-3)


def test_the_inception_score_neither_uses_nor_changes_the_random_state() -> None:
    """Otherwise a run killed during its test would differ in the last digit."""
    logits = 3 * torch.randn(500, 10, generator=torch.Generator().manual_seed(1))
    found = set()
    for seed in range(40):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.add(inception_score(logits))
        assert before.equal(torch.get_rng_state())
    assert len(found) == 1


def brute(points: Tensor, others: Tensor, k: int) -> float:
    inside = 0
    for p in points:
        for i, o in enumerate(others):
            radius = sorted(float((o - q).norm()) for j, q in enumerate(others) if j != i)[k - 1]
            if float((p - o).norm()) <= radius:
                inside += 1
                break
    return inside / len(points)


def test_precision_and_recall_match_their_definitions() -> None:
    generated, real = torch.randn(30, 2), torch.randn(40, 2) * 0.5 + 0.4
    precision, recall = precision_recall(generated, real)
    assert (precision, recall) == pytest.approx((brute(generated, real, 3), brute(real, generated, 3)))
    assert 0 < precision < 1
    assert precision_recall(real, real) == (1.0, 1.0)
    assert precision_recall(generated + 100, real) == (0.0, 0.0)
    one = real[:1].repeat(30, 1) + 0.001 * torch.randn(30, 2)
    assert precision_recall(one, real) == (
        1.0,
        pytest.approx(brute(real, one, 3)),
    )  # collapsed: precise, but little recalled


def test_all_measures_of_generated_images() -> None:
    """The probability exceeds 0.9 for two of four images."""
    p = torch.tensor([0.97, 0.91, 0.89, 0.5])
    generated = ClassifierOutput(torch.randn(4, 2), torch.stack([p, 1 - p], 1).log())
    real = ClassifierOutput(torch.randn(30, 2) * 0.5, torch.randn(30, 2))
    found = measures(generated, real)
    precision, recall = precision_recall(generated.features, real.features)
    assert found == {
        "frechet": frechet(generated.features, real.features),
        "inception_score": inception_score(generated.logits),
        "confident_share": 0.5,
        "precision": precision,
        "recall": recall,
    }
    assert precision != recall
    assert frechet(generated.features, real.features) == pytest.approx(
        frechet(real.features, generated.features), rel=1e-3
    )
    assert measures(generated, real, threshold=0.95)["confident_share"] == 0.25
    undecided = generated._replace(logits=torch.zeros(4, 2))
    assert measures(undecided, real, threshold=0.5)["confident_share"] == 0.0  # it must be above


def test_k_is_limited_by_the_number_of_images() -> None:
    """Each of two points has one neighbour at distance 1, so both have radius 1."""
    two = torch.tensor([[0.0], [1.0]])
    assert fraction_inside(torch.tensor([[2.0], [2.1], [-1.0], [0.5]]), two, 3) == 0.75


def test_distances_are_computed_in_chunks_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generated, real = torch.randn(30, 2), torch.randn(40, 2) * 0.5 + 0.4
    whole = precision_recall(generated, real)
    monkeypatch.setattr(generative, "CHUNK", 7)
    assert precision_recall(generated, real) == whole


def test_one_rank_measures_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the others, for which it would wait forever."""
    monkeypatch.setattr("torchmetrics.metric.jit_distributed_available", lambda: True)
    features = torch.randn(20, 2)
    assert frechet(features, features + 1) == pytest.approx(2, abs=1e-3)
    assert inception_score(torch.zeros(20, 5)) == pytest.approx(1, rel=1e-3)


def test_measuring_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        inception_score(torch.zeros(20, 5))


def test_class_fractions() -> None:
    logits = torch.eye(3)[[0, 0, 0, 2]]
    assert class_fractions(logits).tolist() == [0.75, 0.0, 0.25]


MEASURED = ("callbacks=[checkpoint,sample_quality,problems]", "callbacks.sample_quality.num_samples=300")


def test_mode_collapse_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = run(tmp_path, "model=gan", "optimizer.lr=1e-9", "trainer.max_epochs=1", *MEASURED)["metrics"]
    said = capsys.readouterr().err
    assert "mode collapse: fewer than 1% of 300 samples are of class" in said
    assert "model=wgan_gp" in said
    assert metrics["test/smallest_share"] < 0.01
    assert metrics["test/recall"] < 0.2
    assert metrics["test/frechet"] > 10 * metrics["baseline/frechet_real"]
    assert metrics["baseline/precision_real"] > 0.8
    assert metrics["baseline/inception_score_real"] > 7
    assert math.isclose(sum(v for name, v in metrics.items() if name.startswith("samples/share_")), 1, rel_tol=1e-5)
    assert (tmp_path / "sample_classes.png").is_file()


def test_only_adversarial_samples_are_measured_unless_all_are_wanted(tmp_path: Path) -> None:
    few = ("model=vae", "task.num_importance_samples=1", "trainer.max_epochs=1", *MEASURED)
    assert "test/frechet" not in run(tmp_path / "a", *few)["metrics"]
    assert "test/frechet" in run(tmp_path / "b", *few, "callbacks.sample_quality.everything=true")["metrics"]
