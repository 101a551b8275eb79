"""A folder of your own images: one folder a class, each image decoded once when they fit into memory.

Larger sets are decoded by worker processes in every epoch. Both ways give the same rows in the same order, so only
their speed tells them apart.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.base import InMemoryData, Placement
from dlzoo.data.fingerprint import hash_names
from dlzoo.data.images.decode import EXTENSIONS, Decode, Fit, others, read_images
from dlzoo.data.loaders import Arrays, Loader, WorkerLoader
from dlzoo.data.splits import holdout
from dlzoo.errors import UserError
from dlzoo.specs.base import Target
from dlzoo.specs.batch import Batch
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes
from dlzoo.utils.download import folder_of
from dlzoo.utils.files import SYSTEM
from dlzoo.utils.memory import free_megabytes
from dlzoo.utils.processes import check_processes

Split = Literal["train", "val", "test"]

SPLIT_FOLDERS: dict[str, Split] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
NUM_FIT_IMAGES = 10_000
"""Of a set that is not in memory, mean and standard deviation are fitted on so many training images at most."""


class ImageFolder(InMemoryData):
    """Images in ``path``, one folder a class, or so in each of ``path/train``, ``path/val`` and ``path/test``.

    Where there is no ``test`` folder a fixed share of train is the test set, whatever the run's seed; where there is
    no ``val`` folder the validation rows come out of train as for other data.

    Args:
        path: the folder; classes are named as its folders, in alphabetical order. Deeper folders belong to a class.
        size: height and width in pixels, or one number for both.
        channels: 1 is grey, 3 is colour.
        fit: scale until the image covers the size and take its centre (crop), or change its proportions (squash).
        placement: decode once and keep the tensors as other data do (device, host), or decode in worker processes in
            every epoch (workers); auto does the first where all images take no more than ``memory_mb``, and no more
            than half of the memory that is free, whether the machine, a container or ``ulimit`` sets the limit.
        memory_mb: megabytes (2^20 bytes) that decoded images may take.
        num_workers: processes that decode; None is one for each processor, at most 4; 0 decodes in the main process.
        on_error: what to do about a file that cannot be read: stop, or leave it out with a warning. What was left out
            is in ``skipped``.
        test_fraction: share of the images that is the test set where it has no folder, stratified.
        test_seed: chooses the test images; not the run's seed, so that runs can be compared.
    """

    def __init__(
        self,
        *,
        path: str | os.PathLike[str],
        size: int | Sequence[int] = 64,
        channels: Literal[1, 3] = 3,
        fit: Fit = "crop",
        placement: Placement = "auto",
        memory_mb: float = 1024,
        num_workers: int | None = None,
        on_error: Literal["refuse", "skip"] = "refuse",
        test_fraction: float = 0.2,
        test_seed: int = 0,
        **common: Any,
    ) -> None:
        super().__init__(placement="auto" if placement == "workers" else placement, **common)
        sizes = [size, size] if isinstance(size, int) else [*size]
        if len(sizes) != 2 or min(sizes) < 1:
            raise UserError(f"data.size={size} must be one number of pixels, or height and width: [64, 96]")
        if channels not in (1, 3):
            raise UserError(f"data.channels={channels} must be 1 (grey) or 3 (colour)")
        if num_workers is not None and num_workers < 0:
            raise UserError(f"data.num_workers={num_workers} must not be negative")
        check_processes("data.num_workers", num_workers)
        if not 0 < test_fraction < 1:
            raise UserError(f"data.test_fraction={test_fraction} must lie between 0 and 1")
        self.path = folder_of(path)
        self.decode = Decode(channels, sizes[0], sizes[1], fit)
        self.memory_mb = memory_mb
        self.always_workers = placement == "workers"
        self.num_workers = min(4, num_processors()) if num_workers is None else num_workers
        self.on_error = on_error
        self.test_fraction = test_fraction
        self.test_seed = test_seed
        self.skipped: set[str] = set()

    def declare(self) -> ImageSpec:
        decode = self.decode
        return ImageSpec(decode.channels, decode.height, decode.width, Classes(self._layout.classes))

    @cached_property
    def _layout(self) -> Layout:
        try:
            return find_layout(self.path)
        except OSError as error:
            raise UserError(f"data.path={self.path} cannot be read ({error.strerror})") from None

    @cached_property
    def _files(self) -> tuple[list[str], dict[str, Arrays]]:
        """All files, and each split's rows. x: (N,) places in the list of files; y: (N,) labels."""
        paths: list[str] = []
        rows: dict[str, Arrays] = {}
        for split, folder in self._layout.folders.items():
            found = [sorted(images_in(folder / name)) for name in self._layout.classes]
            labels = torch.arange(len(found)).repeat_interleave(torch.tensor([len(own) for own in found]))
            rows[split] = Arrays(torch.arange(len(paths), len(paths) + len(labels)), labels)
            paths += [path for own in found for path in own]
        if "test" not in rows:
            everything, target = rows["train"], self.declare().target
            keep, held = holdout(everything, target, self.test_fraction, seed=self.test_seed)
            rows |= {"train": everything.take(keep), "test": everything.take(held)}
        return paths, rows

    @property
    def in_workers(self) -> bool:
        """Whether images are decoded in every epoch."""
        if self.always_workers or self.placement != "auto":
            return self.always_workers
        return self._megabytes(len(self._files[0])) > min(self.memory_mb, self._free / 2)

    @cached_property
    def _free(self) -> float:
        """Megabytes at the first look: later on the images themselves may have taken them."""
        return free_megabytes()

    def load(self, split: Literal["train", "test"]) -> Arrays:
        """x: (N,) places in the list of files; the files of a ``val`` folder come behind those of ``train``."""
        rows = self._files[1]
        parts = [rows["train"], rows["val"]] if split == "train" and "val" in rows else [rows[split]]
        return Arrays(torch.cat([p.x for p in parts]), torch.cat([p.y for p in parts]))

    def split(self, rows: Arrays, target: Target) -> tuple[Tensor, Tensor]:
        if "val" not in self._files[1]:
            return super().split(rows, target)
        num_train = self._files[1]["train"].num_rows
        return torch.arange(num_train), torch.arange(num_train, rows.num_rows)

    def read(self, rows: Arrays) -> Arrays:
        if self.in_workers:
            return rows
        if (size := self._megabytes(len(self._files[0]))) > self._free:
            raise UserError(
                f"the images of {self.path} take {size:,.0f} MB, and {self._free:,.0f} MB are free: "
                "data.placement=workers decodes them in every epoch, or choose a smaller data.size"
            )
        return self._decoded(rows)

    def ids_of(self, rows: Arrays) -> np.ndarray:
        """A picture is known by its class, its name there and its size in bytes, whatever its split: none is opened."""
        paths, classes, folders = self._files[0], self._layout.classes, self._layout.folders.values()
        roots = [[os.path.join(folder, name, "") for folder in folders] for name in classes]
        names = []
        for i, label in zip(rows.x.tolist(), rows.y.tolist(), strict=True):
            path, root = paths[i], next(root for root in roots[label] if paths[i].startswith(root))
            names.append(f"{classes[label]}/{path[len(root) :]} {size_of(path)}")
        return hash_names(names)

    def fit_parts(self, train: Arrays) -> Iterable[Tensor]:
        if not self.in_workers:
            return super().fit_parts(train)
        order = torch.randperm(train.num_rows, generator=torch.Generator().manual_seed(self.seed))
        return (self._decoded(train.take(part)).x for part in order[:NUM_FIT_IMAGES].split(256))

    def arrays(self, split: Split) -> Arrays:
        rows = super().arrays(split)
        if not self.in_workers:
            return rows
        if (size := self._megabytes(rows.num_rows)) > self.memory_mb:
            raise UserError(
                f"the {split} images of {self.path} take {size:,.0f} MB as one tensor: raise data.memory_mb, "
                "or choose a smaller data.size"
            )
        return self._decoded(rows)

    def _loader(self, split: Split, batch_size: int, shuffle: bool = False) -> Loader:
        if not self.in_workers:
            return super()._loader(split, batch_size, shuffle)
        rows = super().arrays(split)
        return WorkerLoader(
            ReadBatch(self.decode, self._files[0], rows),
            self._receive,
            rows.num_rows,
            batch_size,
            shuffle=shuffle,
            seed=self.seed,
            num_workers=self.num_workers,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
        )

    def _receive(self, batch: tuple[Tensor, Tensor, list[str]]) -> Batch:
        x, y, problems = batch
        self._judge(problems, len(y))
        return Batch(x, y)

    def _decoded(self, rows: Arrays) -> Arrays:
        """The images of these files, decoded by a thread for each processor: Pillow lets threads run side by side."""
        paths = [self._files[0][i] for i in rows.x.tolist()]
        if len(paths) > 2000:
            print(f"decoding {len(paths):,} images of {self.path}", file=sys.stderr)
        with ThreadPoolExecutor(num_processors()) as pool:
            x, problems = read_images(self.decode, paths, pool.map)
        self._judge(list(problems.values()), len(x))
        return Arrays(x, rows.y[others(problems, len(paths))])

    def _judge(self, problems: list[str], num_good: int) -> None:
        """Stop because of files that cannot be read, or say that they are left out."""
        if not problems:
            return
        more = f", nor can {len(problems) - 1} others" if len(problems) > 1 else ""
        if self.on_error == "refuse":
            raise UserError(f"{problems[0]}{more}: mend or remove it, or leave such files out: data.on_error=skip")
        if not num_good:
            raise UserError(f"{problems[0]}{more}: nothing is left of these {len(problems)} images")
        if new := set(problems) - self.skipped:
            self.skipped |= new
            warnings.warn(f"{min(new)}; {len(self.skipped)} files are left out so far", stacklevel=2)

    def _megabytes(self, num_images: int) -> float:
        return num_images * self.decode.channels * self.decode.height * self.decode.width / 2**20


@dataclass(frozen=True)
class ReadBatch:
    """What a worker does: places in a split -> images (B, C, H, W) uint8, labels (B,), why others are left out."""

    decode: Decode
    paths: Sequence[str]
    rows: Arrays
    """x: (N,) places in ``paths``; y: (N,) labels."""

    def __call__(self, chosen: Sequence[int]) -> tuple[Tensor, Tensor, list[str]]:
        rows = self.rows.take(torch.tensor(chosen))
        x, problems = read_images(self.decode, [self.paths[i] for i in rows.x.tolist()])
        return x, rows.y[others(problems, len(chosen))], list(problems.values())


@dataclass(frozen=True)
class Layout:
    """Where the images are: the folder of each split that has one, ``train`` always, and the class names."""

    folders: dict[Split, Path]
    classes: tuple[str, ...]


def find_layout(path: Path) -> Layout:
    """Reads the names of folders, and looks in each class for one image.

    Raises:
        UserError: there is no such folder, fewer than two classes, a class without images, or splits that differ.
    """
    if not path.is_dir():
        raise UserError(f"data.path={path}: {'this is a file, not' if path.is_file() else 'there is no such'} folder")
    names = folders_in(path)
    splits = {name: SPLIT_FOLDERS[name.lower()] for name in names if name.lower() in SPLIT_FOLDERS}
    folders: dict[Split, Path] = {"train": path}
    if len(splits) > 1 or (splits and names == [*splits]):
        folders = {split: path / name for name, split in splits.items()}
        if len(folders) < len(names) or "train" not in folders:
            raise UserError(
                f"data.path={path} holds the folders {', '.join(names)}: give it train, val and test (the last two "
                "may be left out), or one folder for each class"
            )
    classes = folders_in(folders["train"])
    if len(classes) < 2:
        has = f"only {classes[0]}" if classes else "none"
        raise UserError(f"{folders['train']} needs a folder for each class, and at least two; it has {has}")
    for folder in folders.values():
        if (own := folders_in(folder)) != classes:
            raise UserError(
                f"{folder} has other classes than {folders['train']}: {', '.join(sorted({*own} ^ {*classes}))}"
            )
        for name in classes:
            if next(images_in(folder / name), None) is None:
                raise UserError(f"{folder / name} holds no image ({' '.join(EXTENSIONS)})")
    return Layout(folders, tuple(classes))


def folders_in(path: Path) -> list[str]:
    """The names of the folders, sorted, hidden ones left out."""
    return sorted(e.name for e in os.scandir(path) if e.is_dir() and not e.name.startswith((".", "__MACOSX")))


def images_in(path: Path) -> Iterator[str]:
    """The paths of the image files in a folder and below it, hidden ones left out."""
    seen: set[str] = set()
    for folder, below, files in os.walk(path, followlinks=True):
        here = os.path.realpath(folder)
        if here in seen or here.startswith(SYSTEM):  # two links to a folder above would double at each level
            below.clear()
            continue
        seen.add(here)
        for name in files:
            if os.path.splitext(name)[1].lower() in EXTENSIONS and not name.startswith("."):
                yield os.path.join(folder, name)


def size_of(path: str) -> int:
    """In bytes; -1 of a file that is gone, which is told of when it is to be decoded."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def num_processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
