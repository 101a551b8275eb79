"""Options of optimizer and schedule that differ from those of the run that is continued, applied to its checkpoint.

Optimizers and PyTorch's schedules take their options from the stored state, so that a new value would be ignored.
So the stored state is changed before it is checked and loaded, and each change is printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import lightning.pytorch as pl
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from dlzoo.checkpoint.load import plain_config
from dlzoo.config.overrides import key_of
from dlzoo.config.run_config import Node, RunConfig
from dlzoo.errors import UserError, short, visible
from dlzoo.training.restore_optimizers import options_of, state_after_step
from dlzoo.utils.checkpoint_files import manifest_in

Content = dict[str, object]
"""A checkpoint."""
RELEVANT = ("optimizer", "scheduler", "experiment", "task", "transfer")
"""Top-level keys of overrides that can change optimizer and schedules."""


class ChangedOptions:
    """What differs between a run and the command that continues it.

    Args:
        content: of the checkpoint.
        config: of this run.
        overrides: those of this run.
    """

    def __init__(self, content: Mapping[str, object], config: RunConfig, overrides: Sequence[str]) -> None:
        stored: Mapping[str, object] = {}
        manifest = manifest_in(content)
        if relevant(manifest["overrides"]) != relevant(overrides):  # otherwise only defaults of a version differ
            stored = plain_config(content)
        self.optimizer = differences(stored, config.optimizer, "optimizer")
        self.scheduler = differences(stored, config.scheduler, "scheduler")
        self.task = differences(stored, config.task, "task")
        self.rates: list[float] = []
        """The learning rates of the checkpoint."""

    @property
    def changes_kind_of_schedule(self) -> bool:
        """Whether the states of the schedules are of different classes."""
        targets = self.scheduler.get("_target_", ("", ""))
        is_plateau = [str(target).endswith(".plateau") for target in targets]
        return is_plateau[0] != is_plateau[1] or (all(is_plateau) and "warmup" in self.scheduler)

    def apply(self, content: Content, trainer: pl.Trainer) -> None:
        """Change the states of optimizers and schedules in a checkpoint to those that the options ask for.

        Raises:
            UserError: a change that cannot be applied.
        """
        optimizers, schedules = trainer.strategy.optimizers, [c.scheduler for c in trainer.lr_scheduler_configs]
        states = content.get("optimizer_states")
        if not isinstance(states, list) or len(states) != len(optimizers):
            return  # refused by the checks of the states
        groups = [group for state in states for group in groups_of(state)]
        self.rates = [float(rate) for group in groups if isinstance(rate := group.get("lr"), int | float)]
        keys = {*self.optimizer} - {"_target_"}
        if {"discriminator_lr", "transfer"} & {*self.task} or self.changes_kind_of_schedule:
            keys.add("lr")
        is_new = "_target_" in self.optimizer or self.drops_state(optimizers)
        if keys or is_new:
            if trainer.strategy.restore_checkpoint_after_setup:
                raise UserError("trainer=fsdp continues a run with the optimizer's options unchanged: omit optimizer.…")
            for i, optimizer in enumerate(optimizers):
                fresh = optimizer.state_dict()
                states[i] = fresh if is_new else with_options(states[i], fresh, keys)
            if "lr" in keys or is_new:
                set_base_rates(content, schedules)
        if self.changes_kind_of_schedule:
            if not trainer.lightning_module.automatic_optimization:
                raise UserError(
                    "scheduler: a run of this model cannot be continued with scheduler=plateau in place of another, or "
                    "the reverse: omit it"
                )
            step = content.get("global_step")
            content["lr_schedulers"] = [fresh_state(s, step if type(step) is int else 0) for s in schedules]
        if trainer.is_global_zero:
            self.say(is_new=is_new)

    def drops_state(self, optimizers: Sequence[Optimizer]) -> bool:
        """Whether the optimizer keeps another state with the new options, such as one of momentum."""
        if not {*self.optimizer} - {"_target_", "lr"} or isinstance(optimizers[0], torch.optim.LBFGS):
            return False
        kind = type(optimizers[0])
        now = options_of(optimizers[0].param_groups[0])
        defaults = kind([torch.nn.Parameter(torch.zeros(1))], lr=1.0).defaults  # type: ignore[call-arg]
        before = now | {
            key: defaults[key] if old is None else old for key, (old, _) in self.optimizer.items() if key in defaults
        }
        one, other = (state_after_step(kind, torch.zeros(1), options) for options in (before, now))
        return one.keys() != other.keys()

    def say(self, *, is_new: bool) -> None:
        if "_target_" in self.optimizer:
            old, new = (str(target).rpartition(".")[2] for target in self.optimizer["_target_"])
            print(f"continuing with {visible(new)}, without the state of {visible(old)}")
            return
        if is_new:
            print("continuing with a new state of the optimizer, which these options need")
        for key, (old_value, value) in sorted(self.optimizer.items()):
            print(f"continuing with optimizer.{visible(key)}={short(value)}, previously {short(old_value)}")

    def follow_schedules(self, trainer: pl.Trainer) -> None:
        """Set the rates to those of the schedules at this step, which a longer run or other options may change."""
        for config in trainer.lr_scheduler_configs:
            schedule = config.scheduler
            if isinstance(schedule, LambdaLR):
                pairs = zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
                rates = [base * factor(schedule.last_epoch) for base, factor in pairs]
                for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate
                schedule._last_lr = rates
        rates = [float(group["lr"]) for o in trainer.strategy.optimizers for group in o.param_groups]
        if self.rates and rates and rates[0] != self.rates[0] and trainer.is_global_zero:
            print(f"the learning rate is {rates[0]:.3g} from here on, and was {self.rates[0]:.3g} in the checkpoint")


def differences(stored: Mapping[str, object], now: Node, node: str) -> dict[str, tuple[object, object]]:
    """The options of a node that differ, by name: the old value and the new one."""
    before = stored.get(node)
    if not isinstance(before, Mapping) or not before:
        return {}
    return {key: (before.get(key), now.get(key)) for key in {**before, **now} if before.get(key) != now.get(key)}


def relevant(overrides: Sequence[str]) -> set[str]:
    """The overrides that can change optimizer and schedules."""
    texts = [override.lstrip("+") for override in overrides]
    return {text for text in texts if key_of(text).partition(".")[0] in RELEVANT}


def groups_of(state: object) -> list[dict[str, object]]:
    groups = state.get("param_groups") if isinstance(state, dict) else None
    return [group for group in groups if isinstance(group, dict)] if isinstance(groups, list) else []


def with_options(state: object, fresh: Mapping[str, object], keys: set[str]) -> object:
    """An optimizer's stored state with some options of a new one."""
    groups, new_groups = groups_of(state), groups_of(fresh)
    if not isinstance(state, dict) or len(groups) != len(new_groups):
        return state  # refused by the checks
    copied = keys | ({"initial_lr"} if "lr" in keys else set())
    changed = []
    for group, new in zip(groups, new_groups, strict=True):
        options = {key: new[key] for key in copied if key in new}
        if "lr" in keys:
            options["lr"] = new.get("initial_lr", new.get("lr"))
        changed.append(group | options)
    return {**state, "param_groups": changed}


def set_base_rates(content: Content, schedules: Sequence[LRScheduler | ReduceLROnPlateau]) -> None:
    """Let the stored schedules scale the rates of the new optimizers."""
    states = content.get("lr_schedulers")
    for state, schedule in zip(states if isinstance(states, list) else (), schedules, strict=False):
        if isinstance(state, dict) and not isinstance(schedule, ReduceLROnPlateau) and "base_lrs" in state:
            state["base_lrs"] = [*schedule.base_lrs]


def fresh_state(schedule: LRScheduler | ReduceLROnPlateau, step: int) -> dict[str, object]:
    """The state of a new schedule after so many steps."""
    state: dict[str, object] = schedule.state_dict()
    return state if isinstance(schedule, ReduceLROnPlateau) else state | {"last_epoch": step, "_step_count": step + 1}
