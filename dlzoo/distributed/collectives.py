"""What ranks tell each other: rows that all are to see, and what each keeps in a checkpoint to go on exactly."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from dlzoo.errors import UserError
from dlzoo.utils import rng as random_state

Own = dict[str, Any]
"""random: see random_state.py; means: {name: [total, count]}; carried: {name: tensor, or tuple of them}; shared:
the state of the generator that draws alike on all ranks."""


def rank_and_world() -> tuple[int, int]:
    """(rank, world size) of this process; (0, 1) outside distributed training."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def of_all_ranks(rows: Tensor) -> Tensor:
    """The validation or test rows (n, ...) of all ranks in the order of the data; all must call it.

    Rank r of W has each W-th row from the r-th on, so the ranks may have different numbers of them.
    """
    _, world = rank_and_world()
    if world == 1:
        return rows
    parts = gather_all_tensors(rows)
    places = [torch.arange(len(part), device=rows.device) * world + rank for rank, part in enumerate(parts)]
    return torch.cat(parts)[torch.cat(places).argsort()]


def batch_mean(mean: Tensor, share: float) -> Tensor:
    """The mean over a whole training batch, of which this rank's rows have this mean; all must call it.

    Whatever is no mean over samples, such as a penalty on the mean of an activity, is computed from this. Its gradient
    is that of the local mean: a task multiplies each gradient by the share, and DDP takes the mean over the ranks.

    Args:
        mean: of this rank's rows, any shape.
        share: see `dlzoo.data.loaders.part_of`.
    """
    return mean if rank_and_world()[1] == 1 else mean + (whole_mean(mean, share) - mean.detach())


def whole_mean(mean: Tensor, share: float) -> Tensor:
    """`batch_mean` without a gradient, and the same on all ranks, bit for bit."""
    return summed(mean.detach() * share if share else torch.zeros_like(mean)) / rank_and_world()[1]


def summed(values: Tensor) -> Tensor:
    """The sum over all ranks, in place; all must call it, and all get the same, bit for bit."""
    if rank_and_world()[1] > 1:
        torch.distributed.all_reduce(values)
    return values


def largest(own: Tensor) -> Tensor:
    """The largest of all ranks, in place; all must call it.

    Not Lightning's ``reduce``: before each reduction that waits at a barrier, which doubles what a small one costs.
    """
    if rank_and_world()[1] > 1:
        torch.distributed.all_reduce(own, torch.distributed.ReduceOp.MAX)
    return own


def gathered(own: Any) -> list[Any]:
    """What each rank has, by rank; all must call it."""
    _, world = rank_and_world()
    if world == 1:
        return [own]
    found: list[Any] = [None] * world
    torch.distributed.all_gather_object(found, move_data_to_device(own, "cpu"))  # another rank has no such device
    return found


def own_of(stored: list[Own]) -> Own:
    """What this rank goes on with.

    With another number of ranks it is the same run no more: the epoch's means so far are the first rank's to report,
    nothing is carried, and each rank draws as if it had begun.
    """
    rank, world = rank_and_world()
    if len(stored) == world:
        return stored[rank]
    means: dict[str, list[Any]] = {}
    for own in stored if rank == 0 else []:
        for name, (total, count) in own["means"].items():
            before = means.setdefault(name, [torch.zeros(()), 0])
            means[name] = [before[0] if total is None else before[0] + total, before[1] + count]
    return {"random": None, "means": means, "carried": {}}


def check_together(step: int) -> None:
    """Ranks look for a checkpoint by themselves: they must have found the same one."""
    if len({*(steps := gathered(step))}) > 1:
        raise UserError(f"the processes go on from different steps, {steps}; start them again, or give ckpt=<file>")


def shared_generator(own: Own | None, drawn_so_far: Tensor | None, device: torch.device) -> torch.Generator:
    """In the same state on all ranks: that of a checkpoint, or at first that in which one process would begin.

    To be called before `begin`, for until then all ranks have drawn the same.
    """
    stored = None if own is None else own.get("shared")
    if stored is None and device.type == "cuda":
        stored = torch.cuda.get_rng_state(device)
    elif stored is None:
        stored = torch.get_rng_state() if drawn_so_far is None else drawn_so_far
    generator = torch.Generator(device)
    generator.set_state(stored.cpu())
    return generator


def begin(own: Own | None) -> None:
    """Draw at random as this rank should: on from where it stopped, or at first otherwise than the other ranks."""
    if own is not None and own["random"] is not None:
        random_state.restore(own["random"])
    else:
        random_state.offset_seed(rank_and_world()[0])
