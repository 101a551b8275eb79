"""Learning-rate schedules by name, each of them after a linear warm-up if wanted.

A schedule is a factor on the optimizer's own rate, a pure function of the step and of the run's `Plan`. So a run that
is continued with more epochs follows the schedule of the longer run, where PyTorch's own classes bring the old length
back from the checkpoint, and `OneCycleLR` then stops with an error. All lengths are in epochs, fractions allowed, so
that a schedule does not change when the batch size does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, MultiplicativeLR, ReduceLROnPlateau

from dlzoo.errors import UserError

Factor = Callable[[float], float]
"""Epochs since the end of the warm-up -> what to multiply the optimizer's rate by."""


UNLIMITED = 2**31
"""As a number of steps: a run without an end."""


class Plan(NamedTuple):
    """What a schedule must know of its run."""

    total_steps: int
    steps_per_epoch: float
    monitor: str
    mode: str

    @property
    def epochs(self) -> float:
        return self.total_steps / self.steps_per_epoch


def none(optimizer: Optimizer, plan: Plan, *, warmup: float = 0.0) -> list[dict[str, Any]]:
    """The optimizer's own rate."""
    return _each_step(optimizer, plan, warmup, lambda epochs: 1.0)


def step(
    optimizer: Optimizer, plan: Plan, *, warmup: float = 0.0, every: float = 10, gamma: float = 0.1
) -> list[dict[str, Any]]:
    """Times ``gamma`` each ``every`` epochs."""
    return _each_step(optimizer, plan, warmup, lambda epochs: gamma ** int(epochs / every + 1e-9))


def exponential(optimizer: Optimizer, plan: Plan, *, warmup: float = 0.0, gamma: float = 0.9) -> list[dict[str, Any]]:
    """Times ``gamma`` over each epoch, smoothly."""
    return _each_step(optimizer, plan, warmup, lambda epochs: gamma**epochs)


def cosine(optimizer: Optimizer, plan: Plan, *, warmup: float = 0.0, final: float = 0.0) -> list[dict[str, Any]]:
    """Half a cosine from the optimizer's rate to ``final``, a share of it (Loshchilov & Hutter, SGDR, 2017)."""
    rest = _rest(plan, warmup, "cosine")
    return _each_step(optimizer, plan, warmup, lambda epochs: _swing(1.0, final, epochs / rest))


def onecycle(
    optimizer: Optimizer,
    plan: Plan,
    *,
    warmup: float = 0.0,
    rise: float = 0.3,
    start: float = 0.04,
    final: float = 4e-6,
) -> list[dict[str, Any]]:
    """Up to the optimizer's rate over the share ``rise`` of the run, then down (Smith & Topin, 2018).

    ``start`` and ``final`` are shares of the highest rate. The momentum stays as it is.
    """
    rest = _rest(plan, warmup, "onecycle")
    if not 0 < rise < 1:
        raise UserError(f"scheduler.rise={rise} must lie between 0 and 1: it is a share of the run")

    def factor(epochs: float) -> float:
        done = epochs / rest
        return _swing(start, 1.0, done / rise) if done < rise else _swing(1.0, final, (done - rise) / (1 - rise))

    return _each_step(optimizer, plan, warmup, factor)


def plateau(
    optimizer: Optimizer, plan: Plan, *, warmup: float = 0.0, factor: float = 0.1, patience: int = 5
) -> list[dict[str, Any]]:
    """Times ``factor`` when the validation metric has not improved for ``patience`` epochs with a validation."""
    main = ReduceLROnPlateau(optimizer, "max" if plan.mode == "max" else "min", factor, patience)
    watched = {"scheduler": main, "interval": "epoch", "monitor": plan.monitor, "strict": False}
    if not warmup:
        return [watched]

    def rise(steps: int) -> float:  # from one step to the next, so that what the plateau did stays done
        return _warm(plan, warmup, steps) / _warm(plan, warmup, steps - 1)

    first = MultiplicativeLR(optimizer, rise)
    for group in optimizer.param_groups:
        group["lr"] *= _warm(plan, warmup, 0)
    return [watched, {"scheduler": first, "interval": "step"}]


def keeps_rate(schedule: Any) -> bool:
    """Whether a schedule of the config leaves the optimizer's rate as it is.

    Args:
        schedule: a function of this module, perhaps with options (`functools.partial`).
    """
    return getattr(schedule, "func", schedule) is none and not getattr(schedule, "keywords", {}).get("warmup")


def _each_step(optimizer: Optimizer, plan: Plan, warmup: float, factor: Factor) -> list[dict[str, Any]]:
    def at(steps: int) -> float:
        return _warm(plan, warmup, steps) * factor(max(steps / plan.steps_per_epoch - warmup, 0.0))

    return [{"scheduler": LambdaLR(optimizer, at), "interval": "step"}]


def _warm(plan: Plan, warmup: float, steps: int) -> float:
    length = warmup * plan.steps_per_epoch
    return min(1.0, (steps + 1) / length) if length > 1 else 1.0


def _swing(a: float, b: float, done: float) -> float:
    """From a to b along half a cosine; b from ``done`` = 1 on."""
    return b + (a - b) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def _rest(plan: Plan, warmup: float, name: str) -> float:
    """Epochs after the warm-up."""
    if plan.total_steps >= UNLIMITED or plan.epochs <= warmup:
        raise UserError(
            f"scheduler={name} needs to know the run's length, and a warm-up that is shorter: change "
            f"trainer.max_epochs or scheduler.warmup={warmup}"
        )
    return plan.epochs - warmup
