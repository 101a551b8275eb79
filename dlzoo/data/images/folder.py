"""The user's own images, one folder per class, decoded once if they fit into memory.

Larger sets are decoded by worker processes in every epoch. Both paths yield the same rows in the same order and differ
only in speed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Unpack

import torch
from torch import Tensor

from dlzoo.data.folders.base import FolderData
from dlzoo.data.folders.files import File
from dlzoo.data.folders.layout import Split
from dlzoo.data.images.decode import IMAGES, Decode, read_images, significant_bits
from dlzoo.data.loaders import Arrays, Loader, WorkerLoader, all_except
from dlzoo.data.options import DataOptions, Placement
from dlzoo.errors import UserError, at_least, between, visible
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch, TensorOrDict, map_tensors
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.resize import Fit, Preprocessing, Resize
from dlzoo.utils.memory import free_megabytes
from dlzoo.utils.output import note
from dlzoo.utils.processes import check_processes, num_processors

DEFAULT_SIZE = 64
"""Height and width in pixels without pretrained weights."""
NUM_FIT_IMAGES = 10_000
"""Maximum number of training images used to fit mean and standard deviation if the set is not in memory."""


class ImageFolder(FolderData):
    """Images in ``path``, one folder per class, or likewise in ``path/train``, ``path/val`` and ``path/test``, also by
    other common names such as ``Training``, ``seg_train`` and ``train_set``.

    Without a ``test`` folder, a fixed fraction of train is the test set, independent of the run's seed; without a
    ``val`` folder, validation rows are held out of train as for other data.

    Args:
        path: the folder, or a zip archive of it, which is not extracted. Its subfolders are the classes, in
            alphabetical order; each is searched recursively. Or a data set of Hugging Face that ``save_to_disk`` has
            written, or one of its splits, with a column of images and one of classes.
        size: height and width in pixels, or one number for both; None: that of the net's pretrained weights, or 64.
        channels: 1 for grey, 3 for colour.
        fit: scale the image to cover the size and crop the centre (crop), or change its aspect ratio (squash); None: as
            for the net's pretrained weights, or crop.
        bits: significant bits of files with 16 bits per pixel, 12 for many cameras; None: as the brightest pixel needs.
        placement: decode once and keep the tensors as for other data (device, host), or decode in worker processes in
            every epoch (workers); auto decodes once if all images take at most ``memory_mb``, and at most half of the
            free memory as limited by the machine, a container or ``ulimit``.
        memory_mb: megabytes (2^20 bytes) that decoded images may take.
        num_workers: decoding processes; None is one per processor, at most 4; 0 decodes in the main process.
        on_error: what to do with unreadable files: stop (refuse), or skip them with a warning; their messages are
            collected in ``skipped``.
        test_fraction: fraction of the images in the test set if there is no ``test`` folder, stratified.
        test_seed: selects the test images; independent of the run's seed, so that runs are comparable.
    """

    media = IMAGES

    def __init__(
        self,
        *,
        path: str | os.PathLike[str],
        size: int | Sequence[int] | None = None,
        channels: Literal[1, 3] = 3,
        fit: Fit | None = None,
        bits: int | None = None,
        placement: Placement = "auto",
        memory_mb: float = 1024,
        num_workers: int | None = None,
        on_error: Literal["refuse", "skip"] = "refuse",
        test_fraction: float = 0.2,
        test_seed: int = 0,
        **common: Unpack[DataOptions],
    ) -> None:
        super().__init__(placement="auto" if placement == "workers" else placement, **common)
        sizes = [DEFAULT_SIZE] * 2 if size is None else [size, size] if isinstance(size, int) else [*size]
        if len(sizes) != 2 or min(sizes) < 1:
            raise UserError(f"data.size={size} must be one number of pixels, or height and width as in [64, 96]")
        if channels not in (1, 3):
            raise UserError(f"data.channels={channels} must be 1 (grey) or 3 (colour)")
        at_least(0, "data", num_workers=num_workers)
        check_processes("data.num_workers", num_workers)
        between(0, 1, "data", test_fraction=test_fraction, exclusive=True)
        self.set_folder(path, on_error, test_fraction, test_seed)
        self.channels = channels
        self.size = None if size is None else (sizes[0], sizes[1])
        self.fit = fit
        between(8, 16, "data", bits=bits)
        self.bits = bits
        self.memory_mb = memory_mb
        self.always_workers = placement == "workers"
        self.num_workers = min(4, num_processors()) if num_workers is None else num_workers

    def declare(self) -> ImageSpec:
        prepared = self._prepared
        resize = prepared.resize if self._is_recorded else None
        return ImageSpec(self.channels, *prepared.size, self.target, resize=resize)

    def fit_spec(self, train: Arrays) -> Spec:
        spec = super().fit_spec(train).images
        assert spec is not None
        return replace(spec, bits=self._bits) if self._is_recorded else spec

    @property
    def decode(self) -> Decode:
        prepared = self._prepared
        return Decode(self.channels, *prepared.size, prepared.resize or Resize(), self._bits)

    @property
    def _prepared(self) -> Preprocessing:
        """By the options, else as for pretrained weights or the checkpoint, else the defaults."""
        given = self.preprocessing or Preprocessing((DEFAULT_SIZE, DEFAULT_SIZE), None)
        found = given.at(self.size or given.size)
        resize = found.resize or Resize()
        return replace(found, resize=resize if self.fit is None else Resize(self.fit, resize.interpolation))

    @property
    def _is_recorded(self) -> bool:
        """Whether the spec states the preprocessing: checkpoints of earlier versions do not."""
        return self.preprocessing is None or self.preprocessing.resize is not None

    @cached_property
    def _bits(self) -> int:
        """Significant bits of files with 16 bits per pixel."""
        prepared = self.preprocessing.bits if self.preprocessing is not None else None
        if (given := self.bits or prepared) is not None:
            return given
        with ThreadPoolExecutor(num_processors()) as pool:
            return significant_bits(self._files[0], pool.map)

    @property
    def in_workers(self) -> bool:
        """Whether images are decoded in every epoch."""
        if self.always_workers or self.placement != "auto":
            return self.always_workers
        return self._megabytes(len(self._files[0])) > min(self.memory_mb, self._free / 2)

    @cached_property
    def _free(self) -> float:
        """Free megabytes at the first access, before decoded images take up memory."""
        return free_megabytes()

    def read(self, rows: Arrays) -> Arrays:
        if self.in_workers:
            return rows
        if (size := self._megabytes(len(self._files[0]))) > self._free:
            raise UserError(
                f"the images of {self.path} take {size:,.0f} MB, but only {self._free:,.0f} MB are free: set "
                "data.placement=workers to decode them in every epoch, or lower data.size"
            )
        return self._decoded(rows)

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
                f"the {split} images of {self.path} take {size:,.0f} MB as one tensor: raise data.memory_mb "
                "or lower data.size"
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

    def _receive(self, batch: tuple[Tensor, Any, list[str]]) -> Batch:
        x, y, problems = batch
        self.check_problems(problems, len(x))
        return Batch(x, y)

    def _decoded(self, rows: Arrays) -> Arrays:
        """The images of these files, decoded by one thread per processor: Pillow releases the GIL."""
        paths = [self._files[0][i] for i in rows.x.tolist()]
        if len(paths) > 2000:
            note(f"decoding {len(paths):,} images of {visible(self.path)}")
        with ThreadPoolExecutor(num_processors()) as pool:
            x, problems = read_images(self.decode, paths, pool.map)
        self.check_problems(list(problems.values()), len(x))
        return Arrays(x, kept(rows.y, problems, len(paths)))

    def _megabytes(self, num_images: int) -> float:
        height, width = self._prepared.size
        return num_images * self.channels * height * width / 2**20


@dataclass(frozen=True)
class ReadBatch:
    """Called in workers: indices into a split -> images (B, C, H, W) uint8, targets, messages of skipped files."""

    decode: Decode
    paths: Sequence[File]
    rows: Arrays
    """x: (N,) indices into ``paths``; y: (N,) labels."""

    def __call__(self, indices: Sequence[int]) -> tuple[Tensor, Any, list[str]]:
        rows = self.rows.take(torch.tensor(indices))
        x, problems = read_images(self.decode, [self.paths[i] for i in rows.x.tolist()])
        return x, kept(rows.y, problems, len(indices)), list(problems.values())


def kept(y: TensorOrDict, problems: Mapping[int, str], num: int) -> Any:
    """Targets of ``num`` images without those that cannot be read."""
    mask = all_except(problems, num)
    return map_tensors(lambda part: part[mask], y)
