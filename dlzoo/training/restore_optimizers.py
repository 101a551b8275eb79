"""An optimizer's stored state is compared with the parameters that it is for, before the optimizer takes it.

One of the wrong shape would make a fused optimizer read and write outside of its tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from dlzoo.errors import UserError, one_line, short
from dlzoo.utils.state_checks import (
    FAILURES,
    counter,
    describe,
    fits,
    mapping,
    number,
    refuse,
    sequence,
)


def check_optimizer(stored: Any, optimizer: Optimizer, place: str) -> None:
    """Compare a stored state with the parameters of the optimizer that is to take it."""
    stored, fresh = mapping(stored, place), optimizer.state_dict()
    if not fresh:  # Lightning's stand-in where a task has no optimizer
        if stored:
            refuse(place, describe(stored), "empty: this task has no optimizer")
        return
    groups = sequence(stored.get("param_groups"), f"{place}.param_groups", len(fresh["param_groups"]))
    for i, (group, ours) in enumerate(zip(groups, fresh["param_groups"], strict=True)):
        check_group(group, ours, f"{place}.param_groups[{i}]")
    states = mapping(stored.get("state"), f"{place}.state")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, state in states.items():
        if type(index) is not int or not 0 <= index < len(parameters):
            refuse(f"{place}.state", f"an entry {short(index)!r}", f"parameters 0 to {len(parameters) - 1}")
        mapping(state, f"{place}.state[{index}]")
    if isinstance(optimizer, LBFGS):
        check_lbfgs(states, groups, parameters, place)
    else:
        check_states(states, groups, optimizer, place)


def check_group(group: Any, ours: dict[str, Any], place: str) -> None:
    group = mapping(group, place)
    if group.get("params") != ours["params"]:
        refuse(f"{place}.params", short(group.get("params")), f"the {len(ours['params'])} parameters of this net")
    for name, value in ours.items():
        if name != "params" and name in group:
            fits(group[name], value, f"{place}.{name}")
    if "lr" not in group:
        refuse(place, "no lr", "the learning rate")


def check_states(states: Mapping[int, Any], groups: Sequence[dict[str, Any]], optimizer: Optimizer, place: str) -> None:
    """Each state against that of a parameter of the same shape after a step; of each shape one is tried in a step."""
    number = 0
    for group, ours in zip(groups, optimizer.param_groups, strict=True):
        expected: dict[Any, dict[str, Any]] = {}
        for p in ours["params"]:
            kind, state = (tuple(p.shape), p.dtype), states.get(number)
            here, number = f"{place}.state[{number}]", number + 1
            if not state:
                continue  # a parameter without a gradient so far
            is_first = kind not in expected
            if is_first:
                expected[kind] = stepped(type(optimizer), p, options_of(ours))
            if state.keys() != expected[kind].keys():
                refuse(here, f"with {short(', '.join(map(str, state)))}", ", ".join(expected[kind]))
            for name, value in expected[kind].items():
                fits(state[name], value, f"{here}.{name}")
            if is_first:
                tried(type(optimizer), p, options_of(group), state, here)


def options_of(group: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a parameter group, for parameters on the CPU."""
    return {key: value for key, value in group.items() if key != "params"} | (
        {"capturable": False} if "capturable" in group else {}
    )


def scratch(kind: type[Optimizer], shape: Sequence[int], dtype: torch.dtype, options: dict[str, Any]) -> Optimizer:
    """An optimizer of one parameter of zeros, whose gradient is zero."""
    p = torch.nn.Parameter(torch.zeros(*shape, dtype=dtype))
    p.grad = torch.zeros_like(p)
    optimizer = kind([p], lr=1.0)  # type: ignore[call-arg]
    optimizer.param_groups[0].update(options)
    return optimizer


def stepped(kind: type[Optimizer], p: Tensor, options: dict[str, Any]) -> dict[str, Any]:
    """The state of a parameter of this shape after a step."""
    optimizer = scratch(kind, p.shape, p.dtype, options)
    optimizer.step()
    state: dict[str, Any] = optimizer.state_dict()["state"].get(0, {})
    return state


def tried(kind: type[Optimizer], p: Tensor, options: dict[str, Any], state: dict[str, Any], place: str) -> None:
    """One step with stored hyperparameters and a stored state, on a parameter of zeros."""
    try:
        optimizer = scratch(kind, p.shape, p.dtype, options)
        stored = optimizer.state_dict()
        # a copy: the step changes it
        stored["state"] = {0: {k: v.clone() if isinstance(v, Tensor) else v for k, v in state.items()}}
        optimizer.load_state_dict(stored)
        optimizer.step()
    except FAILURES as error:
        raise UserError(f"{place} cannot be used by {kind.__name__}: {one_line(error, 200)}") from None


FLAT = ("d", "prev_flat_grad")
HISTORIES = ("old_dirs", "old_stps", "ro", "al")


def check_lbfgs(
    states: Mapping[int, Any], groups: Sequence[dict[str, Any]], parameters: Sequence[Tensor], place: str
) -> None:
    """L-BFGS keeps one state, of all parameters as one vector, and lists of the last directions."""
    if not states:
        return
    if states.keys() != {0}:
        refuse(f"{place}.state", f"of {len(states)} parameters", "that of the first one, which stands for all")
    state, here, most = states[0], f"{place}.state[0]", groups[0].get("history_size")
    vector = torch.zeros(sum(p.numel() for p in parameters), dtype=parameters[0].dtype)
    scalar = torch.zeros((), dtype=vector.dtype)
    for name, value in state.items():
        if name in ("func_evals", "n_iter"):
            counter(value, f"{here}.{name}")
        elif name in FLAT and value is not None:
            fits(value, vector, f"{here}.{name}")
        elif name in HISTORIES:
            if not isinstance(value, list) or type(most) is not int or len(value) > most:
                refuse(f"{here}.{name}", describe(value), f"a list of at most history_size={short(most)}")
            for i, entry in enumerate(value):
                if not (name == "al" and entry is None):
                    fits(entry, vector if name in HISTORIES[:2] else scalar, f"{here}.{name}[{i}]")
        elif isinstance(value, Tensor):
            fits(value, scalar, f"{here}.{name}")
        elif value is not None:
            number(value, f"{here}.{name}")
    if len({len(state.get(name) or []) for name in HISTORIES[:3]}) > 1:
        refuse(here, "lists of different lengths", "one old_dirs, old_stps and ro for each step that is kept")
    if "al" in state and len(state["al"]) != most:
        refuse(f"{here}.al", f"{len(state['al'])} values", f"history_size={most}")
    p = torch.zeros_like(vector)
    optimizer = LBFGS([torch.nn.Parameter(p)], lr=1.0)

    def closure() -> Tensor:
        optimizer.param_groups[0]["params"][0].grad = torch.ones_like(p)
        return torch.ones(())

    try:
        group = {
            **groups[0],
            "params": [0],
            "lr": 1.0,
            "line_search_fn": None,
        }  # the search divides by its step
        optimizer.load_state_dict({"state": copy_of(dict(states)), "param_groups": [group]})
        optimizer.step(closure)
    except FAILURES as error:
        raise UserError(f"{here} cannot be used by LBFGS: {type(error).__name__} {one_line(error, 200)}") from None


def copy_of(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: copy_of(part) for key, part in value.items()}
    return [copy_of(part) for part in value] if isinstance(value, list) else value
