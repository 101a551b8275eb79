"""The optimizers and schedules of the supervised task: what a step counts, the plan of the run, factors of groups."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from supervised_tasks import CLASSES, Rows, task_with
from torch import Tensor, nn

from dlzoo.data.loaders import Arrays
from dlzoo.errors import UserError
from dlzoo.optim.lr_schedules import UNLIMITED, Plan


def trained(batch_size: int, num_batches: int) -> Tensor:
    """The weights of softmax regression after an epoch on eight rows in steps of so many batches."""
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(1))
    data = Rows(Arrays(x, torch.arange(8) % 2), CLASSES)
    data.batch_size = batch_size
    torch.manual_seed(0)
    task = task_with(nn.Linear(2, 2), CLASSES, optimizer=lambda p: torch.optim.SGD(p, lr=1.0), l2=0.1)
    trainer = pl.Trainer(
        max_epochs=1, accumulate_grad_batches=num_batches, limit_val_batches=0, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(task, data)
    return torch.cat([p.detach().flatten() for p in task.net.parameters()])


@pytest.mark.parametrize("num_batches", [2, 3])  # of 3, 3 and 2 rows: a last step of one batch, a smaller last batch
def test_each_row_of_a_step_counts_the_same(num_batches: int) -> None:
    torch.testing.assert_close(trained(3, num_batches), trained(3 * num_batches, 1))


class Told:
    """What a task asks of its trainer before the fit."""

    estimated_stepping_batches: float = 120.0
    num_training_batches = 7.0
    accumulate_grad_batches = 2


def planned(monitor: tuple[str, str], **changes: Any) -> Plan:
    plans: list[Plan] = []

    def scheduler(optimizer: torch.optim.Optimizer, plan: Plan) -> list[dict[str, Any]]:
        plans.append(plan)
        return []

    task = task_with(nn.Linear(1, 1), optimizer=lambda p: torch.optim.SGD(p, lr=0.1), scheduler=scheduler)
    task.monitor = monitor
    task._trainer = type("Trainer", (Told,), changes)()
    task._fabric = None
    optimizers, schedules = task.configure_optimizers()
    assert ([type(o) for o in optimizers], schedules) == ([torch.optim.SGD], [])
    return plans[0]


def test_a_schedule_gets_the_plan_of_the_run() -> None:
    """Seven batches, two of which make one step, are four steps: the last stands alone."""
    assert planned(("val/reward", "max")) == Plan(120, 4, "val/reward", "max")
    assert planned(("val/loss", "min"), accumulate_grad_batches=1) == Plan(120, 7, "val/loss", "min")
    assert planned(("val/loss", "min"), estimated_stepping_batches=float("inf")).total_steps == UNLIMITED


def test_a_group_s_factor_multiplies_its_rate() -> None:
    task = task_with(nn.Linear(1, 1), optimizer=lambda p: torch.optim.SGD(p, lr=0.5))
    a, b = task.net.parameters()
    optimizer = task.make_optimizer([{"params": [a], "factor": 0.25}, {"params": [b]}])
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.5]
    assert [p for group in task.configure_optimizers().param_groups for p in group["params"]] == [a, b]


def test_a_missing_or_invalid_optimizer_is_reported() -> None:
    with pytest.raises(UserError, match="optimizer is missing"):
        task_with(nn.Linear(1, 1)).configure_optimizers()
    with pytest.raises(UserError, match="optimizer: Invalid learning rate: -1"):
        task_with(nn.Linear(1, 1), optimizer=lambda p: torch.optim.SGD(p, lr=-1)).configure_optimizers()
