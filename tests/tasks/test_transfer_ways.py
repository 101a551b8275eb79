"""Transfer learning: which stages are frozen when, and the learning rate of each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from plain_nets import as_net
from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.nets.base import BackboneNet, Net
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.targets import Values
from dlzoo.tasks.finetuning import Features, Finetune, Gradual, Scratch, Transfer
from dlzoo.tasks.running_mean import RunningMean
from dlzoo.tasks.supervised import Supervised


class Staged(BackboneNet):
    """Three stages of one layer each, a head, and a note of what was frozen."""

    def __init__(self, weights: str = "imagenet") -> None:
        super().__init__()
        self.weights = weights
        self.head = nn.Linear(1, 1)
        self.body = nn.ModuleList(nn.Linear(1, 1) for _ in range(3))
        self.stages = [[layer] for layer in self.body]
        self.frozen: list[int] = []

    def features(self, x: Tensor) -> Tensor:
        return x

    def freeze(self, num_stages: int) -> None:
        self.frozen.append(num_stages)


def groups(way: Transfer, net: Staged) -> list[tuple[str, float]]:
    """(name, factor) of each group; its parameters must be those of that part."""
    results = way.groups(net)
    parts = {"head": net.head, **{f"stage{i}": layer for i, layer in enumerate(net.body)}}
    for group in results:
        assert [*map(id, group["params"])] == [*map(id, parts[group["name"]].parameters())]
    return [(group["name"], pytest.approx(group["factor"])) for group in results]  # type: ignore[misc]


def test_features_freeze_all_stages_and_only_the_head_learns() -> None:
    net, way = Staged(), Features()
    for done in (0.0, 0.5, 1.0):
        way.apply(net, done)
    assert net.frozen == [3, 3, 3]
    assert groups(way, net) == [("head", 1.0)]
    assert not way.changes


def test_finetuning_rates_decrease_towards_the_input() -> None:
    """A geometric sequence: 0.03, 0.09 ..., 0.3; of a single stage the bottom's."""
    net, way = Staged(), Finetune(top=0.4, bottom=0.1)
    way.apply(net, 0.0)
    assert net.frozen == [0]
    assert groups(way, net) == [("head", 1.0), ("stage2", 0.4), ("stage1", 0.2), ("stage0", 0.1)]
    assert Finetune().rates(3) == pytest.approx([0.03, 0.03 * 10**0.5, 0.3])
    assert Finetune().rates(2) == pytest.approx([0.03, 0.3])
    assert Finetune().rates(1) == [0.03]
    assert not way.changes


class AllButTheLowest(Transfer):
    def num_frozen(self, num_stages: int, done: float) -> int:
        return 1


def test_default_rates_are_equal() -> None:
    assert groups(AllButTheLowest(), Staged()) == [("head", 1.0), ("stage2", 1.0), ("stage1", 1.0)]


def test_stages_are_unfrozen_one_by_one_from_the_top() -> None:
    """Of five stages the highest at a fifth of the run, the lowest at three fifths, the others evenly between."""
    way = Gradual()
    shares = {0.0: 5, 0.19: 5, 0.2: 4, 0.29: 4, 0.31: 3, 0.41: 2, 0.51: 1, 0.59: 1, 0.6: 0, 1.0: 0}
    assert {done: way.num_frozen(5, done) for done in shares} == shares
    assert [way.num_frozen(1, done) for done in (0.1, 0.3, 0.6)] == [1, 0, 0]
    assert way.changes
    net = Staged()
    way.apply(net, 0.0)
    way.apply(net, 1.0)
    assert net.frozen == [3, 0]
    assert [name for name, _ in groups(way, net)] == ["head", "stage2", "stage1", "stage0"]
    assert way.rates(3) == Finetune().rates(3)
    assert Gradual(top=0.4, bottom=0.1).rates(3) == pytest.approx([0.1, 0.2, 0.4])


def test_all_stages_may_be_unfrozen_at_once() -> None:
    way = Gradual(start=0.5, end=0.5)
    assert [way.num_frozen(4, done) for done in (0.0, 0.49, 0.5, 1.0)] == [4, 4, 0, 0]


def test_scratch_has_one_rate() -> None:
    net, way = Staged(weights="none"), Scratch()
    way.check(net)
    way.check(as_net(nn.Linear(1, 1)))
    way.apply(net, 0.0)
    assert net.frozen == []
    (group,) = way.groups(net)
    assert len(group["params"]) == len([*net.parameters()])
    assert "factor" not in group


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (
            lambda: Features().check(as_net(nn.Linear(1, 1))),
            r"features is for nets with a backbone.*Linear has none",
        ),
        (lambda: Gradual().check(Staged(weights="none")), r"transfer=gradual needs a trained backbone"),
        (lambda: Scratch().check(Staged()), r"transfer=scratch trains from random weights, but net\.weights=imagenet"),
        (lambda: Finetune(top=0.0), r"task\.transfer\.top=0\.0 must be above 0"),
        (lambda: Finetune(bottom=-1.0), r"task\.transfer\.bottom=-1\.0"),
        (lambda: Gradual(start=0.7), r"task\.transfer\.start=0\.7 and end=0\.6"),
        (lambda: Gradual(start=-0.1), r"start=-0\.1"),
        (lambda: Gradual(end=1.1), r"end=1\.1"),
    ],
)
def test_mistakes(check: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check()


def test_bounds_are_allowed() -> None:
    assert Gradual(start=0.0, end=1.0).num_frozen(3, torch.tensor(0.0).item()) == 2
    Features().check(Staged())


# In a supervised task


def task_of(way: Transfer, net: Net, epoch: int = 0, world_size: int = 1, epochs: int | None = 10) -> Supervised:
    spec = TableSpec((Column("x"),), Values(("y",)))
    task = Supervised(net, spec, optimizer=lambda p: torch.optim.SGD(p, lr=1.0), transfer=way)
    task._trainer = SimpleNamespace(current_epoch=epoch, max_epochs=epochs, world_size=world_size)  # type: ignore[assignment]
    return task


def test_the_optimizer_gets_the_groups_and_their_rates() -> None:
    task = task_of(Finetune(top=0.4, bottom=0.1), net := Staged())
    optimizer = task.make_optimizer(task.param_groups())
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1.0, 0.4, 0.2, 0.1])
    plain = task_of(Scratch(), Staged(weights="none"))
    assert len([*plain.param_groups()[0]["params"]]) == len([*net.parameters()])


@pytest.mark.parametrize(("epoch", "frozen"), [(0, 3), (1, 3), (2, 2), (4, 1), (6, 0), (9, 0)])
def test_stages_are_unfrozen_by_the_fraction_of_epochs(epoch: int, frozen: int) -> None:
    task = task_of(Gradual(), net := Staged(), epoch)
    task.train_means["loss"] = RunningMean()
    task.train_means["loss"].add(torch.tensor(1.0), 1)
    task.on_train_epoch_start()
    assert net.frozen == [frozen]
    assert task.running_loss == 0.0


def test_endless_runs_have_no_frozen_stages() -> None:
    task_of(Gradual(), net := Staged(), epoch=1, epochs=None).on_train_epoch_start()
    assert net.frozen == [0]


@pytest.mark.parametrize("world_size", [1, 2])
def test_which_stages_learn_does_not_depend_on_the_number_of_processes(world_size: int) -> None:
    for way in (Gradual(), Finetune()):
        task_of(way, net := Staged(), world_size=world_size).on_train_epoch_start()
        task_of(way, alone := Staged()).on_train_epoch_start()
        assert net.frozen == alone.frozen


def test_transfer_without_a_backbone_is_rejected() -> None:
    with pytest.raises(UserError, match="is for nets with a backbone"):
        task_of(Features(), as_net(nn.Linear(1, 1)))


def test_without_transfer_everything_is_trained() -> None:
    spec = TableSpec((Column("x"),), Values(("y",)))
    task = Supervised(net := as_net(nn.Linear(1, 1)), spec)
    assert [*task.param_groups()] == [*net.parameters()]
    task.train_means["loss"] = RunningMean()
    task.train_means["loss"].add(torch.tensor(1.0), 1)
    task.on_train_epoch_start()
    assert task.running_loss == 0.0
