"""Loaders: in memory, where a batch is one gather, and with workers, for data that are read from disk.

In memory, tensors are kept on the model's device: nine times faster than a `DataLoader` that collates single samples on
MNIST with a small net (scripts/bench.py). Both derive from `Loader`, so they yield the same rows in the same order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dlzoo.distributed.collectives import rank_and_world
from dlzoo.errors import UserError
from dlzoo.specs.batch import Batch, first_tensor, map_tensors, tensors

T = TypeVar("T")


class Arrays(NamedTuple):
    """The rows of a split. x: (N, ...) uint8 or float32; y: (N,) int64 or (N, D) float32; weight: (N,) or None.

    Several inputs or targets are dicts of tensors by name.
    """

    x: Any
    y: Any
    weight: Tensor | None = None

    def take(self, rows: Tensor) -> Arrays:
        """A copy of the rows with these indices, (n,)."""
        return Arrays(*(map_tensors(lambda t: t.index_select(0, rows), part) for part in self))

    def to(self, device: torch.device) -> Arrays:
        return Arrays(*(map_tensors(lambda t: t.to(device), part) for part in self))

    @property
    def num_rows(self) -> int:
        return len(first_tensor(self.y))

    @property
    def num_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for part in self for t in tensors(part))


def as_float(x: Tensor) -> Tensor:
    """Bytes scaled to [0, 1] as nets take images, the product in place, which saves a third of the time; other types
    unchanged."""
    return x.to(torch.float32).mul_(1 / 255) if x.dtype == torch.uint8 else x


def shard(batch: Tensor, rank: int, world: int, min_rows: int = 2) -> tuple[Tensor, float]:
    """A rank's row indices (n,) of a global batch, and the rank's weight in the mean over all ranks.

    With these weights, the mean of the ranks' mean losses is the mean over the global batch, even if its size is not
    divisible by the number of ranks. If it has fewer than ``min_rows`` rows per rank, as a last batch may, some ranks
    get none of their own, since BatchNorm cannot be trained on one row. They must still take part in the step, so they
    are given rows of other ranks and weight 0.

    >>> [shard(torch.arange(5), rank, 2) for rank in (0, 1)]
    [(tensor([0, 2, 4]), 1.2), (tensor([1, 3]), 0.8)]
    """
    num_shards = max(min(world, len(batch) // min_rows), 1)
    if rank >= num_shards:
        return batch[:min_rows], 0.0
    rows = batch[rank::num_shards]
    return rows, len(rows) * world / len(batch)


class Loader(ABC):
    """Assigns rows to batches as a pure function of (seed, epoch), and distributes them over the ranks.

    Training batches, whose rows are shuffled, are those of a single process for any number of ranks: each rank takes
    its shard of each batch. Every row occurs once per epoch, and all ranks make the same number of steps. In
    validation and test each rank has its own batches, and every row is in one of them.

    Lightning calls ``sampler.set_epoch`` before each epoch, and checkpoints store `state_dict`: a resumed run sees the
    same batches as an uninterrupted one, even from the middle of an epoch.

    Args:
        num_rows: of the split.
        batch_size: over all ranks in training, per rank otherwise.
        shuffle: for training.
        seed: determines the order.

    Raises:
        UserError: with so many ranks some would always have nothing to do.
    """

    shards_rows = True
    """Whether validation and test rows are distributed over the ranks."""

    def __init__(self, num_rows: int, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> None:
        self.num_rows = num_rows
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self.same_each_epoch = not shuffle
        self.position = 0
        """Batches yielded by the latest iteration."""
        self.rank_weights: list[float] = []
        """This rank's weight in each training batch of the epoch, see `shard`."""
        self.batch_sizes: list[int] = []
        """What the epoch's training batches count over all ranks, beside the others of a step: rows or `counts`."""
        self.num_rows_of: list[int] = []
        """Rows of each of these batches."""
        self._stored: dict[str, int] | None = None
        _, world = rank_and_world()
        if shuffle and batch_size < world:
            raise UserError(
                f"data.batch_size={batch_size} is the batch size over all {world} processes, so some would get none: "
                "raise it, or lower trainer.devices"
            )
        if not shuffle and self.shards_rows and num_rows < world:
            raise UserError(
                f"{num_rows} validation or test rows cannot be distributed over {world} processes: hold out more "
                "(data.val_size, data.val_fraction), or lower trainer.devices"
            )

    @property
    def sampler(self) -> Loader:
        """Where Lightning looks for ``set_epoch``; absent if the order is the same in each epoch."""
        if self.same_each_epoch:
            raise AttributeError("sampler")
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration resume at the stored position, if it is of the same epoch."""
        self._stored = dict(state)

    def __iter__(self) -> Iterator[Batch]:
        # A generator, so that this runs when the first batch is requested: Lightning sets the epoch after iter().
        stored, self._stored = self._stored, None
        self.position = stored["position"] if stored and stored["epoch"] == self.epoch else 0
        for batch in self.iterate(self.position):
            self.position += 1
            yield batch
        self.position = 0

    def order(self) -> Tensor:
        """The row indices of a training epoch, for all ranks."""
        return torch.randperm(
            self.num_rows, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        )

    def global_batches(self, order: Tensor) -> list[Tensor]:
        """Training batches over all ranks.

        A last batch of one row, on which BatchNorm cannot be trained, takes a second from the previous one, or joins it
        if that has two.
        """
        n, size = len(order), self.batch_size
        sizes = [min(size, n - start) for start in range(0, n, size)]
        if size > 1 and len(sizes) > 1 and sizes[-1] == 1:
            sizes[-2:] = [size - 1, 2] if size > 2 else [3]
        return list(order.split(sizes))

    def eval_rows(self) -> Tensor:
        """This rank's row indices in validation and test."""
        rank, world = rank_and_world()
        return torch.arange(rank, self.num_rows, world)

    def batches(self, device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
        """The row indices of each batch of this rank."""
        if not self.shuffle:
            return self.eval_rows().to(device).split(self.batch_size) if self.num_rows else ()
        global_batches = self.global_batches(self.order().to(device))
        shards, weights = zip(*map(self.shard, global_batches), strict=True)
        self.rank_weights, self.num_rows_of = list(weights), [len(batch) for batch in global_batches]
        self.batch_sizes = self.num_rows_of
        if (counts := self.counts()) is not None:
            _, world = rank_and_world()
            self.batch_sizes = [int(counts[batch.cpu()].sum()) for batch in global_batches]
            self.rank_weights = [
                int(counts[rows.cpu()].sum()) * world / total if weight else 0.0
                for rows, total, weight in zip(shards, self.batch_sizes, weights, strict=True)
            ]
        return shards

    def counts(self) -> Tensor | None:
        """(N,) how much each row counts in the mean loss, such as its tokens; None if all count alike."""
        return None

    def shard(self, batch: Tensor) -> tuple[Tensor, float]:
        """This rank's rows of a training batch, and its weight."""
        rank, world = rank_and_world()
        return shard(batch, rank, world, min_rows=2 if self.batch_size >= 2 * world else 1)

    def positions(self, index: int) -> tuple[Tensor, int]:
        """Positions (n,) of this rank's rows in a global training batch of the epoch, and its number of rows."""
        num_rows = self.num_rows_of[index]
        return self.shard(torch.arange(num_rows))[0], num_rows

    def rows_of(self, index: int) -> Tensor:
        """The row indices of one batch of the current epoch."""
        return self.batches()[index]

    def __len__(self) -> int:
        rank, world = rank_and_world()
        num_rows = self.num_rows if self.shuffle else len(range(rank, self.num_rows, world))
        if self.shuffle and self.batch_size == 2 and num_rows > 2:
            return num_rows // 2  # see `global_batches`
        return -(-num_rows // self.batch_size)

    @abstractmethod
    def iterate(self, start: int) -> Iterator[Batch]:
        """The batches of the current epoch from index ``start`` on."""


class TensorLoader(Loader):
    """Batches of `Arrays`, gathered on their device."""

    def __init__(self, arrays: Arrays, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> None:
        super().__init__(arrays.num_rows, batch_size, shuffle=shuffle, seed=seed)
        self.arrays = arrays

    def iterate(self, start: int) -> Iterator[Batch]:
        batch = Batch(*self.arrays)
        for rows in self.batches(first_tensor(batch.target).device)[start:]:
            yield batch.map(partial(Tensor.index_select, dim=0, index=rows))  # three times as fast as t[rows] on a CPU


WORKER_TIMEOUT_SECONDS = 300
"""Limit for a worker to return a batch: one that runs out of memory for a thread hangs forever."""


class WorkerLoader(Loader, Generic[T]):
    """Batches read by worker processes while the model trains.

    Each iteration starts its own workers: with ``persistent_workers`` they would serve a single iteration, so that
    looking at a batch during an epoch would take it away from that epoch.

    Args:
        read: row indices -> any tensors and plain values; called in the workers, so it is pickled.
        receive: the result of ``read`` -> a batch; called in the main process, so it may raise errors for the user.
        num_workers: worker processes; 0 reads in the main process.
        pin_memory: for faster copies to a GPU.
    """

    def __init__(
        self,
        read: Callable[[list[int]], T],
        receive: Callable[[T], Batch],
        num_rows: int,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(num_rows, batch_size, shuffle=shuffle, seed=seed)
        self.read = read
        self.receive = receive
        self.num_workers = num_workers
        self.pin_memory = pin_memory

    def iterate(self, start: int) -> Iterator[Batch]:
        workers = DataLoader(
            _Reader(self.read),
            batch_size=None,  # the sampler yields batches of row indices
            sampler=[rows.tolist() for rows in self.batches()[start:]],
            collate_fn=_identity,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            generator=torch.Generator().manual_seed(self.seed),  # otherwise it would draw from the global generator
            timeout=WORKER_TIMEOUT_SECONDS if self.num_workers else 0,
        )
        return map(self.receive, workers)


class _Reader(Dataset[T]):
    def __init__(self, read: Callable[[list[int]], T]) -> None:
        self.read = read

    def __getitem__(self, rows: list[int]) -> T:  # the sampler yields lists
        return self.read(rows)


def _identity(batch: T) -> T:
    return batch


def all_except(indices: Iterable[int], num: int) -> Tensor:
    """A mask (num,) that excludes these indices."""
    mask = torch.ones(num, dtype=torch.bool)
    mask[list(indices)] = False
    return mask
