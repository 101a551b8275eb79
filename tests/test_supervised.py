"""The supervised task in a trainer: epoch losses, penalties and metrics against numbers worked out by hand."""

from __future__ import annotations

from math import log
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.errors import SpecError, UserError
from dlzoo.schedulers import UNLIMITED, Plan
from dlzoo.specs import Classes, Column, TableSpec, Values
from dlzoo.tasks.base import RunningMean
from dlzoo.tasks.supervised import Classification, Regression, Supervised

CLASSES, VALUES = Classes(("a", "b")), Values(("y",))


def spec_of(target: Classes | Values, num_features: int) -> TableSpec:
    return TableSpec(tuple(Column(f"x{i}") for i in range(num_features)), target)


class Rows(InMemoryData):
    """The same rows in every split, in batches of three."""

    def __init__(self, rows: Arrays, target: Classes | Values) -> None:
        super().__init__(batch_size=3, eval_batch_size=3)
        self.target = target
        self._arrays = {"train": rows, "val": rows, "test": rows}
        self.spec = self.declare()

    def declare(self) -> TableSpec:
        return spec_of(self.target, self._arrays["train"].x.shape[1])

    def load(self, split: Any) -> Arrays:
        raise NotImplementedError


class Identity(nn.Module):
    """Outputs are the inputs, whatever is learned: losses can be foretold."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0 * self.unused


def measured(folder: Path, rows: Arrays, target: Classes | Values, **options: Any) -> dict[str, float]:
    """Metrics of an epoch and a test."""
    data = Rows(rows, target)
    task = Supervised(Identity(), data.spec, optimizer=lambda p: torch.optim.SGD(p, lr=0.1), **options)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        default_root_dir=folder, accelerator="cpu", max_epochs=1, enable_model_summary=False, num_sanity_val_steps=0, **quiet
    )  # fmt: skip
    trainer.fit(task, datamodule=data)
    found = dict(trainer.callback_metrics)
    trainer.test(task, datamodule=data, verbose=False)
    return {name: value.item() for name, value in {**found, **trainer.callback_metrics}.items()}


# The loss of an epoch

# seven rows are batches of 3, 2 and 2 in training (no batch has a single row), 3, 3 and 1 in validation
ERRORS = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
SAMPLE_WEIGHTS = [1.0, 0.0, 2.0, 1.0, 0.5, 0.5, 3.0]


def test_the_loss_of_an_epoch_is_the_mean_over_rows_not_over_batches(tmp_path: Path) -> None:
    rows = Arrays(torch.tensor(ERRORS)[:, None], torch.zeros(7, 1))
    found = measured(tmp_path, rows, VALUES)
    mean = sum(e * e for e in ERRORS) / 7  # 20; the mean of validation's three batch means is 26.4
    for split in ("train", "val", "test"):
        assert found[f"{split}/loss"] == pytest.approx(mean)
    for split in ("val", "test"):
        assert found[f"{split}/rmse"] == pytest.approx(mean**0.5)
        assert found[f"{split}/mae"] == pytest.approx(4)


def test_the_loss_of_an_epoch_is_weighted_by_sample_weights(tmp_path: Path) -> None:
    rows = Arrays(torch.tensor(ERRORS)[:, None], torch.zeros(7, 1), torch.tensor(SAMPLE_WEIGHTS))
    found = measured(tmp_path, rows, VALUES)
    mean = sum(w * e * e for w, e in zip(SAMPLE_WEIGHTS, ERRORS, strict=True)) / 8
    for split in ("train", "val", "test"):
        assert found[f"{split}/loss"] == pytest.approx(mean)


P = [0.75, 0.5, 0.25, 0.9, 0.1, 0.5, 0.8]
"""Probabilities of the first class."""
LABELS = [0, 0, 1, 1, 0, 1, 0]
RIGHT = [1, 1, 1, 0, 0, 0, 1]


@pytest.mark.parametrize("class_weights", [None, [1.0, 3.0]], ids=["plain", "class weights"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "sample weights"])
def test_the_loss_and_the_accuracy_of_classes(tmp_path: Path, class_weights: Any, weighted: bool) -> None:
    """Weights change the loss and not the accuracy."""
    logits = torch.tensor([[log(p), log(1 - p)] for p in P])
    rows = Arrays(logits, torch.tensor(LABELS), torch.tensor(SAMPLE_WEIGHTS) if weighted else None)
    found = measured(tmp_path, rows, CLASSES, class_weights=class_weights)
    losses = [-log((p, 1 - p)[label]) for p, label in zip(P, LABELS, strict=True)]
    weights = [
        (class_weights[label] if class_weights else 1) * (w if weighted else 1)
        for w, label in zip(SAMPLE_WEIGHTS, LABELS, strict=True)
    ]
    mean = sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)
    for split in ("train", "val", "test"):
        assert found[f"{split}/loss"] == pytest.approx(mean, rel=1e-5)
        assert found[f"{split}/accuracy"] == pytest.approx(sum(RIGHT) / 7)


def test_a_running_mean_of_unequal_batches() -> None:
    mean = RunningMean()
    for batch in ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0]):
        mean.add(torch.tensor(batch).mean(), len(batch))
    assert mean.read() == pytest.approx(4.0)
    for weight, value in ((torch.tensor(3.0), 1.0), (torch.tensor(0.0), 9.0), (torch.tensor(0.5), 2.0)):
        mean.add(torch.tensor(value), weight)
    assert mean.read() == pytest.approx((28 + 3 + 1) / 10.5)
    mean.reset()
    assert mean.read() == 0.0
    mean.add(torch.tensor(5.0), torch.tensor(0.0))
    assert mean.read() == 0.0, "no row, no mean"
