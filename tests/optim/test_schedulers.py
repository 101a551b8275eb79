"""Schedules: warm-up, end points, and that a resumed run follows the longer plan."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as lrs

from dlzoo.errors import UserError
from dlzoo.optim import lr_schedules as schedulers
from dlzoo.optim.lr_schedules import UNLIMITED, Plan, keeps_rate

PLAN = Plan(total_steps=100, steps_per_epoch=10, monitor="val/loss", mode="min")
BY_STEP = ["none", "step", "exponential", "cosine", "onecycle"]


def make(name: str, plan: Plan = PLAN, **options: Any) -> tuple[torch.optim.Optimizer, lrs.LRScheduler]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    (one,) = getattr(schedulers, name)(optimizer, plan, **options)
    return optimizer, one["scheduler"]


def rates(name: str, steps: int = 100, **options: Any) -> list[float]:
    optimizer, scheduler = make(name, **options)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_values_at_known_steps() -> None:
    assert rates("none") == [2.0] * 100
    assert rates("step", every=3, gamma=0.5)[29:31] == [2.0, 1.0]
    assert rates("exponential", gamma=0.5)[10:21:10] == pytest.approx([1.0, 0.5])
    assert rates("cosine")[50] == pytest.approx(1.0)
    assert rates("cosine", 101)[100] == pytest.approx(0.0)
    found = rates("onecycle", rise=0.25, start=0.1, final=0.01)
    assert found[0] == pytest.approx(0.2)
    assert max(found) == found[25] == pytest.approx(2.0)
    assert found[-1] < 0.03
    halfway = rates("onecycle", rise=0.24, start=0.1, final=0.01)
    assert [halfway[12], halfway[62]] == pytest.approx([1.1, 1.01])  # of the way up, and of the way down


def test_values_by_default() -> None:
    """As the configs and the documentation give them."""
    assert rates("step", 111)[99:101] == pytest.approx([2.0, 0.2])
    assert rates("exponential")[10] == pytest.approx(1.8)
    found = rates("onecycle", 101)
    assert [found[i] for i in (0, 30, 100)] == pytest.approx([0.08, 2.0, 8e-6])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    (watched,) = schedulers.plateau(optimizer, PLAN)
    lowered = []
    for _ in range(7):
        watched["scheduler"].step(1.0)
        lowered.append(optimizer.param_groups[0]["lr"])
    assert lowered == pytest.approx([2.0] * 6 + [0.2])  # the first is the best, and five may be no better
    assert watched["strict"] is False, "an epoch without validation is no error"


@pytest.mark.parametrize(("name", "final"), [("cosine", 0.25), ("onecycle", 0.25)])
def test_after_its_end_a_schedule_stays_at_its_last_value(name: str, final: float) -> None:
    """A run of more steps than were planned, as gradient accumulation can make it."""
    assert rates(name, 151, final=final)[100:] == pytest.approx([0.5] * 51)


@pytest.mark.parametrize("rise", [-0.1, 0, 1, 1.5])
def test_onecycle_rises_over_a_fraction_of_the_run(rise: float) -> None:
    with pytest.raises(UserError, match=rf"^scheduler\.rise={rise} must lie between 0 and 1"):
        make("onecycle", rise=rise)


def test_only_a_constant_rate_without_a_warm_up_is_kept() -> None:
    assert keeps_rate(schedulers.none)
    assert keeps_rate(partial(schedulers.none))
    assert keeps_rate(partial(schedulers.none, warmup=0))
    assert not keeps_rate(partial(schedulers.none, warmup=1))
    assert not keeps_rate(schedulers.cosine)
    assert not keeps_rate(partial(schedulers.cosine, warmup=1))


def test_a_warm_up_of_a_step_and_a_half() -> None:
    """It warms the first step; one of at most a step warms none."""
    assert rates("none", 3, warmup=0.15) == pytest.approx([2 / 1.5, 2.0, 2.0])
    assert rates("none", 3, warmup=0.1) == rates("none", 3, warmup=0.05) == [2.0] * 3


def test_cosine_equals_pytorch_s() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    reference = lrs.CosineAnnealingLR(optimizer, 100)
    for rate in rates("cosine"):
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()


@pytest.mark.parametrize("name", BY_STEP)
def test_a_warm_up_rises_linearly_and_then_the_schedule_starts(name: str) -> None:
    warm = rates(name, warmup=2)
    assert warm[:20] == pytest.approx([warm[0] * (i + 1) for i in range(20)])
    assert warm[0] == pytest.approx((0.08 if name == "onecycle" else 2.0) / 20)
    plain = rates(name, plan=PLAN._replace(total_steps=80))
    assert warm[20:] == pytest.approx(plain[:80])


def test_plateau_after_a_warm_up() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    watched, rise = schedulers.plateau(optimizer, PLAN, warmup=1, patience=0, factor=0.5)
    seen = []
    for step in range(40):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        rise["scheduler"].step()
        if step == 24:
            watched["scheduler"].step(1.0)
            watched["scheduler"].step(1.0)
    assert seen[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert seen[24] == pytest.approx(2.0)
    assert seen[25] == seen[39] == pytest.approx(1.0)


@pytest.mark.parametrize(("mode", "better"), [("min", -1.0), ("max", 1.0)])
def test_plateau_follows_the_direction_of_its_metric(mode: str, better: float) -> None:
    plan = PLAN._replace(mode=mode, monitor="val/score")
    for sign, lowered in ((1, False), (-1, True)):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
        (watched,) = schedulers.plateau(optimizer, plan, patience=1, factor=0.25)
        assert (watched["monitor"], watched["interval"]) == ("val/score", "epoch")
        for epoch in range(1, 4):
            assert optimizer.param_groups[0]["lr"] == 2.0, f"before epoch {epoch}: it has patience"
            watched["scheduler"].step(5 + sign * better * epoch)
        assert optimizer.param_groups[0]["lr"] == (0.5 if lowered else 2.0)


@pytest.mark.parametrize("name", BY_STEP)
def test_a_resumed_run_follows_the_longer_plan(name: str) -> None:
    optimizer, scheduler = make(name)
    for _ in range(100):
        optimizer.step()
        scheduler.step()
    longer = PLAN._replace(total_steps=200)
    resumed, again = make(name, plan=longer)
    resumed.load_state_dict(optimizer.state_dict())
    again.load_state_dict(scheduler.state_dict())
    resumed.step()
    again.step()
    assert resumed.param_groups[0]["lr"] == pytest.approx(rates(name, 102, plan=longer)[101])


@pytest.mark.parametrize("name", ["cosine", "onecycle"])
@pytest.mark.parametrize("plan", [PLAN._replace(total_steps=UNLIMITED), PLAN._replace(total_steps=10)])
def test_a_schedule_without_epochs_after_the_warmup_is_an_error(name: str, plan: Plan) -> None:
    with pytest.raises(UserError, match=r"trainer\.max_epochs"):
        make(name, plan=plan, warmup=1)
