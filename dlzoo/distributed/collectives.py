"""Collectives between ranks, and the per-rank state that a checkpoint stores to resume exactly."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from dlzoo.errors import UserError
from dlzoo.utils import rng as random_state

T = TypeVar("T")

RankState = dict[str, Any]
"""random: see dlzoo/utils/rng.py; means: {name: [total, count]}; carried: {name: tensor, or tuple of them}; shared:
the state of the generator that is the same on all ranks."""


def rank_and_world() -> tuple[int, int]:
    """(rank, world size) of this process; (0, 1) outside distributed training."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def gather_rows(rows: Tensor) -> Tensor:
    """Gather the validation or test rows (n, ...) of all ranks in the order of the data; all ranks must call it.

    Rank r of W has every W-th row starting from r, so ranks may have different numbers of rows.
    """
    _, world = rank_and_world()
    if world == 1:
        return rows
    parts = gather_all_tensors(rows)
    places = [torch.arange(len(part), device=rows.device) * world + rank for rank, part in enumerate(parts)]
    return torch.cat(parts)[torch.cat(places).argsort()]


def batch_mean(mean: Tensor, rank_weight: float) -> Tensor:
    """The mean over a global training batch, given the mean of this rank's rows; all ranks must call it.

    Losses that are not means over samples, such as a penalty on a mean activation, are computed from this. Its gradient
    is that of the local mean: a task scales each gradient by the weight, and DDP averages over the ranks.

    Args:
        mean: over this rank's rows, any shape.
        rank_weight: see `dlzoo.data.loaders.shard`.
    """
    return mean if rank_and_world()[1] == 1 else mean + (global_mean(mean, rank_weight) - mean.detach())


def global_mean(mean: Tensor, rank_weight: float) -> Tensor:
    """`batch_mean` without a gradient, bitwise identical on all ranks."""
    return all_reduce_sum(mean.detach() * rank_weight if rank_weight else torch.zeros_like(mean)) / rank_and_world()[1]


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum over all ranks, in place and bitwise identical; all ranks must call it."""
    if rank_and_world()[1] > 1:
        torch.distributed.all_reduce(values)
    return values


def all_reduce_max(local: Tensor) -> Tensor:
    """The maximum over all ranks, in place; all ranks must call it.

    Lightning's ``reduce`` waits at a barrier before each reduction, which doubles the cost of a small one.
    """
    if rank_and_world()[1] > 1:
        torch.distributed.all_reduce(local, torch.distributed.ReduceOp.MAX)
    return local


def gather_objects(local: T) -> list[T]:
    """The objects of all ranks, by rank; all ranks must call it."""
    _, world = rank_and_world()
    if world == 1:
        return [local]
    by_rank: list[Any] = [None] * world
    on_cpu = move_data_to_device(local, "cpu")  # other ranks do not have this device
    torch.distributed.all_gather_object(by_rank, on_cpu)
    return by_rank


def local_state(stored: list[RankState]) -> RankState:
    """The state that this rank resumes from.

    With another number of ranks the run cannot continue exactly: the first rank reports the epoch's means so far, no
    recurrent state is carried over, and each rank draws random numbers as at the start.
    """
    rank, world = rank_and_world()
    if len(stored) == world:
        return stored[rank]
    means: dict[str, list[Any]] = {}
    for local in stored if rank == 0 else []:
        for name, (total, count) in local["means"].items():
            before = means.setdefault(name, [torch.zeros(()), 0])
            means[name] = [before[0] if total is None else before[0] + total, before[1] + count]
    return {"random": None, "means": means, "carried": {}}


def check_same_step(step: int) -> None:
    """Check that all ranks, which look for a checkpoint independently, resume from the same step."""
    if len({*(steps := gather_objects(step))}) > 1:
        raise UserError(f"the processes resume from different steps, {steps}; start them again, or give ckpt=<file>")


def shared_generator(local: RankState | None, initial_state: Tensor | None, device: torch.device) -> torch.Generator:
    """A generator in the same state on all ranks: that of a checkpoint, or initially that of a single-process run.

    Call it before `seed_rank`: until then all ranks have drawn the same numbers.
    """
    stored = None if local is None else local.get("shared")
    if stored is None and device.type == "cuda":
        stored = torch.cuda.get_rng_state(device)
    elif stored is None:
        stored = torch.get_rng_state() if initial_state is None else initial_state
    generator = torch.Generator(device)
    generator.set_state(stored.cpu())
    return generator


def seed_rank(local: RankState | None) -> None:
    """Restore this rank's random state from a checkpoint, or initially seed it differently from the other ranks."""
    if local is not None and local["random"] is not None:
        random_state.restore(local["random"])
    else:
        random_state.offset_seed(rank_and_world()[0])
