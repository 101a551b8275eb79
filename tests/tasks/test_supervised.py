"""The supervised task in a trainer: epoch losses, penalties and metrics against hand calculations."""

from __future__ import annotations

from math import log
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from net_specs import table
from plain_nets import as_net
from supervised_tasks import CLASSES, OUTPUT, TARGET, VALUES, Identity, Rows, task_with
from torch import nn

from dlzoo.data.loaders import Arrays
from dlzoo.errors import SpecError, UserError
from dlzoo.specs.batch import Batch
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.targets import Classes, Values
from dlzoo.tasks.running_mean import RunningMean
from dlzoo.tasks.supervised import Classification, Regression, Supervised


def measured(folder: Path, rows: Arrays, target: Classes | Values, **options: Any) -> dict[str, float]:
    """Metrics of an epoch and a test."""
    data = Rows(rows, target)
    task = Supervised(Identity(), data.spec, optimizer=lambda p: torch.optim.SGD(p, lr=0.1), **options)
    quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    trainer = pl.Trainer(default_root_dir=folder, accelerator="cpu", max_epochs=1, num_sanity_val_steps=0, **quiet)
    trainer.fit(task, datamodule=data)
    results = dict(trainer.callback_metrics)
    trainer.test(task, datamodule=data, verbose=False)
    return {name: value.item() for name, value in {**results, **trainer.callback_metrics}.items()}


# seven rows are batches of 3, 2 and 2 in training (no batch has a single row), 3, 3 and 1 in validation
ERRORS = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
SAMPLE_WEIGHTS = [1.0, 0.0, 2.0, 1.0, 0.5, 0.5, 3.0]


def test_the_loss_of_an_epoch_is_the_mean_over_rows_not_over_batches(tmp_path: Path) -> None:
    y = torch.arange(7.0)[:, None]  # squares around their mean: 28 in all, 10 of the first five
    results = measured(tmp_path, Arrays(y + torch.tensor(ERRORS)[:, None], y), VALUES)
    mean = sum(e * e for e in ERRORS) / 7  # 20; the mean of validation's three batch means is 26.4
    assert results["train/loss"] == results["val/loss"] == pytest.approx(mean)
    assert results["test/loss"] == pytest.approx(55 / 5)
    assert (results["val/rmse"], results["test/rmse"]) == pytest.approx((mean**0.5, 11**0.5))
    assert (results["val/mae"], results["test/mae"]) == pytest.approx((4, 3))
    assert (results["val/r2"], results["test/r2"]) == pytest.approx((1 - 140 / 28, 1 - 55 / 10))


def test_the_loss_of_an_epoch_is_weighted_by_sample_weights(tmp_path: Path) -> None:
    rows = Arrays(torch.tensor(ERRORS)[:, None], torch.zeros(7, 1), torch.tensor(SAMPLE_WEIGHTS))
    results = measured(tmp_path, rows, VALUES)
    squares = [w * e * e for w, e in zip(SAMPLE_WEIGHTS, ERRORS, strict=True)]
    assert results["train/loss"] == results["val/loss"] == pytest.approx(sum(squares) / 8)
    assert results["test/loss"] == pytest.approx(sum(squares[:5]) / 4.5)


P = [0.75, 0.5, 0.25, 0.9, 0.1, 0.5, 0.8]
"""Probabilities of the first class."""
LABELS = [0, 0, 1, 1, 0, 1, 0]
RIGHT = [1, 1, 1, 0, 0, 0, 1]


@pytest.mark.parametrize("class_weights", [None, [1.0, 3.0]], ids=["plain", "class weights"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "sample weights"])
def test_the_loss_and_the_accuracy_of_classes(tmp_path: Path, class_weights: Any, weighted: bool) -> None:
    """Sample weights change the loss that is reported, class weights only the one that is minimised; neither changes
    the accuracy."""
    logits = torch.tensor([[log(p), log(1 - p)] for p in P])
    rows = Arrays(logits, torch.tensor(LABELS), torch.tensor(SAMPLE_WEIGHTS) if weighted else None)
    results = measured(tmp_path, rows, CLASSES, class_weights=class_weights)
    losses = [-log((p, 1 - p)[label]) for p, label in zip(P, LABELS, strict=True)]
    weights = SAMPLE_WEIGHTS if weighted else [1.0] * 7
    for split, num in (("train", 7), ("val", 7), ("test", 5)):
        total = sum(w * loss for w, loss in zip(weights[:num], losses, strict=False))
        assert results[f"{split}/loss"] == pytest.approx(total / sum(weights[:num]), rel=1e-5)
        assert results[f"{split}/accuracy"] == pytest.approx(sum(RIGHT[:num]) / num)
    # predicted 0 0 1 0 1 0 0 of 0 0 1 1 0 1 0; in the test 0 0 1 0 1 of 0 0 1 1 0
    assert results["val/f1"] == pytest.approx((2 * 3 / (5 + 4) + 2 * 1 / (2 + 3)) / 2)
    assert results["test/f1"] == pytest.approx((2 * 2 / (3 + 3) + 2 * 1 / (2 + 2)) / 2)


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


def test_the_loss_of_a_batch_is_the_weighted_mean_of_its_rows() -> None:
    task = task_with(Identity())
    assert task.loss(OUTPUT, TARGET).item() == 2.5
    assert task.loss(OUTPUT, TARGET, torch.tensor([3.0, 1.0])).item() == 7 / 4
    assert task.loss(OUTPUT, TARGET, torch.tensor([3.0, 1.0]) / 1000).item() == pytest.approx(7 / 4)
    assert task.loss(OUTPUT, TARGET, torch.zeros(2)).item() == 0.0, "no row counts"
    assert task.weight_of(TARGET) == 2
    assert float(task.weight_of(TARGET, torch.tensor([3.0, 1.5]))) == 4.5


def test_a_rank_s_loss_is_its_part_of_the_weighted_mean_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean over both ranks of fraction times loss is the weighted mean of all rows."""
    weights, others = torch.tensor([2.0, 1.0]), torch.tensor([3.0])
    whole = float((OUTPUT - TARGET).square().flatten() @ weights + others @ torch.tensor([5.0])) / 6
    mean_weight = (2.0 + 1.0 + 3.0) / 3  # over the three rows of both ranks
    task = task_with(Identity()).train()
    monkeypatch.setattr("dlzoo.distributed.collectives.rank_and_world", lambda: (0, 2))
    monkeypatch.setattr(task, "batch_mean", lambda mean: torch.tensor(mean_weight))
    own = float(task.loss(OUTPUT, TARGET, weights)) * 2 / 3 * 2  # its share: two rows of three, times two ranks
    other = 5.0 * 3 / mean_weight * 1 / 3 * 2
    assert (own + other) / 2 == pytest.approx(whole)


def test_default_losses() -> None:
    assert task_with(Identity(), loss="mae").loss(OUTPUT, TARGET).item() == 1.5
    assert task_with(Identity(), loss="huber", delta=0.5).loss(OUTPUT, TARGET).item() == pytest.approx(
        (0.5 * (1 - 0.25) + 0.5 * (2 - 0.25)) / 2
    )
    logits, labels = torch.tensor([[log(3), 0.0]]), torch.tensor([0])
    assert task_with(Identity(), CLASSES).loss(logits, labels).item() == pytest.approx(log(4 / 3))
    smooth = task_with(Identity(), CLASSES, label_smoothing=0.5).loss(logits, labels).item()
    assert smooth == pytest.approx(0.75 * log(4 / 3) + 0.25 * log(4))
    for options, gamma in (({"gamma": 0.0}, 0), ({"gamma": 1.0}, 1), ({}, 2)):
        focal = task_with(Identity(), CLASSES, loss="focal", **options).loss(logits, labels).item()
        assert focal == pytest.approx((log(4 / 3) / 4**gamma + log(2) / 2**gamma) / 2)
    assert task_with(Identity(), loss="huber").loss(OUTPUT, TARGET).item() == (0.5 + 1.5) / 2


def small_net() -> nn.Sequential:
    """Weights 1, -2 and 3, -4; biases 5 and 6, 7; a norm's 8."""
    net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.LayerNorm(2), nn.Linear(2, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0], [-2.0]]))
        net[3].weight.copy_(torch.tensor([[3.0, -4.0]]))
        for constant, value in ((net[0].bias, 5.0), (net[3].bias, 6.0), (net[2].weight, 8.0)):
            constant.fill_(value)
    return net


def penalty_of(task: Supervised) -> float:
    return torch.as_tensor(task.penalty()).item()


def test_weight_penalties_leave_biases_and_norms_alone() -> None:
    assert penalty_of(task_with(small_net())) == 0.0
    assert penalty_of(task_with(small_net(), l1=0.5)) == 0.5 * (1 + 2 + 3 + 4)
    assert penalty_of(task_with(small_net(), l2=0.5)) == 0.5 * (1 + 4 + 9 + 16)
    assert penalty_of(task_with(small_net(), l1=1.0, l2=2.0)) == 10 + 2 * 30


def test_activity_penalties_are_means_over_activations_applied_once() -> None:
    x = torch.tensor([[0.0], [3.0]])  # before the ReLU: 5, 5 and 8, -1
    for options, expected in (
        ({"activity_l1": 0.5}, 0.5 * (5 + 5 + 8 + 0) / 4),
        ({"activity_l2": 0.5}, 0.5 * (25 + 25 + 64 + 0) / 4),
    ):
        task = task_with(small_net(), **options)
        task(x)
        assert penalty_of(task) == expected
        assert penalty_of(task) == 0.0
    assert task_with(small_net()).activities == []


def test_the_penalty_is_trained_on_but_not_reported(tmp_path: Path) -> None:
    rows = Arrays(torch.tensor(ERRORS)[:, None], torch.zeros(7, 1))
    data = Rows(rows, VALUES)
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    task = Supervised(as_net(net), data.spec, l2=0.5, activity_l1=1.0)
    tracked: dict[str, Any] = {}
    task.log_step = lambda count, **means: tracked.update(means, count=count)  # type: ignore[method-assign]
    x, y = rows.x[:2], rows.y[:2]
    assert task.training_step((x, y), 0).item() == 2.5 + 0.5
    assert (tracked["loss"].item(), tracked["count"]) == (2.5, 2)
    results = task.measure((x, y))
    assert results["loss"].item() == 2.5
    assert torch.equal(results["output"], x)
    assert torch.equal(results["target"], y)


def test_measuring_keeps_no_activities() -> None:
    task = task_with(small_net(), activity_l1=1.0)
    task.measure((torch.ones(2, 1), torch.ones(2, 1)))
    assert task.activities == []


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Classification(Identity(), table(1, VALUES)), SpecError, "learns classes, but the data gives v"),
        (lambda: Regression(Identity(), table(1, CLASSES)), SpecError, "learns values, but the data gives c"),
        (lambda: task_with(nn.Identity(), class_weights="balanced"), UserError, "class_weights are for classes"),
    ],
)
def test_unsupported_targets_are_rejected(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_the_monitored_metric_is_the_objective_s() -> None:
    assert task_with(nn.Identity()).monitor == ("val/rmse", "min")
    assert task_with(nn.Identity(), CLASSES).monitor == ("val/loss", "min")


def test_inputs_are_standardised_unless_the_net_does_so() -> None:
    spec = TableSpec((Column("x"),), VALUES, mean=(3.0,), std=(2.0,))
    assert Supervised(as_net(nn.Identity()), spec)(torch.tensor([[7.0]])).item() == 2.0
    net = as_net(nn.Identity(), standardizes_inputs=True)
    assert Supervised(net, spec)(torch.tensor([[7.0]])).item() == 7.0


def validate(task: Supervised, *logits: list[list[float]]) -> list[str]:
    """A validation of these batches, and what the task then says."""
    task.log_dict = lambda *_, **__: None  # type: ignore[method-assign,assignment]
    for rows in logits:
        x = torch.tensor(rows)
        task.validation_step(Batch(x, torch.arange(len(x)) % 2), 0)
    task.on_validation_epoch_end()
    return list(task.diagnostics())


A, B = [2.0, 0.0], [0.0, 2.0]


def test_a_net_that_calls_all_rows_alike_is_named_from_the_second_validation_on() -> None:
    task = task_with(Identity(), CLASSES, 2)
    assert validate(task, [A, A], [A]) == []
    (problem,) = validate(task, [A, A], [A])
    assert problem.startswith("val/accuracy: all validation rows are predicted as 'a'")
    assert "optimizer.lr" in problem
    assert validate(task, [A, A], [B]) == []
    assert validate(task, [B, B]) == [], "once more it is the first in a row"


def test_one_validation_row_says_nothing_of_a_net() -> None:
    task = task_with(Identity(), CLASSES, 2)
    assert validate(task, [A]) + validate(task, [A]) + validate(task, [A]) == []
