"""How much memory training takes at least, counted before any of it is asked for.

Counted: weights and buffers, gradients, the optimizer's state, and the copies that averaging (EMA) and DDP make. Not
counted: what grows with the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from dlzoo.errors import UserError
from dlzoo.utils import memory as free_memory
from dlzoo.utils.memory import format_bytes

PROBE = 64
"""Rows and columns of the weight whose optimizer state is looked at."""
WIDTHS = {"64-true": 2.0, "bf16-true": 0.5, "16-true": 0.5}
"""By trainer.precision: bytes of what is kept, as a multiple of single precision."""


def of_training(
    task: nn.Module, make_optimizer: Callable[[Sequence[nn.Parameter]], Optimizer] | None, cfg: Any
) -> dict[str, float]:
    """Bytes, by what they are for, of a run on one device; the task may be on the device ``meta``.

    Args:
        make_optimizer: None where the task learns without an optimizer, and so without gradients.
    """
    trainer = cfg.trainer
    width = WIDTHS.get(str(trainer.get("precision")), 1.0)
    weights = width * num_bytes([*task.parameters(), *task.buffers()])
    gradients = width * num_bytes([p for p in task.parameters() if p.requires_grad])
    needed = {"weights": weights}
    if make_optimizer is not None:
        optimizer = make_optimizer([nn.Parameter(torch.ones(PROBE, PROBE))])
        needed["gradients"] = gradients
        needed[f"state of {type(optimizer).__name__}"] = gradients * state_ratio(optimizer)
    for node in (cfg.callbacks or {}).values():
        if node and "WeightAveraging" in str(node.get("_target_")):
            needed["averaged weights"] = weights
    if trainer.get("strategy") == "ddp":
        needed["DDP's buckets"] = gradients
    return {name: size for name, size in needed.items() if size}


def num_bytes(tensors: Sequence[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def state_ratio(optimizer: Optimizer) -> float:
    """Bytes of an optimizer's state for each byte of its one parameter, which is stepped twice to see.

    >>> weight = [nn.Parameter(torch.ones(64, 64))]
    >>> [round(state_ratio(o)) for o in (torch.optim.Adam(weight), torch.optim.SGD(weight, 0.1), LBFGS(weight))]
    [2, 0, 203]
    """
    if isinstance(optimizer, LBFGS):  # its state grows: steps and changes of the gradient, then three more vectors
        return 2 * optimizer.param_groups[0]["history_size"] + 3
    (parameter,) = optimizer.param_groups[0]["params"]
    for _ in range(2):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    kept = [v for v in optimizer.state[parameter].values() if isinstance(v, Tensor) and v.numel() > 1]
    return num_bytes(kept) / num_bytes([parameter])


def of_device(cfg: Any) -> tuple[str, float]:
    """The device that the config asks for, and its memory in bytes: all of it, whoever uses it now."""
    if torch.cuda.is_available() and cfg.trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda"):
        return "the GPU", torch.cuda.get_device_properties(0).total_memory
    return "this machine", free_memory.limit()


def check(task: nn.Module, make_optimizer: Callable[[Sequence[nn.Parameter]], Optimizer] | None, cfg: Any) -> None:
    """Refuse training that cannot fit into memory.

    Raises:
        UserError: says what was counted.
    """
    if cfg.trainer.get("strategy") == "fsdp":  # each device has a share
        return
    needed = of_training(task, make_optimizer, cfg)
    place, memory = of_device(cfg)
    if (total := sum(needed.values())) <= memory:
        return
    parts = ", ".join(f"{format_bytes(int(size))} of {name}" for name, size in needed.items())
    raise UserError(
        f"training the net with its {sum(p.numel() for p in task.parameters()):,} parameters takes at least "
        f"{format_bytes(int(total))} of memory ({parts}), and {place} has {format_bytes(int(memory))}: make the "
        "net (net.…) or its inputs smaller, or take an optimizer that keeps less (optimizer=sgd optimizer.momentum=0)"
    )
