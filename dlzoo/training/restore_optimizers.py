"""Checks an optimizer's stored state against the parameters that it is for, before the optimizer loads it.

With a state of the wrong shape, a fused optimizer would read and write outside its tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from dlzoo.config.optimizer_options import LINE_SEARCHES
from dlzoo.errors import UserError, one_line, short
from dlzoo.utils.state_checks import FAILURES, counter, describe, fits, mapping, number, refuse, sequence

EFFORT = ("history_size", "max_iter", "max_eval", "ns_steps")
"""Options that bound the memory and the time of a single step: of a stranger's they could be without end."""


def check_optimizer(stored: object, optimizer: Optimizer, place: str) -> None:
    """Check a stored state against the parameters of the optimizer that will load it."""
    content, fresh = mapping(stored, place), optimizer.state_dict()
    if not fresh:  # Lightning's placeholder for a task without an optimizer
        if content:
            refuse(place, describe(content), "empty: this task has no optimizer")
        return
    groups = sequence(content.get("param_groups"), f"{place}.param_groups", len(fresh["param_groups"]))
    for i, (group, expected) in enumerate(zip(groups, fresh["param_groups"], strict=True)):
        check_group(group, expected, f"{place}.param_groups[{i}]")
    states = mapping(content.get("state"), f"{place}.state")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, state in states.items():
        if type(index) is not int or not 0 <= index < len(parameters):
            refuse(f"{place}.state", f"an entry {short(index)!r}", f"parameters 0 to {len(parameters) - 1}")
        mapping(state, f"{place}.state[{index}]")
    if isinstance(optimizer, LBFGS):
        check_lbfgs(states, groups, parameters, place)
    else:
        check_states(states, groups, optimizer, place)


def check_group(stored: object, expected: Mapping[str, object], place: str) -> None:
    group = mapping(stored, place)
    indices = sequence(expected["params"], f"{place}.params")
    if group.get("params") != indices:
        refuse(f"{place}.params", short(group.get("params")), f"the {len(indices)} parameters of this net")
    for name, value in expected.items():
        if name != "params" and name in group:
            fits(group[name], value, f"{place}.{name}")
    for name in EFFORT:
        most = expected.get(name)
        if isinstance(most, int) and counter(group.get(name, most), f"{place}.{name}") > most:
            refuse(f"{place}.{name}", short(group[name]), f"at most {most} (or give optimizer.{name}=…)")
    if "lr" not in group:
        refuse(place, "no lr", "the learning rate")


def check_states(
    states: Mapping[int, Mapping[str, object]],
    groups: Sequence[Mapping[str, object]],
    optimizer: Optimizer,
    place: str,
) -> None:
    """Compare each state with that of a parameter of the same shape after a step; try one state per shape in a step."""
    index = 0
    for group, built_group in zip(groups, optimizer.param_groups, strict=True):
        expected: dict[tuple[tuple[int, ...], torch.dtype], dict[str, object]] = {}
        for p in built_group["params"]:
            kind, state = (tuple(p.shape), p.dtype), states.get(index)
            key, index = f"{place}.state[{index}]", index + 1
            if not state:
                continue  # a parameter that has had no gradient so far
            is_first = kind not in expected
            if is_first:
                expected[kind] = state_after_step(type(optimizer), p, options_of(built_group))
            if state.keys() != expected[kind].keys():
                refuse(key, f"with {short(', '.join(map(str, state)))}", ", ".join(expected[kind]))
            for name, value in expected[kind].items():
                fits(state[name], value, f"{key}.{name}")
            if is_first:
                try_step(type(optimizer), p, options_of(group), state, key)


def options_of(group: Mapping[str, object]) -> dict[str, object]:
    """The options of a parameter group, for parameters on the CPU."""
    return {key: value for key, value in group.items() if key != "params"} | (
        {"capturable": False} if "capturable" in group else {}
    )


def scratch_optimizer(
    kind: type[Optimizer], shape: Sequence[int], dtype: torch.dtype, options: Mapping[str, object]
) -> Optimizer:
    """An optimizer of a single parameter of zeros, whose gradient is zero."""
    p = torch.nn.Parameter(torch.zeros(*shape, dtype=dtype))
    p.grad = torch.zeros_like(p)
    optimizer = kind([p], lr=1.0)  # type: ignore[call-arg]
    optimizer.param_groups[0].update(options)
    return optimizer


def state_after_step(kind: type[Optimizer], p: Tensor, options: Mapping[str, object]) -> dict[str, object]:
    """The state of a parameter of this shape after one step."""
    optimizer = scratch_optimizer(kind, p.shape, p.dtype, options)
    optimizer.step()
    state: dict[str, object] = optimizer.state_dict()["state"].get(0, {})
    return state


def try_step(
    kind: type[Optimizer], p: Tensor, options: Mapping[str, object], state: Mapping[str, object], place: str
) -> None:
    """Take one step with stored hyperparameters and a stored state, on a parameter of zeros."""
    try:
        optimizer = scratch_optimizer(kind, p.shape, p.dtype, options)
        content = optimizer.state_dict()
        # copied, since the step changes it
        content["state"] = {0: {k: v.clone() if isinstance(v, Tensor) else v for k, v in state.items()}}
        optimizer.load_state_dict(content)
        optimizer.step()
    except FAILURES as error:
        raise UserError(f"{place} cannot be used by {kind.__name__}: {one_line(error, 200)}") from None


FLAT = ("d", "prev_flat_grad")
HISTORIES = ("old_dirs", "old_stps", "ro", "al")


def check_lbfgs(
    states: Mapping[int, Mapping[str, object]],
    groups: Sequence[Mapping[str, object]],
    parameters: Sequence[Tensor],
    place: str,
) -> None:
    """L-BFGS has a single state, for all parameters as one vector, with lists of the latest directions."""
    for i, group in enumerate(groups):
        if (given := group.get("line_search_fn")) not in LINE_SEARCHES:
            refuse(f"{place}.param_groups[{i}].line_search_fn", describe(given), "strong_wolfe, or nothing")
    if not states:
        return
    if states.keys() != {0}:
        refuse(f"{place}.state", f"of {len(states)} parameters", "that of the first parameter, which stands for all")
    state, key, history_size = states[0], f"{place}.state[0]", groups[0].get("history_size")
    vector = torch.zeros(sum(p.numel() for p in parameters), dtype=parameters[0].dtype)
    scalar = torch.zeros((), dtype=vector.dtype)
    lengths: dict[str, int] = {}
    for name, value in state.items():
        if name in ("func_evals", "n_iter"):
            counter(value, f"{key}.{name}")
        elif name in FLAT and value is not None:
            fits(value, vector, f"{key}.{name}")
        elif name in HISTORIES:
            if not isinstance(value, list) or type(history_size) is not int or len(value) > history_size:
                refuse(f"{key}.{name}", describe(value), f"a list of at most history_size={short(history_size)}")
            lengths[name] = len(value)
            for i, entry in enumerate(value):
                if not (name == "al" and entry is None):
                    fits(entry, vector if name in HISTORIES[:2] else scalar, f"{key}.{name}[{i}]")
        elif isinstance(value, Tensor):
            fits(value, scalar, f"{key}.{name}")
        elif value is not None:
            number(value, f"{key}.{name}")
    if len({lengths.get(name, 0) for name in HISTORIES[:3]}) > 1:
        refuse(key, "lists of different lengths", "one old_dirs, old_stps and ro for each stored step")
    if "al" in lengths and lengths["al"] != history_size:
        refuse(f"{key}.al", f"{lengths['al']} values", f"history_size={history_size}")
    p = torch.zeros_like(vector)
    optimizer = LBFGS([torch.nn.Parameter(p)], lr=1.0)

    def closure() -> Tensor:
        optimizer.param_groups[0]["params"][0].grad = torch.ones_like(p)
        return torch.ones(())

    try:
        # without a line search, which divides by the step length
        group = {**groups[0], "params": [0], "lr": 1.0, "line_search_fn": None}
        optimizer.load_state_dict({"state": copy_tree(dict(states)), "param_groups": [group]})
        optimizer.step(closure)
    except FAILURES as error:
        raise UserError(f"{key} cannot be used by LBFGS: {type(error).__name__} {one_line(error, 200)}") from None


def copy_tree(value: object) -> object:
    """Nested dicts and lists with each tensor cloned."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: copy_tree(part) for key, part in value.items()}
    return [copy_tree(part) for part in value] if isinstance(value, list) else value
