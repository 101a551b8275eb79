"""Losses and metrics of a user's own package: named by their classes, stored in the checkpoint by their names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import own_package
import pytest
import torch
from small_runs import run
from torch import Tensor, nn

from dlzoo.checkpoint.load import load_task
from dlzoo.config import compose as config
from dlzoo.config import schema
from dlzoo.errors import UserError
from dlzoo.losses.heads import heads_for
from dlzoo.losses.objectives import objective_for
from dlzoo.specs.scaling import Scaling
from dlzoo.specs.targets import Classes, Labels, Values

NAME = "loss_lab"
PARTS = """
import torch
from torch import nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassCohenKappa

class Power(nn.Module):
    def __init__(self, exponent: float = 2.0) -> None:
        super().__init__()
        self.exponent = exponent

    def forward(self, output, target):
        return (output.softmax(-1) - target).abs().pow(self.exponent).sum(-1)

class Mean(Power):
    def forward(self, output, target):
        return super().forward(output, target).mean()

class Wrong(Metric):
    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predicted, true):
        self.rows += (predicted != true).sum()

    def compute(self):
        return self.rows.float()
"""
LOSS, METRIC = f"task.loss._target_={NAME}.Power", f"++task.metrics.wrong._target_={NAME}.Wrong"
KAPPA = (
    "++task.metrics.kappa._target_=torchmetrics.classification.MulticlassCohenKappa",
    "++task.metrics.kappa.num_classes=10",
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("losses")
    (folder / f"{NAME}.py").write_text(PARTS)
    own_package.install(folder, NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


def test_a_run_with_a_loss_and_metrics_of_its_own(lab: Path, tmp_path: Path) -> None:
    words = ["task.label_smoothing=0", f"++{LOSS}", "++task.loss.exponent=1.5", METRIC, *KAPPA]
    values = run(tmp_path / "run", "data=digits", *words)["metrics"]
    accuracy, wrong = values["test/accuracy"], values["test/wrong"]
    assert wrong == pytest.approx((1 - accuracy) * 359)
    assert 0 < values["test/kappa"] < accuracy
    task, cfg = load_task(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert cfg.task.loss._target_ == f"{NAME}.Power"
    assert task.objective.module.exponent == 1.5  # type: ignore[attr-defined]


def check(*words: str) -> None:
    schema.check(config.compose([*words]), [*words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            (f"++task.metrics.a._target_={NAME}.Power",),
            "task.metrics.a._target_=loss_lab.Power is not allowed",
        ),
        ((f"++{LOSS}", "++task.loss.exponent=a"), "task.loss.exponent=a must be a number"),
        ((f"++{LOSS}", "++task.loss.exponant=2"), "did you mean 'exponent'"),
        (("++task.metrics.a=3",), "task.metrics="),
    ],
)
def test_mistakes_in_a_config(words: tuple[str, ...], said: str, lab: Path) -> None:
    with pytest.raises(UserError, match=said):
        check(*words)


def test_a_loss_that_reduces_its_rows_is_refused(lab: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Mean returns \(\) for \d+ rows; a loss returns one value per row"):
        run(tmp_path / "run", "data=digits", f"++task.loss._target_={NAME}.Mean")


class Absolute(nn.Module):
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return (output - target).abs().mean(1)


@pytest.mark.parametrize(
    "target", [Classes(("a", "b", "c")), Labels(("a", "b", "c")), Values(("a", "b", "c"), ("", "", ""))]
)
def test_each_kind_of_target_takes_a_module(target: Any) -> None:
    objective = objective_for(target, loss=Absolute())
    output, rows = torch.randn(4, 3), torch.rand(4, 3)
    torch.testing.assert_close(objective.criterion(output, rows), (output - rows).abs().mean(1))
    assert isinstance(objective.module, Absolute)


def test_values_are_learned_scaled_and_predicted_in_their_units() -> None:
    target = Values(("a",), ("m",), scaling=Scaling(mean=(10.0,), std=(2.0,)))
    objective = objective_for(target, loss=Absolute())
    assert not objective.has_units
    torch.testing.assert_close(objective.criterion(torch.tensor([[1.0]]), torch.tensor([[14.0]])), torch.tensor([1.0]))
    torch.testing.assert_close(objective.answers(torch.tensor([[1.0]])), torch.tensor([[12.0]]))


def test_a_metrics_name_is_its_own() -> None:
    from torchmetrics import MeanMetric

    with pytest.raises(UserError, match=r"task.metrics.f1: there is such a metric already \(accuracy, f1, loss\)"):
        heads_for(Classes(("a", "b")), metrics={"f1": MeanMetric()})
