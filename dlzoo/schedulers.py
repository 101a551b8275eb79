"""Learning-rate schedules by name, each of them after a linear warm-up if wanted.

All lengths are in epochs (fractions allowed) and become optimizer steps here, so that a schedule does not change when
the batch size does. The classes are PyTorch's; this file only says when each of them steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch.optim import Optimizer
from torch.optim import lr_scheduler as lrs

from dlzoo.errors import UserError


class Plan(NamedTuple):
    """What a schedule must know of its run."""

    total_steps: int
    steps_per_epoch: int
    monitor: str
    mode: str

    def steps(self, epochs: float) -> int:
        return round(epochs * self.steps_per_epoch)


def none(optimizer: Optimizer, plan: Plan, *, warmup: float = 0.0) -> list[dict[str, Any]]:
    """The optimizer's own rate, after ``warmup`` epochs of linear rise."""
    return [_each_step(_rise(optimizer, plan, warmup))] if warmup else []


def step(
    optimizer: Optimizer, plan: Plan, *, warmup: float = 0.0, every: float = 10, gamma: float = 0.1
) -> list[dict[str, Any]]:
    """Times ``gamma`` each ``every`` epochs."""
    size = max(plan.steps(every), 1)
    return _after_warmup(optimizer, plan, warmup, lambda: lrs.StepLR(optimizer, size, gamma))


def exponential(
    optimizer: Optimizer, plan: Plan, *, warmup: float = 0.0, gamma: float = 0.9
) -> list[dict[str, Any]]:
    """Times ``gamma`` over each epoch, smoothly."""
    per_step = gamma ** (1 / plan.steps_per_epoch)
    return _after_warmup(optimizer, plan, warmup, lambda: lrs.ExponentialLR(optimizer, per_step))


def cosine(optimizer: Optimizer, plan: Plan, *, warmup: float = 0.0, final: float = 0.0) -> list[dict[str, Any]]:
    """Half a cosine from the optimizer's rate to ``final``, a share of it (Loshchilov & Hutter, SGDR, 2017)."""
    rest = _rest(plan, warmup, "cosine")
    lowest = final * optimizer.param_groups[0]["lr"]
    return _after_warmup(optimizer, plan, warmup, lambda: lrs.CosineAnnealingLR(optimizer, rest, lowest))


def onecycle(
    optimizer: Optimizer,
    plan: Plan,
    *,
    warmup: float = 0.0,
    rise: float = 0.3,
    start: float = 0.04,
    final: float = 1e-4,
) -> list[dict[str, Any]]:
    """Up to the optimizer's rate over the share ``rise`` of the run, then down (Smith & Topin, Super-Convergence, 2018).

    ``start`` and ``final`` are shares of the highest rate. An optimizer with momentum has it cycled the other way.
    """
    has_momentum = bool(optimizer.defaults.get("betas") or optimizer.defaults.get("momentum"))
    rest = _rest(plan, warmup, "onecycle")
    highest = [group["lr"] for group in optimizer.param_groups]
    return _after_warmup(
        optimizer,
        plan,
        warmup,
        lambda: lrs.OneCycleLR(
            optimizer,
            highest,
            rest,
            pct_start=rise,
            cycle_momentum=has_momentum,
            div_factor=1 / start,
            final_div_factor=start / final,
        ),
    )


def plateau(
    optimizer: Optimizer, plan: Plan, *, warmup: float = 0.0, factor: float = 0.1, patience: int = 5
) -> list[dict[str, Any]]:
    """Times ``factor`` when the validation metric has not improved for ``patience`` epochs."""
    main = lrs.ReduceLROnPlateau(optimizer, "max" if plan.mode == "max" else "min", factor, patience)
    watched = {"scheduler": main, "interval": "epoch", "monitor": plan.monitor}
    return [watched, _each_step(_rise(optimizer, plan, warmup))] if warmup else [watched]


def _rest(plan: Plan, warmup: float, name: str) -> int:
    rest = plan.total_steps - plan.steps(warmup)
    if rest < 1 or plan.total_steps >= 2**31:
        raise UserError(
            f"scheduler={name} needs steps to plan for: {plan.total_steps} steps in all, scheduler.warmup={warmup} "
            "epochs; change trainer.max_epochs or scheduler.warmup"
        )
    return rest


def _rise(optimizer: Optimizer, plan: Plan, warmup: float) -> lrs.LRScheduler:
    return lrs.LinearLR(optimizer, start_factor=1e-3, total_iters=max(plan.steps(warmup), 1))


def _each_step(scheduler: lrs.LRScheduler) -> dict[str, Any]:
    return {"scheduler": scheduler, "interval": "step"}


def _after_warmup(optimizer: Optimizer, plan: Plan, warmup: float, main: Any) -> list[dict[str, Any]]:
    if not warmup:
        return [_each_step(main())]
    parts = [_rise(optimizer, plan, warmup), main()]
    return [_each_step(lrs.SequentialLR(optimizer, parts, [max(plan.steps(warmup), 1)]))]
