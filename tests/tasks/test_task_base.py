"""The base class of tasks with a stub trainer: means, steps, checkpoints, ranks."""

from __future__ import annotations

import math
import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from plain_nets import as_net
from torch import Tensor, nn

from dlzoo.distributed import collectives as gathering
from dlzoo.errors import UserError
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.targets import Values
from dlzoo.tasks.base import Task
from dlzoo.tasks.optimization import stop_searching_for_cuda
from dlzoo.tasks.running_mean import RunningMean

SPEC = TableSpec((Column("x"),), Values(("y",)))


class Noted:
    """A logger."""

    def __init__(self) -> None:
        self.rows: list[tuple[dict[str, float], int]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.rows.append((metrics, step))


class Carrying(Task):
    carried_state = ("memory",)
    memory: Any = None


def trainer_with(**answers: Any) -> SimpleNamespace:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.25)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    progress = SimpleNamespace(current=SimpleNamespace(processed=3, ready=4))
    common: dict[str, Any] = {
        "loggers": [], "log_every_n_steps": 3, "global_step": 0, "current_epoch": 2, "optimizers": [optimizer],
        "world_size": 1, "strategy": strategy, "callback_metrics": {"val/loss": torch.tensor(0.5)},
        "fit_loop": SimpleNamespace(epoch_progress=progress), "train_dataloader": None, "lr_scheduler_configs": [],
        "ckpt_path": None, "enable_validation": True, "accumulate_grad_batches": 1,
    }  # fmt: skip
    return SimpleNamespace(**common | answers)


def task_in(trainer: Any, cls: type[Task] = Task) -> Any:
    task = cls(as_net(nn.Linear(1, 1)), SPEC)
    task._trainer = trainer
    return task


def test_task_defaults() -> None:
    task = Task(as_net(nn.Linear(1, 1)), SPEC)
    assert task.spec is SPEC
    assert (task.monitor, task.carried_state, task.has_parts, task.resumes_mid_epoch) == (
        ("val/loss", "min"),
        (),
        False,
        True,
    )
    assert (task.step_skipped, task.skipped_steps, task.rank_weight) == (False, 0, 1.0)
    assert (task.train_means, task.last_metrics) == ({}, {})


# Means


def test_means_are_added_and_logged_every_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = Noted()
    trainer = trainer_with(loggers=[logger])
    task = task_in(trainer)
    assert math.isnan(task.running_loss), "there was no step"
    for step in range(7):
        monkeypatch.setattr(type(task), "global_step", step)
        task.log_step(step + 1, loss=torch.tensor(float(step)))
    assert task.running_loss == sum(step * (step + 1) for step in range(7)) / 28
    expected = [({"train/loss_step": float(s), "lr": 0.25, "epoch": 2}, s) for s in (0, 3, 6)]
    assert logger.rows == expected
    task.on_train_epoch_start()
    assert task.running_loss == 0.0, "another epoch begins"


def test_rows_that_count_on_another_rank_are_not_counted_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Task, "global_step", 1)
    task = task_in(trainer_with())
    task.log_step(2, loss=torch.tensor(1.0))
    task.rank_weight = 0.0
    task.log_step(2, loss=torch.tensor(9.0))
    assert task.running_loss == 1.0


class Two:
    """A strategy of two ranks, the other of which has this total and count."""

    root_device = torch.device("cpu")

    def __init__(self, *other: float) -> None:
        self.other = torch.tensor(other, dtype=torch.double)

    def reduce(self, own: Tensor, reduce_op: str) -> Tensor:
        assert (reduce_op, own.dtype) == ("sum", torch.double)
        return own + self.other


def test_ranks_reduce_their_sums() -> None:
    mean = RunningMean()
    mean.add(torch.tensor(2.0), 3)
    mean.join(Two(10.0, 1.0))  # type: ignore[arg-type]
    assert mean.read() == 16 / 4
    nothing = RunningMean()
    nothing.join(Two(10.0, 4.0))  # type: ignore[arg-type]
    assert nothing.read() == 2.5
    columns = RunningMean()
    columns.add(torch.tensor([1.0, 2.0]), 2)
    columns.join(Two(4.0, 8.0, 2.0))  # type: ignore[arg-type]
    assert (columns.total / columns.count).tolist() == [6 / 4, 12 / 4]  # type: ignore[operator]
    assert columns.total.dtype == torch.float  # type: ignore[union-attr]


def test_the_epoch_s_means_are_logged_and_those_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    for world, expected in ((1, 2.0), (2, 16 / 4)):
        task = task_in(trainer_with(world_size=world, strategy=Two(10.0, 1.0)))
        logged: dict[str, float] = {}
        monkeypatch.setattr(task, "log", lambda name, value, **_: logged.update({name: value}))  # noqa: B023
        task.train_means["loss"] = RunningMean()
        task.train_means["loss"].add(torch.tensor(2.0), 3)
        task.on_train_epoch_end()
        assert logged == {"train/loss": expected}


# Steps


def test_the_learning_rate_is_that_of_the_first_group() -> None:
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    first = torch.optim.SGD([{"params": [a], "lr": 0.5}, {"params": [b], "lr": 0.1}])
    second = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.9)
    assert task_in(trainer_with(optimizers=[first, second])).learning_rate == 0.5
    assert task_in(trainer_with(optimizers=[])).learning_rate == 0.0


@pytest.mark.parametrize(("left_out", "interval", "moves"), [
    (False, "step", True), (True, "step", False), (False, "epoch", True), (True, "epoch", True),
])  # fmt: skip
def test_a_step_that_is_skipped_moves_no_schedule_of_steps(left_out: bool, interval: str, moves: bool) -> None:
    steps: list[Any] = []
    scheduler = SimpleNamespace(step=lambda *metric: steps.append(metric))
    other = SimpleNamespace(scheduler=None, interval="step")
    mine = SimpleNamespace(scheduler=scheduler, interval=interval)
    task = task_in(trainer_with(lr_scheduler_configs=[other, mine]))
    task.step_skipped = left_out
    task.lr_scheduler_step(scheduler, None)
    assert bool(steps) == moves


def gradient(task: Any, value: float) -> float:
    """Of a loss 3 w at w = 1, times ``value``."""
    w = nn.Parameter(torch.ones(1))
    task.backward((3 * w * value).sum())
    assert w.grad is not None
    return w.grad.item()


def test_gradients_are_weighted_by_rows_and_non_finite_losses_reach_all_ranks() -> None:
    alone = task_in(trainer_with())
    alone.rank_weight = 0.5
    assert gradient(alone, 1.0) == 3.0
    one_of_two = task_in(trainer_with(world_size=2))
    one_of_two.rank_weight = 0.5
    assert gradient(one_of_two, 1.0) == 1.5
    one_of_two.rank_weight = 0.0
    assert gradient(one_of_two, 1.0) == 0.0
    assert math.isnan(gradient(one_of_two, float("inf")))


def test_backward_options_are_passed_on() -> None:
    w = nn.Parameter(torch.ones(1))
    loss = (w * w).sum()
    for _ in range(2):
        task_in(trainer_with()).backward(loss, retain_graph=True)
    assert w.grad is not None
    assert w.grad.item() == 4


def test_ranks_resuming_from_different_steps_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Task, "global_step", 5)
    monkeypatch.setattr(gathering, "gather_objects", lambda own: [own, 7])
    with pytest.raises(UserError, match=r"different steps, \[5, 7\]"):
        task_in(trainer_with()).on_train_start()


def test_the_fraction_of_a_batch_is_the_loader_s(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = SimpleNamespace(rank_weights=[1.2, 0.8], positions=lambda batch_idx: (torch.tensor([3, 1]), 4))
    task = task_in(trainer_with(world_size=2, train_dataloader=loader))
    task._shared = torch.Generator().manual_seed(0)
    task.on_train_batch_start(None, 1)
    assert task.rank_weight == 0.8
    whole = torch.rand(4, generator=torch.Generator().manual_seed(0))
    assert task.noise.uniform((2,), torch.device("cpu")).tolist() == [whole[3], whole[1]], "the noise of its own rows"
    alone = task_in(trainer_with(train_dataloader=loader))
    alone.on_train_batch_start(None, 1)
    assert alone.rank_weight == 1.0


# Checkpoints


def continued(checkpoint: dict[str, Any], **answers: Any) -> Any:
    """Another task that resumes from a checkpoint."""
    task = task_in(trainer_with(**answers), Carrying)
    task.on_load_checkpoint(checkpoint)
    return task


class Loader:
    def __init__(self) -> None:
        self.state: Any = {"epoch": 2, "position": 3}

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = state


def test_a_checkpoint_holds_the_resume_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Task, "global_step", 5)
    task = task_in(trainer_with(train_dataloader=Loader()), Carrying)
    task.log_step(4, loss=torch.tensor(2.0))
    task.memory, task.skipped_steps = torch.tensor([1.0, 2.0]), 7
    stored: dict[str, Any] = {}
    task.on_save_checkpoint(stored)
    expected = torch.rand(3)  # what is drawn next
    loader = Loader()
    loader.state = None
    other = continued(stored, train_dataloader=loader)
    assert (other.skipped_steps, other.last_metrics) == (7, {"val/loss": 0.5})
    other.on_train_start()
    assert torch.equal(torch.rand(3), expected)
    assert other.running_loss == 2.0
    other.log_step(4, loss=torch.tensor(4.0))
    assert other.running_loss == 3.0
    assert other.memory.tolist() == [1.0, 2.0]
    assert loader.state == {"epoch": 2, "position": 3}
    torch.rand(1)
    after = torch.get_rng_state()
    other.on_train_start()
    assert torch.equal(torch.get_rng_state(), after), "it is taken up once"


def test_resuming_after_an_epoch_starts_with_all_batches() -> None:
    progress = SimpleNamespace(current=SimpleNamespace(processed=4, ready=4))
    trainer = trainer_with(train_dataloader=Loader(), fit_loop=SimpleNamespace(epoch_progress=progress))
    stored: dict[str, Any] = {}
    task_in(trainer).on_save_checkpoint(stored)
    assert stored["continuation"]["loader"] is None
    loader = Loader()
    other = continued(stored, train_dataloader=loader)
    loader.state = "untouched"
    other.on_train_start()
    assert loader.state == "untouched"


def test_a_checkpoint_of_an_older_version_holds_less() -> None:
    task = continued({})
    assert (task.last_metrics, task.skipped_steps) == ({}, 0)
    task.on_train_start()
    stored: dict[str, Any] = {}
    task_in(trainer_with(train_dataloader=object())).on_save_checkpoint(stored)  # of a source of one's own
    assert stored["continuation"]["loader"] is None
    del stored["continuation"]["skipped_steps"]
    assert continued(stored).skipped_steps == 0


# Small things


def test_the_training_step_signature_is_cached() -> None:
    class Stepping(Task):
        def training_step(self, batch: Any, batch_idx: int) -> None: ...

    assert [*vars(Stepping.training_step)["__signature__"].parameters] == ["self", "batch", "batch_idx"]
    assert "__signature__" not in vars(Task.training_step), "it is Lightning's own"


def test_an_optimizer_may_be_changed_for_a_part() -> None:
    task = task_in(trainer_with())
    task.optimizer = lambda parameters, **options: torch.optim.SGD(parameters, **{"lr": 0.1, **options})
    assert task.make_optimizer(task.parameters(), lr=0.9).param_groups[0]["lr"] == 0.9
    assert task.configure_optimizers().param_groups[0]["lr"] == 0.1


def test_unsupported_optimizers_are_reported() -> None:
    for error in (ValueError("bad rate"), TypeError("no such option"), RuntimeError("not here")):
        task = task_in(trainer_with())

        def refuse(parameters: Any, error: Exception = error) -> Any:
            raise error

        task.optimizer = refuse
        with pytest.raises(UserError, match=f"optimizer: {error}"):
            task.make_optimizer([])


def test_fast_attribute_of_lightning_s_hooks_and_parameter_registration() -> None:
    task = task_in(trainer_with())
    task._current_fx_name = "training_step"
    assert task._current_fx_name == "training_step"
    task.more = nn.Linear(1, 1)
    assert "more.weight" in dict(task.named_parameters())


@pytest.mark.parametrize("has_gpu", [False, True])
def test_the_cuda_check_is_cached_without_a_gpu(has_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    task = task_in(trainer_with())
    task.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.1)
    task.configure_optimizers()
    assert ("PYTORCH_NVML_BASED_CUDA_CHECK" in os.environ) == has_gpu
    stop_searching_for_cuda()  # again


def test_a_count_that_was_read_before_a_batch_stays() -> None:
    """`on_nan=skip` puts it back after a step that is skipped."""
    mean = RunningMean()
    mean.add(torch.tensor(1.0), torch.tensor(2.0))
    before = mean.count
    mean.add(torch.tensor(3.0), torch.tensor(2.0))
    assert (float(before), float(mean.count), mean.read()) == (2.0, 4.0, 2.0)
