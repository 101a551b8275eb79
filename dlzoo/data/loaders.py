"""Loaders: the in-memory path, where a batch is one gather, and the worker path for what must be read from disk.

In memory, tensors live where the model lives: nine times faster than a `DataLoader` that collates single samples on
MNIST with a small net (scripts/bench.py). Both paths share `Loader`, so they give the same rows in the same order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dlzoo.distributed.collectives import rank_and_world
from dlzoo.errors import UserError
from dlzoo.specs.batch import Batch, first_tensor, map_tensors, tensors


class Arrays(NamedTuple):
    """The rows of a split. x: (N, ...) uint8 or float32; y: (N,) int64 or (N, D) float32; weight: (N,) or None.

    Several inputs or targets are dicts by name.
    """

    x: Any
    y: Any
    weight: Tensor | None = None

    def take(self, rows: Tensor) -> Arrays:
        """The rows of these numbers (n,), a copy."""
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
    """Pictures as nets want them: uint8 becomes float32 in [0, 1]."""
    return x.float().mul_(1 / 255) if x.dtype == torch.uint8 else x


def part_of(batch: Tensor, rank: int, world: int, least: int = 2) -> tuple[Tensor, float]:
    """A rank's rows of a batch, rows: (n,), and its share: what its mean loss counts in the mean over the ranks.

    With these shares that mean is the mean of the whole batch, also where it cannot be divided evenly. Where it has
    fewer than ``least`` rows for each rank, as a last batch may, some ranks get none, for BatchNorm cannot be trained
    on one row. They must take part in the step nevertheless: they are given rows of others, and their share is 0.

    >>> [part_of(torch.arange(5), rank, 2) for rank in (0, 1)]
    [(tensor([0, 2, 4]), 1.2), (tensor([1, 3]), 0.8)]
    """
    num_taking = max(min(world, len(batch) // least), 1)
    if rank >= num_taking:
        return batch[:least], 0.0
    rows = batch[rank::num_taking]
    return rows, len(rows) * world / len(batch)


class Loader(ABC):
    """Which rows go into which batch: a pure function of (seed, epoch), shared out to the ranks.

    The batches of training, for which rows are shuffled, are those of a single process whatever the number of ranks:
    each rank takes its part of each. Every row is there once an epoch, and all ranks take equally many steps. In
    validation and test each rank has batches of its own, and every row is in one of them.

    Lightning calls ``sampler.set_epoch`` before each epoch, and checkpoints hold `state_dict`: a continued run sees the
    batches that it would have seen, also from the middle of an epoch.

    Args:
        num_rows: of the split.
        batch_size: in training of all ranks together, else of each.
        shuffle: for training.
        seed: of the order.

    Raises:
        UserError: with so many ranks some would always have nothing to do.
    """

    shares_rows = True
    """Whether each rank has rows of its own in validation and test."""

    def __init__(self, num_rows: int, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> None:
        self.num_rows = num_rows
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self.same_each_epoch = not shuffle
        self.position = 0
        """Batches that were taken from the iteration that began last."""
        self.shares: list[float] = []
        """Of this rank in each training batch of the epoch, see `part_of`."""
        self._sizes: list[int] = []
        """Of the epoch's training batches, of all ranks together."""
        self._stored: dict[str, int] | None = None
        _, world = rank_and_world()
        if shuffle and batch_size < world:
            raise UserError(
                f"data.batch_size={batch_size} is the batch of all {world} processes together, so some would have no "
                f"row: raise it, or lower trainer.devices"
            )
        if not shuffle and self.shares_rows and num_rows < world:
            raise UserError(
                f"{num_rows} rows of validation or test cannot be shared out to {world} processes: keep more of them "
                "(data.val_size, data.val_fraction), or lower trainer.devices"
            )

    @property
    def sampler(self) -> Loader:
        """Where Lightning looks for ``set_epoch``: absent where the order is the same in each epoch."""
        if self.same_each_epoch:
            raise AttributeError("sampler")
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next iteration goes on where the stored one stood, if it is of the same epoch."""
        self._stored = dict(state)

    def __iter__(self) -> Iterator[Batch]:
        # A generator: all this is read when the first batch is wanted, as Lightning sets the epoch after iter().
        stored, self._stored = self._stored, None
        self.position = stored["position"] if stored and stored["epoch"] == self.epoch else 0
        for batch in self.iterate(self.position):
            self.position += 1
            yield batch
        self.position = 0

    def order(self) -> Tensor:
        """The row numbers of a training epoch, of all ranks."""
        return torch.randperm(
            self.num_rows, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        )

    def whole_batches(self, order: Tensor) -> list[Tensor]:
        """Training batches, of all ranks together. A last one of one row borrows a second: BatchNorm needs two."""
        n, size = len(order), self.batch_size
        sizes = [min(size, n - start) for start in range(0, n, size)]
        if size > 2 and len(sizes) > 1 and sizes[-1] == 1:
            sizes[-2:] = [size - 1, 2]
        return list(order.split(sizes))

    def eval_rows(self) -> Tensor:
        """This rank's row numbers in validation and test."""
        rank, world = rank_and_world()
        return torch.arange(rank, self.num_rows, world)

    def batches(self, device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
        """The row numbers of each batch of this rank."""
        if not self.shuffle:
            return self.eval_rows().to(device).split(self.batch_size) if self.num_rows else ()
        whole = self.whole_batches(self.order().to(device))
        parts, shares = zip(*map(self.part_of, whole), strict=True)
        self.shares, self._sizes = list(shares), [len(batch) for batch in whole]
        return parts

    def part_of(self, batch: Tensor) -> tuple[Tensor, float]:
        """This rank's rows of a training batch, and its share."""
        rank, world = rank_and_world()
        return part_of(batch, rank, world, least=2 if self.batch_size >= 2 * world else 1)

    def places(self, index: int) -> tuple[Tensor, int]:
        """Where this rank's rows stand in a training batch of the epoch, (n,), and how many it has."""
        num_rows = self._sizes[index]
        return self.part_of(torch.arange(num_rows))[0], num_rows

    def rows_of(self, index: int) -> Tensor:
        """The row numbers of one batch of the current epoch."""
        return self.batches()[index]

    def __len__(self) -> int:
        rank, world = rank_and_world()
        num_rows = self.num_rows if self.shuffle else len(range(rank, self.num_rows, world))
        return -(-num_rows // self.batch_size)

    @abstractmethod
    def iterate(self, start: int) -> Iterator[Batch]:
        """The batches of the current epoch from this one on."""


class TensorLoader(Loader):
    """Batches of `Arrays`, gathered where the arrays are."""

    def __init__(self, arrays: Arrays, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> None:
        super().__init__(arrays.num_rows, batch_size, shuffle=shuffle, seed=seed)
        self.arrays = arrays

    def iterate(self, start: int) -> Iterator[Batch]:
        batch = Batch(*self.arrays)
        for rows in self.batches(first_tensor(batch.target).device)[start:]:
            yield batch.map(partial(Tensor.index_select, dim=0, index=rows))  # 3 times as fast as t[rows] on a CPU


PATIENCE_SECONDS = 300
"""That workers have for a batch: one without memory for a thread stays silent for ever."""


class WorkerLoader(Loader):
    """Batches that worker processes read while the model trains.

    Each iteration starts its own workers: lasting ones (``persistent_workers``) would serve one iteration at a time,
    so whoever looks at a batch while an epoch runs would take it away from the epoch.

    Args:
        read: row numbers -> anything made of tensors and plain values; called in the workers, so it is pickled.
        receive: what ``read`` gave -> a batch; called in this process, and may raise what the user is to see.
        num_workers: processes; 0 reads in this one.
        pin_memory: for the copy to a GPU.
    """

    def __init__(
        self,
        read: Callable[[list[int]], Any],
        receive: Callable[[Any], Batch],
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
            batch_size=None,  # the sampler gives whole batches of row numbers
            sampler=[rows.tolist() for rows in self.batches()[start:]],
            collate_fn=_as_it_is,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            generator=torch.Generator().manual_seed(self.seed),  # else it draws from the model's random numbers
            timeout=PATIENCE_SECONDS if self.num_workers else 0,
        )
        return map(self.receive, workers)


class _Reader(Dataset[Any]):
    def __init__(self, read: Callable[[list[int]], Any]) -> None:
        self.read = read

    def __getitem__(self, rows: Any) -> Any:
        return self.read(rows)


def _as_it_is(batch: Any) -> Any:
    return batch
