"""Learning-rate schedules by name, each with an optional linear warm-up.

A schedule is a factor on the optimizer's learning rate, a pure function of the step and of the run's `Plan`. So a run
that is resumed with more epochs follows the schedule of the longer run, whereas PyTorch's classes restore the old
length from the checkpoint, and `OneCycleLR` then raises. All lengths are in epochs, fractions allowed, so that a
schedule does not depend on the batch size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, MultiplicativeLR, ReduceLROnPlateau

from dlzoo.errors import UserError, at_least

Schedules = list[LRSchedulerConfigType]
"""What `Task.configure_optimizers` gives Lightning: each with the interval at which it steps."""

Factor = Callable[[float], float]
"""Epochs since the end of the warm-up -> factor on the optimizer's learning rate."""


UNLIMITED = 2**31
"""Number of steps that means an unlimited run."""


class Plan(NamedTuple):
    """What a schedule needs to know about its run."""

    total_steps: int
    steps_per_epoch: float
    monitor: str
    mode: str

    @property
    def epochs(self) -> float:
        return self.total_steps / self.steps_per_epoch


def none(optimizer: Optimizer, plan: Plan, *, warmup: float = 0.0) -> Schedules:
    """A constant learning rate.

    Args:
        warmup: epochs over which the rate first rises linearly.
    """
    return _each_step(optimizer, plan, warmup, lambda epochs: 1.0)


def step(optimizer: Optimizer, plan: Plan, *, warmup: float = 0.0, every: float = 10, gamma: float = 0.1) -> Schedules:
    """Multiply by ``gamma`` after each ``every`` epochs.

    Args:
        warmup: epochs over which the rate first rises linearly.
        every: epochs between the steps.
        gamma: factor of each step.
    """
    _check_positive(every=every, gamma=gamma)
    return _each_step(optimizer, plan, warmup, lambda epochs: _power(gamma, int(epochs / every + 1e-9)))


def exponential(optimizer: Optimizer, plan: Plan, *, warmup: float = 0.0, gamma: float = 0.9) -> Schedules:
    """Decay by ``gamma`` per epoch, smoothly.

    Args:
        warmup: epochs over which the rate first rises linearly.
        gamma: factor of each epoch.
    """
    _check_positive(gamma=gamma)
    return _each_step(optimizer, plan, warmup, lambda epochs: _power(gamma, epochs))


def cosine(optimizer: Optimizer, plan: Plan, *, warmup: float = 0.0, final: float = 0.0) -> Schedules:
    """Half a cosine from the optimizer's rate to the fraction ``final`` of it (Loshchilov & Hutter, SGDR, 2017).

    Args:
        warmup: epochs over which the rate first rises linearly.
        final: the last rate, as a fraction of the optimizer's.
    """
    at_least(0, "scheduler", final=final)
    rest = _epochs_after_warmup(plan, warmup, "cosine")
    return _each_step(optimizer, plan, warmup, lambda epochs: _cosine(1.0, final, epochs / rest))


def onecycle(
    optimizer: Optimizer,
    plan: Plan,
    *,
    warmup: float = 0.0,
    rise: float = 0.3,
    start: float = 0.04,
    final: float = 4e-6,
) -> Schedules:
    """Up to the optimizer's rate over the fraction ``rise`` of the run, then down (Smith & Topin, 2018).

    Momentum is not cycled.

    Args:
        warmup: epochs over which the rate first rises linearly.
        rise: fraction of the run after which the peak is reached.
        start: the first rate, as a fraction of the peak.
        final: the last rate, as a fraction of the peak.
    """
    at_least(0, "scheduler", start=start, final=final)
    rest = _epochs_after_warmup(plan, warmup, "onecycle")
    if not 0 < rise < 1:
        raise UserError(f"scheduler.rise={rise} must lie between 0 and 1: it is a fraction of the run")

    def factor(epochs: float) -> float:
        done = epochs / rest
        return _cosine(start, 1.0, done / rise) if done < rise else _cosine(1.0, final, (done - rise) / (1 - rise))

    return _each_step(optimizer, plan, warmup, factor)


def plateau(
    optimizer: Optimizer, plan: Plan, *, warmup: float = 0.0, factor: float = 0.1, patience: int = 5
) -> Schedules:
    """Multiply by ``factor`` when the validation metric has not improved for ``patience`` validated epochs.

    Args:
        warmup: epochs over which the rate first rises linearly.
        factor: what the rate is multiplied by, between 0 and 1.
        patience: validated epochs without improvement before a reduction.
    """
    at_least(0, "scheduler", patience=patience, warmup=warmup)
    if not 0 < factor < 1:
        raise UserError(f"scheduler.factor={factor} must lie between 0 and 1: the learning rate is multiplied by it")
    main = ReduceLROnPlateau(optimizer, "max" if plan.mode == "max" else "min", factor, patience)
    plateau_config: LRSchedulerConfigType = {
        "scheduler": main,
        "interval": "epoch",
        "monitor": plan.monitor,
        "strict": False,
    }
    if not warmup:
        return [plateau_config]

    def rise(steps: int) -> float:  # relative to the previous step, so that the plateau's reductions persist
        return _warmup_factor(plan, warmup, steps) / _warmup_factor(plan, warmup, steps - 1)

    first = MultiplicativeLR(optimizer, rise)
    for group in optimizer.param_groups:
        group["lr"] *= _warmup_factor(plan, warmup, 0)
    return [plateau_config, {"scheduler": first, "interval": "step"}]


def keeps_rate(schedule: Callable[..., object]) -> bool:
    """Whether a schedule of the config leaves the optimizer's rate as it is.

    Args:
        schedule: a function of this module, perhaps with options (`functools.partial`).
    """
    return getattr(schedule, "func", schedule) is none and not getattr(schedule, "keywords", {}).get("warmup")


def _each_step(optimizer: Optimizer, plan: Plan, warmup: float, factor: Factor) -> Schedules:
    at_least(0, "scheduler", warmup=warmup)

    def at(steps: int) -> float:
        return _warmup_factor(plan, warmup, steps) * factor(max(steps / plan.steps_per_epoch - warmup, 0.0))

    return [{"scheduler": LambdaLR(optimizer, at), "interval": "step"}]


def _warmup_factor(plan: Plan, warmup: float, steps: int) -> float:
    length = warmup * plan.steps_per_epoch
    return min(1.0, (steps + 1) / length) if length > 1 else 1.0


def _check_positive(**options: float) -> None:
    for name, value in options.items():
        if not value > 0:
            raise UserError(f"scheduler.{name}={value} must be greater than 0")


def _power(base: float, exponent: float) -> float:
    """``base**exponent``; infinite if it is too large for a float.

    >>> _power(0.5, 2), _power(1e200, 2)
    (0.25, inf)
    """
    try:
        return base**exponent
    except OverflowError:
        return math.inf


def _cosine(a: float, b: float, done: float) -> float:
    """From a to b along half a cosine; b from ``done`` = 1 on."""
    return b + (a - b) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def _epochs_after_warmup(plan: Plan, warmup: float, name: str) -> float:
    """Epochs after the warm-up."""
    if plan.total_steps >= UNLIMITED or plan.epochs <= warmup:
        raise UserError(
            f"scheduler={name} needs a run of known length that is longer than the warm-up: change "
            f"trainer.max_epochs or scheduler.warmup={warmup}"
        )
    return plan.epochs - warmup
