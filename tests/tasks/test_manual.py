"""Learning without automatic optimisation: steps count once, and options work as elsewhere or are rejected."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from picture_runs import run, same, whole_and_parts
from torch import Tensor, nn

from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.errors import UserError
from dlzoo.nets.base import Net
from dlzoo.optim import lr_schedules
from dlzoo.specs.batch import Batch
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.targets import Values
from dlzoo.tasks.manual import ManualTask

SPEC = TableSpec((Column("a"), Column("b")), Values(("y",)))
ROWS = torch.randn(48, 2, generator=torch.Generator().manual_seed(0))


class Table(InMemoryData):
    def declare(self) -> TableSpec:
        return SPEC

    def load(self, split: str) -> Arrays:  # type: ignore[override]
        return Arrays(ROWS, ROWS[:, :1])


class Centre(Net):
    """One point."""

    accepts = (TableSpec,)

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.zeros(2))


class ByGradient(ManualTask):
    """The point moves by the gradient of half its mean squared distance to the rows."""

    gradients_by_hand = True
    reduction: Any = "mean"

    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        away = self.net.point.detach() - batch[0]
        gradient = away.mean(0) if self.reduction == "mean" else away.sum(0)
        self.add_gradient(self.net.point, gradient, reduction=self.reduction)
        self.log_step(len(away), loss=away.square().sum(1).mean() / 2)
        if self.is_last_of_step(batch_idx):
            self.step_optimizer()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val/loss", (self.net.point - batch[0]).square().sum(1).mean())


class BySums(ManualTask):
    """The point is the mean of the rows of the step."""

    uses_optimizer = False

    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        self.add_statistics(batch[0].sum(0), torch.tensor(float(len(batch[0]))))
        self.log_step(len(batch[0]), loss=(self.net.point - batch[0]).square().sum(1).mean())
        if self.is_last_of_step(batch_idx) and (totals := self.total_statistics()) is not None:
            with torch.no_grad():
                self.net.point.copy_(totals[0] / totals[1])

    validation_step = ByGradient.validation_step


def fit(
    kind: type[ManualTask], batch_size: int, *, lr: float = 0.1, scheduler: Any = None, data: Any = None, **trainer: Any
) -> ManualTask:
    """A task after an epoch on 32 rows, and a record of its calls."""
    task: Any = kind(
        Centre(), SPEC, optimizer=partial(torch.optim.SGD, lr=lr) if kind.uses_optimizer else None, scheduler=scheduler
    )
    runner = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, **{"max_epochs": 1, "enable_checkpointing": False, **trainer},
    )  # fmt: skip
    task.setup_trainer(runner)
    runner.fit(task, data or Table(batch_size=batch_size, val_size=16))
    return task


class Sum(ByGradient):
    reduction = "sum"


def point(task: ManualTask) -> Tensor:
    return task.net.point.detach()


# Steps


@pytest.mark.parametrize("kind", [ByGradient, Sum, BySums])
def test_a_step_counts_once_and_accumulated_batches_are_one(kind: type[ManualTask]) -> None:
    whole = fit(kind, 16, max_epochs=2)
    parts = fit(kind, 4, accumulate_grad_batches=4, max_epochs=2)
    assert whole.global_step == parts.global_step == 4
    torch.testing.assert_close(point(whole), point(parts))
    assert point(whole).norm() > 0.01


@pytest.mark.parametrize("kind", [ByGradient, Sum, BySums])
@pytest.mark.parametrize("num_batches", [2, 3])  # of 12, 12 and 8 rows: a last step of one batch, a smaller last batch
def test_each_row_of_a_step_counts_the_same(kind: type[ManualTask], num_batches: int) -> None:
    whole = fit(kind, 12 * num_batches, max_epochs=2)
    parts = fit(kind, 12, accumulate_grad_batches=num_batches, max_epochs=2)
    torch.testing.assert_close(point(whole), point(parts))


@pytest.mark.parametrize("kind", [ByGradient, BySums])
def test_the_last_batches_of_an_epoch_form_a_step(kind: type[ManualTask]) -> None:
    assert fit(kind, 4, accumulate_grad_batches=3).global_step == 3  # of 8 batches


@pytest.mark.parametrize("kind", [ByGradient, BySums])
def test_max_steps_are_steps(kind: type[ManualTask]) -> None:
    assert fit(kind, 4, max_steps=5, max_epochs=-1).global_step == 5


def test_a_gradient_is_the_sum_or_the_mean_of_the_step() -> None:
    """One step of SGD from the origin: the rate times the mean, or the sum, of the rows."""
    task = fit(ByGradient, 32)
    data = Table(batch_size=32, val_size=16)
    data.setup("fit")
    (rows, *_), *_ = data.train_dataloader()
    torch.testing.assert_close(point(task), 0.1 * rows.mean(0))
    torch.testing.assert_close(point(fit(Sum, 32)), 0.1 * rows.sum(0))
    torch.testing.assert_close(point(fit(BySums, 32)), rows.mean(0))


def test_rows_that_count_on_another_rank_contribute_nothing() -> None:
    task: Any = ByGradient(Centre(), SPEC)
    task.rank_weight = 0.0
    for reduction in ("sum", "mean"):
        task.add_gradient(task.net.point, torch.ones(2), reduction=reduction)
        assert task.net.point.grad.tolist() == [0, 0]
    task.add_statistics(torch.ones(2))
    assert task.total_statistics()[0].tolist() == [0, 0]
    assert task.total_statistics() is None, "they begin anew"


def test_a_gradient_has_its_parameter_s_dtype() -> None:
    task: Any = ByGradient(Centre(), SPEC)
    task.add_gradient(task.net.point, torch.ones(2, dtype=torch.bfloat16), reduction="sum")
    assert task.net.point.grad.dtype == torch.float32


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_clipping_bounds_a_step(algorithm: str) -> None:
    moved = point(fit(Sum, 32, gradient_clip_val=1e-3, gradient_clip_algorithm=algorithm))
    size = moved.norm() if algorithm == "norm" else moved.abs().max()
    assert float(size) == pytest.approx(0.1 * 1e-3, rel=1e-3)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_schedule_counts_steps(accumulate: int) -> None:
    """Four steps an epoch, or two: the rate halves with each epoch."""
    halve = partial(lr_schedules.step, every=1, gamma=0.5)
    task = fit(ByGradient, 8, scheduler=halve, max_epochs=3, accumulate_grad_batches=accumulate)
    assert task.learning_rate == pytest.approx(0.1 / 8)


def test_a_plateau_schedule_steps() -> None:
    """At this rate the loss rises from step to step."""
    task = fit(ByGradient, 8, lr=3.0, scheduler=partial(lr_schedules.plateau, patience=0), max_epochs=2)
    assert task.learning_rate == pytest.approx(0.3)


def test_an_average_of_weights_moves_with_each_step() -> None:
    from lightning.pytorch.callbacks import EMAWeightAveraging

    for kind in (ByGradient, BySums):
        average = EMAWeightAveraging(decay=0.5)
        task = fit(kind, 16, callbacks=[average], enable_checkpointing=False)
        assert average._average_model is not None
        assert int(average._average_model.n_averaged) == 2
        assert task.global_step == 2


def test_a_best_checkpoint_is_written_without_an_optimizer(tmp_path: Path) -> None:
    best = pl.callbacks.ModelCheckpoint(tmp_path, monitor="val/loss", filename="best")
    fit(BySums, 8, callbacks=[best], enable_checkpointing=True, max_epochs=2)
    assert Path(best.best_model_path).name == "best.ckpt"


# What cannot be done


class Trainer:
    gradient_clip_val: Any = None
    gradient_clip_algorithm = None
    accumulate_grad_batches = 1
    precision = "32-true"

    def __init__(self, **options: Any) -> None:
        vars(self).update(options)


def test_options_without_effect_are_rejected() -> None:
    net = Centre()
    with pytest.raises(UserError, match="BySums learns without an optimizer"):
        BySums(net, SPEC, optimizer=partial(torch.optim.SGD, lr=0.1))
    for scheduler in (lr_schedules.step, partial(lr_schedules.cosine), partial(lr_schedules.none, warmup=1)):
        with pytest.raises(UserError, match="scheduler: BySums learns without an optimizer"):
            BySums(net, SPEC, scheduler=scheduler)
    task = BySums(net, SPEC, scheduler=partial(lr_schedules.none))
    with pytest.raises(UserError, match=r"trainer\.gradient_clip_val=1: BySums learns without gradients"):
        task.setup_trainer(Trainer(gradient_clip_val=1))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"trainer\.precision=16-mixed scales the loss, but ByGradient"):
        ByGradient(net, SPEC).setup_trainer(Trainer(precision="16-mixed"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=random", "data=cartpole", "optimizer=adam"], "optimizer: RandomAgent learns without an optimizer"),
        (["model=random", "data=cartpole", "optimizer.lr=1"], "optimizer=none, but optimizer.lr is set"),
        (["model=random", "data=cartpole", "scheduler=step"], "scheduler: RandomAgent learns without an optimizer"),
        (["model=q_table", "data=taxi", "optimizer=adam"], "use optimizer=sgd"),
        (["model=q_table", "data=taxi", "optimizer=momentum"], "use optimizer=sgd"),
        (["model=mlp", "data=iris", "optimizer=none"], "model=mlp needs one"),
        (["model=perceptron", "data=iris", "task.l2=0.1"], "has no such option"),
    ],
)
def test_a_run_with_options_without_effect_is_rejected(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, *overrides)


# Whole runs

IRIS = ("model=perceptron", "data=iris", "data.batch_size=16")


def rates(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["lr"]) for row in csv.DictReader(file)]


def test_the_rate_of_the_perceptron_follows_its_schedule(tmp_path: Path) -> None:
    run(
        tmp_path, *IRIS, "scheduler=step", "scheduler.every=1", "trainer.max_epochs=3", "callbacks=[checkpoint,history]"
    )
    assert rates(tmp_path) == pytest.approx([1, 0.1, 0.01])


@pytest.mark.parametrize(
    "overrides",
    [
        ("scheduler=exponential",),
        ("trainer.accumulate_grad_batches=3", "trainer.gradient_clip_val=1"),
        ("callbacks=[checkpoint,history,ema]", "trainer.precision=bf16-mixed"),
    ],
    ids=lambda overrides: overrides[0],
)
def test_a_resumed_perceptron_equals_an_uninterrupted_one(overrides: tuple[str, ...], tmp_path: Path) -> None:
    whole, parts = whole_and_parts(tmp_path, *IRIS, *overrides)
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert same(whole[key], parts[key]), key
    assert json.loads((tmp_path / "whole" / "results.json").read_text())["steps"] == whole["global_step"] > 0
