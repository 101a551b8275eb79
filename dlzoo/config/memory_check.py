"""How much memory training needs at least, computed before any is allocated.

It covers weights and buffers, what metrics accumulate, gradients, the optimizer's state, and the copies that weight
averaging (EMA) and DDP make, but not activations, which grow with the batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torchmetrics import Metric

from dlzoo.config.compose import on_gpus
from dlzoo.errors import UserError
from dlzoo.utils import memory as free_memory
from dlzoo.utils.memory import format_bytes

MakeOptimizer = Callable[[Sequence[nn.Parameter]], Optimizer]

PROBE = 64
"""Rows and columns of the weight whose optimizer state is measured."""
WIDTHS = {"64-true": 2.0, "bf16-true": 0.5, "16-true": 0.5}
"""By trainer.precision: bytes per value, as a multiple of single precision."""


def of_training(
    task: nn.Module,
    make_optimizer: MakeOptimizer | None,
    *,
    precision: str = "32-true",
    strategy: str = "auto",
    averages_weights: bool = False,
) -> dict[str, float]:
    """Bytes by purpose that training needs on one device; the task may be on the device ``meta``.

    Args:
        make_optimizer: None if the task learns without an optimizer, and so without gradients.
        averages_weights: whether a second copy of the weights is kept (EMA).
    """
    width = WIDTHS.get(precision, 1.0)
    weights = width * num_bytes([*task.parameters(), *task.buffers()])
    gradients = width * num_bytes([p for p in task.parameters() if p.requires_grad])
    needed = {"weights": weights, "metrics": float(num_bytes(metric_states(task)))}
    if make_optimizer is not None:
        optimizer = make_optimizer([nn.Parameter(torch.ones(PROBE, PROBE))])
        needed["gradients"] = gradients
        needed[f"state of {type(optimizer).__name__}"] = gradients * state_ratio(optimizer)
    if averages_weights:
        needed["averaged weights"] = weights
    if strategy == "ddp":
        needed["DDP's buckets"] = gradients
    return {name: size for name, size in needed.items() if size}


def metric_states(task: nn.Module) -> list[Tensor]:
    """What the metrics of a task accumulate in, such as confusion matrices, which no checkpoint holds."""
    metrics = (module for module in task.modules() if isinstance(module, Metric))
    return [state for metric in metrics for state in metric.metric_state.values() if isinstance(state, Tensor)]


def num_bytes(tensors: Sequence[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def state_ratio(optimizer: Optimizer) -> float:
    """Bytes of an optimizer's state per byte of its only parameter, measured after two steps.

    >>> weight = [nn.Parameter(torch.ones(64, 64))]
    >>> [round(state_ratio(o)) for o in (torch.optim.Adam(weight), torch.optim.SGD(weight, 0.1), LBFGS(weight))]
    [2, 0, 203]
    """
    if isinstance(optimizer, LBFGS):  # its state grows up to this: two histories, and three more vectors
        return 2 * optimizer.param_groups[0]["history_size"] + 3
    (parameter,) = optimizer.param_groups[0]["params"]
    for _ in range(2):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    state = [v for v in optimizer.state[parameter].values() if isinstance(v, Tensor) and v.numel() > 1]
    return num_bytes(state) / num_bytes([parameter])


def of_device(accelerator: str) -> tuple[str, float]:
    """The device that ``trainer.accelerator`` selects, and its total memory in bytes, used or not."""
    if on_gpus(accelerator):
        return "the GPU", torch.cuda.get_device_properties(0).total_memory
    return "this machine", free_memory.limit()


def check(
    task: nn.Module,
    make_optimizer: MakeOptimizer | None,
    *,
    accelerator: str = "auto",
    precision: str = "32-true",
    strategy: str = "auto",
    averages_weights: bool = False,
) -> None:
    """Refuse training that cannot fit into memory.

    Raises:
        UserError: says what needs how much.
    """
    if strategy == "fsdp":  # each device stores a shard
        return
    needed = of_training(
        task, make_optimizer, precision=precision, strategy=strategy, averages_weights=averages_weights
    )
    place, memory = of_device(accelerator)
    if (total := sum(needed.values())) <= memory:
        return
    parts = ", ".join(f"{format_bytes(int(size))} of {name}" for name, size in needed.items())
    raise UserError(
        f"training the net with its {sum(p.numel() for p in task.parameters()):,} parameters needs at least "
        f"{format_bytes(int(total))} of memory ({parts}), and {place} has {format_bytes(int(memory))}: make the net "
        "(net.…) or its inputs smaller, or use an optimizer with less state (optimizer=sgd optimizer.momentum=0)"
    )
