"""The delta rule is the gradient of the squared error, and leads to the least-squares solution."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from picture_runs import run
from torch import Tensor

from dlzoo.config.introspection import arguments
from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.errors import SpecError
from dlzoo.nets.adaline import Adaline
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.targets import Classes, Values
from dlzoo.tasks.adaline import DeltaRule

NUM_ROWS = 60


def spec_of(num_classes: int) -> TableSpec:
    return TableSpec((Column("a"), Column("b"), Column("c")), Classes(tuple("pqrs"[:num_classes])))


class Clouds(InMemoryData):
    """Classes that overlap, of rows that may count differently."""

    def __init__(self, num_classes: int, *, weighted: bool = False) -> None:
        super().__init__(batch_size=NUM_ROWS, val_size=NUM_ROWS)
        self.num_classes, self.weighted = num_classes, weighted

    def declare(self) -> TableSpec:
        return spec_of(self.num_classes)

    def load(self, split: str) -> Arrays:  # type: ignore[override]
        draw = torch.Generator().manual_seed(1)
        target = torch.arange(2 * NUM_ROWS) % self.num_classes
        centres = torch.randn(self.num_classes, 3, generator=draw)
        x = centres[target] + torch.randn(2 * NUM_ROWS, 3, generator=draw)
        return Arrays(x, target, torch.rand(2 * NUM_ROWS, generator=draw) + 0.1 if self.weighted else None)


def task_of(num_classes: int, lr: float = 0.1) -> Any:
    spec = spec_of(num_classes)
    return DeltaRule(Adaline(spec), spec, optimizer=partial(torch.optim.SGD, lr=lr))


def fit(task: Any, data: Clouds, max_steps: int) -> tuple[Tensor, ...]:
    """The training rows that the task has learned from for so many steps."""
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
        enable_checkpointing=False, max_epochs=-1, max_steps=max_steps,
    )  # fmt: skip
    task.setup_trainer(trainer)
    trainer.fit(task, data)
    (rows,) = data.train_dataloader()
    return rows


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_rule_is_the_gradient_of_half_the_squared_error(num_classes: int, weighted: bool) -> None:
    """Written out, and by autograd: w <- w - rate * d/dw sum of (target - w x - b)^2 / 2."""
    task, data = task_of(num_classes), Clouds(num_classes, weighted=weighted)
    torch.nn.init.normal_(task.net.linear.weight)
    weight = task.net.linear.weight.detach().clone().requires_grad_()
    bias = task.net.linear.bias.detach().clone().requires_grad_()
    x, target, counts = fit(task, data, max_steps=1)
    wanted = torch.where(target[:, None] == torch.arange(num_classes), 1.0, -1.0)
    squares = (wanted[:, 1:] if num_classes == 2 else wanted) - (x @ weight.T + bias)
    factors = torch.ones(NUM_ROWS) if counts is None else counts
    loss = (squares.square().sum(1) / 2 * factors).sum() / factors.sum()
    loss.backward()
    torch.testing.assert_close(task.net.linear.weight.detach(), weight.detach() - 0.1 * weight.grad)
    torch.testing.assert_close(task.net.linear.bias.detach(), bias.detach() - 0.1 * bias.grad)
    assert float(task.trainer.callback_metrics["train/loss"]) == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_it_comes_to_the_least_squares_solution(num_classes: int) -> None:
    task = task_of(num_classes)
    x, target, _ = fit(task, Clouds(num_classes), max_steps=600)
    wanted = torch.where(target[:, None] == torch.arange(num_classes), 1.0, -1.0)
    expected = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1)], 1), wanted).solution
    results = torch.cat([task.net.linear.weight, task.net.linear.bias[:, None]], 1).T.detach()
    torch.testing.assert_close(results, expected[:, 1:] if num_classes == 2 else expected, atol=1e-3, rtol=1e-3)


def test_the_class_is_the_side_of_the_threshold() -> None:
    task = task_of(2)
    with torch.no_grad():
        task.net.linear.weight.copy_(torch.tensor([[1.0, 0.0, 0.0]]))
    outputs = task(torch.tensor([[0.3, 9.0, 9.0], [-0.3, 9.0, 9.0]]))
    assert outputs.argmax(1).tolist() == [1, 0]
    assert task.error(outputs, torch.tensor([1, 1])).flatten().tolist() == pytest.approx([0.7, 1.3])
    mixed = task.error(outputs, torch.tensor([[0.25, 0.75], [1.0, 0.0]]))  # as MixUp makes them
    assert mixed.flatten().tolist() == pytest.approx([0.5 - 0.3, -1 + 0.3])


def test_values_are_refused_with_the_model_that_learns_them() -> None:
    with pytest.raises(SpecError, match="this data gives values; see model=linear"):
        Adaline(TableSpec((Column("a"),), Values(("y",))))


def test_it_has_no_options_that_it_would_ignore() -> None:
    assert {*arguments(DeltaRule)} == {"net", "spec", "optimizer", "scheduler"}


@pytest.mark.parametrize(("data", "accuracy"), [("iris", 0.75), ("wine", 0.95), ("digits", 0.85)])
def test_it_learns(data: str, accuracy: float, tmp_path: Path) -> None:
    """Three species in a row are not separable by linear outputs: least squares itself reaches 0.85 on all of iris."""
    results = run(tmp_path, "model=adaline", f"data={data}", "trainer.max_epochs=40", "optimizer.lr=0.03")
    assert results["metrics"]["test/accuracy"] >= accuracy
    assert results["metrics"]["val/loss"] < 1
    assert results["checkpoints"]["best"]
