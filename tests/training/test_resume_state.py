"""A stored state that does not fit its run is refused before anything reads or writes through it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from dlzoo.errors import UserError
from dlzoo.training import restore as resume_state
from dlzoo.training import restore_optimizers
from dlzoo.utils import state_checks

OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "adam": lambda p: torch.optim.Adam(p, fused=True),
    "amsgrad": lambda p: torch.optim.Adam(p, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, weight_decay=0.1),
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adamax": torch.optim.Adamax,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "adafactor": torch.optim.Adafactor,
    "asgd": torch.optim.ASGD,
    "rmsprop": lambda p: torch.optim.RMSprop(p, momentum=0.9, centered=True),
    "rprop": torch.optim.Rprop,
    "lbfgs": lambda p: torch.optim.LBFGS(p, history_size=3),
}


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 4), nn.Linear(4, 3))


def trained(name: str, steps: int = 5) -> dict[str, Any]:
    """The state of an optimizer after some steps."""
    module, x = net(), torch.randn(8, 4)
    optimizer = OPTIMIZERS[name](module.parameters())

    def closure() -> float:
        optimizer.zero_grad()
        loss = (module(x) - 1).square().mean()
        loss.backward()
        return float(loss)

    for _ in range(steps):
        optimizer.step(closure)
    return optimizer.state_dict()


def check(state: Any, name: str) -> None:
    restore_optimizers.check_optimizer(state, OPTIMIZERS[name](net().parameters()), "optimizer_states[0]")


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_state_of_the_same_net_fits(name: str, steps: int) -> None:
    state = trained(name, steps)
    before = repr(state)
    check(state, name)
    assert repr(state) == before  # trying it changes nothing


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "sgd"])
@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.reshape(-1)[:2].clone(),
        lambda t: torch.cat([t.reshape(-1), t.reshape(-1)]),
        lambda t: t.new_zeros(1).expand(t.shape) if t.numel() > 1 else t.expand(2),  # in one place of memory
        lambda t: torch.empty_like(t, device="meta"),
        lambda t: t.float().to_sparse(),
        lambda t: torch._neg_view(t.float()),
        lambda t: t.to(torch.complex64).conj(),
        lambda t: t.to(torch.complex64),
        lambda t: t.to(torch.int16) if t.is_floating_point() else t.float(),
        lambda t: "no tensor",
        lambda t: None,
        lambda t: [t],
    ],
)  # fmt: skip
def test_a_tensor_of_another_shape_or_kind_is_refused(name: str, change: Callable[[Any], Any]) -> None:
    state = trained(name)
    entries = state["state"][0]
    key = max((k for k, v in entries.items() if isinstance(v, torch.Tensor)), key=lambda k: entries[k].numel())
    entries[key] = change(entries[key])
    with pytest.raises(UserError, match=r"state\[0\]"):
        check(state, name)


def test_a_parameter_later_in_the_net_is_looked_at_too() -> None:
    state = trained("adam")
    state["state"][6]["exp_avg"] = torch.zeros(2, 4)
    with pytest.raises(UserError, match=r"state\[6\]\.exp_avg does not match this run: it is a tensor \(2, 4\)"):
        check(state, "adam")


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a parameter too many": lambda s: s["state"].update({99: s["state"][0]}),
    "a negative parameter": lambda s: s["state"].update({-1: s["state"][0]}),
    "a name": lambda s: s["state"].update({"0": {}}),
    "an entry is missing": lambda s: s["state"][0].pop("exp_avg"),
    "an entry too many": lambda s: s["state"][0].update(more=1),
    "other parameters": lambda s: s["param_groups"][0].update(params=[0, 0, 1, 2, 3, 4, 5, 6]),
    "a group too many": lambda s: s["param_groups"].append(s["param_groups"][0]),
    "no groups": lambda s: s.update(param_groups=None),
    "no state": lambda s: s.pop("state"),
    "betas": lambda s: s["param_groups"][0].update(betas=("a", 0.9)),
    "a rate that is no number": lambda s: s["param_groups"][0].update(lr=math.nan),
    "a rate that is a list": lambda s: s["param_groups"][0].update(lr=[0.1]),
    "no rate": lambda s: s["param_groups"][0].pop("lr"),
    "amsgrad without its state": lambda s: s["param_groups"][0].update(amsgrad=True),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_state_of_another_structure_is_refused(what: str) -> None:
    state = trained("adam")
    CHANGES[what](state)
    with pytest.raises(UserError, match=r"optimizer_states\[0\]"):
        check(state, "adam")


def test_lbfgs_lists_must_belong_together() -> None:
    state = trained("lbfgs")
    state["state"][0]["ro"].pop()
    with pytest.raises(UserError, match="different lengths"):
        check(state, "lbfgs")


def test_lbfgs_whose_schedule_has_ended_can_be_resumed() -> None:
    """At a rate of zero, PyTorch's line search divides by zero."""
    state = trained("lbfgs")
    state["param_groups"][0] |= {"lr": 0.0, "line_search_fn": "strong_wolfe"}
    optimizer = torch.optim.LBFGS(net().parameters(), history_size=3, line_search_fn="strong_wolfe")
    restore_optimizers.check_optimizer(state, optimizer, "optimizer_states[0]")


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [("lbfgs", name, value) for name in ("history_size", "max_iter", "max_eval") for value in (2**40, -1, 7.0, None)]
    + [("muon", "ns_steps", 2**40), ("lbfgs", "line_search_fn", "x")],
)
def test_options_that_bound_a_step_are_at_most_those_of_the_run(name: str, option: str, value: Any) -> None:
    matrices = [nn.Parameter(torch.zeros(3, 4))]
    optimizer = torch.optim.Muon(matrices) if name == "muon" else OPTIMIZERS[name](matrices)
    state = optimizer.state_dict()
    if name == "lbfgs":
        state["state"] = {}  # no step would try the options
    state["param_groups"][0][option] = value
    with pytest.raises(UserError, match=rf"param_groups\[0\]\.{option} does not match"):
        restore_optimizers.check_optimizer(state, optimizer, "optimizer_states[0]")


def test_a_schedule_takes_no_attribute_that_is_no_state_of_it() -> None:
    scheduler = torch.optim.lr_scheduler.StepLR(torch.optim.SGD(net().parameters(), lr=0.1), 3)
    resume_state.check_schedule(scheduler.state_dict(), scheduler, "lr_schedulers[0]")
    resume_state.check_schedule(scheduler.state_dict() | {"of_an_older_version": 1}, scheduler, "lr_schedulers[0]")
    for change in ({"step": 5}, {"optimizer": None}, {"last_epoch": "a"}, {"base_lrs": [0.1, 0.2]}, {"_last_lr": 0.1}):
        with pytest.raises(UserError, match=r"lr_schedulers\[0\]"):
            resume_state.check_schedule(scheduler.state_dict() | change, scheduler, "lr_schedulers[0]")


def test_numpy_would_read_beyond_its_numbers() -> None:
    from dlzoo.utils import rng as random_state

    state = random_state.capture()
    resume_state.check_random(state, "random")
    for index, value in (
        (2, 10**6),
        (2, -1),
        (2, True),
        (0, "PCG64"),
        (1, torch.zeros(3)),
        (1, torch.zeros(624)),
        (4, ""),
    ):
        numpy = [*state["numpy"]]
        numpy[index] = value
        with pytest.raises(UserError, match=r"random\.numpy"):
            resume_state.check_random(state | {"numpy": numpy}, "random")


@pytest.mark.parametrize(
    "path", ["/elsewhere/best.ckpt", "/run/checkpoints/../../x.ckpt", "s3://bucket/best.ckpt", "/run/checkpoints", 3]
)
def test_a_best_checkpoint_outside_of_the_run_is_never_read_or_removed(path: Any) -> None:
    from lightning.pytorch.callbacks import ModelCheckpoint

    callback = ModelCheckpoint(dirpath="/run/checkpoints", monitor="val/loss")
    inside = "/run/checkpoints/best.ckpt"
    score = torch.tensor(0.5)
    state = callback.state_dict() | {
        "best_model_score": score, "best_model_path": inside, "best_k_models": {inside: score},
        "kth_best_model_path": inside, "kth_value": score,
    }  # fmt: skip
    resume_state.check_callback(state, callback, "callbacks.ModelCheckpoint")
    for change in (
        {"best_model_path": path},
        {"best_k_models": {path: score}, "kth_best_model_path": path},
        {"kth_best_model_path": path},
        {"last_model_path": path},
    ):
        with pytest.raises(UserError, match=r"callbacks\.ModelCheckpoint"):
            resume_state.check_callback(state | change, callback, "callbacks.ModelCheckpoint")


def test_what_fails_while_restoring_is_a_sentence_and_the_disk_is_not() -> None:
    with (
        pytest.raises(UserError, match=r"ckpt=a\.ckpt does not match this run: KeyError: 'x'"),
        state_checks.restoring("a.ckpt"),
    ):
        raise KeyError("x")
    with pytest.raises(UserError, match=r"^ckpt=a\.ckpt: odd$"), state_checks.restoring("a.ckpt"):
        raise UserError("odd")
    for error in (OSError(28, "No space left"), MemoryError(), KeyboardInterrupt()):
        with pytest.raises(type(error)), state_checks.restoring(Path("a.ckpt")):
            raise error
    with pytest.raises(KeyError), state_checks.restoring(None):  # nothing is restored
        raise KeyError("x")


@pytest.mark.parametrize(
    "value", [torch.zeros(2).to(torch.float8_e4m3fn), torch.zeros(2, device="meta"), torch.zeros(2).int()]
)
def test_tensors_that_no_task_carries(value: Any) -> None:
    state_checks.tensors((torch.zeros(2), None, torch.zeros(2, dtype=torch.bfloat16)), "carried")
    with pytest.raises(UserError, match=r"carried\[0\]"):
        state_checks.tensors([value], "carried")
