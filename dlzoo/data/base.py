"""Base classes of all data modules: splits, fitted statistics, loaders and transfer to the device.

Call order, every call idempotent: ``declare()`` (shapes, without downloading), ``prepare_data()`` (files),
``setup("fit")`` (training and validation arrays, statistics, then ``spec``), ``setup("test")`` (test arrays).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Literal, Unpack

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from dlzoo.data.fingerprint import Fingerprint, hash_rows, of_rows
from dlzoo.data.loaders import Arrays, Loader, TensorLoader, as_float
from dlzoo.data.options import DataOptions
from dlzoo.data.splits import holdout, sample_per_class
from dlzoo.errors import UserError, at_least, between
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.batch import Batch, TensorOrDict, map_tensors, tensors
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.resize import Preprocessing, Resize


class DataModule(pl.LightningDataModule):
    """A source of batches, described by a spec.

    Args:
        batch_size: samples per training batch over all devices, so that the result does not depend on their number.
        eval_batch_size: samples per validation or test batch on each device; affects memory only.
        seed: selects the validation rows and the order of the batches.
        val_fraction: fraction of the training rows held out for validation, stratified by class.
        val_size: number of validation rows, in place of a fraction.
        val_last: hold out the last training rows for validation instead of random ones.
        train_on_val: also train on the validation rows, once all choices are made; validation metrics are then
            meaningless.
        train_per_class: random training rows to keep per class, to learn from few samples; validation rows are
            unaffected.
        standardize: fit mean and standard deviation on the training rows, for the model to apply.
        augment: a module (B, C, H, W), target -> the same, applied to training batches on the device.
    """

    kind: ClassVar[type[Spec]] = ImageSpec
    """The type of the spec, known without reading any file."""

    is_ordered: ClassVar[bool] = False
    """Whether the rows are in temporal order, so that validation follows training."""

    spec: Spec
    """The complete spec including statistics; available after ``setup``."""

    preprocessing: Preprocessing | None = None
    """That of pretrained weights or a checkpoint, which applies unless options override it."""

    def __init__(
        self,
        *,
        batch_size: int = 128,
        eval_batch_size: int = 512,
        seed: int = 0,
        val_fraction: float = 0.1,
        val_size: int | None = None,
        val_last: bool = False,
        train_on_val: bool = False,
        train_per_class: int | None = None,
        standardize: bool = False,
        augment: nn.Module | None = None,
    ) -> None:
        super().__init__()
        at_least(1, "data", batch_size=batch_size, eval_batch_size=eval_batch_size, train_per_class=train_per_class)
        between(0, 1, "data", val_fraction=val_fraction, exclusive=True)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = seed
        self.val_fraction = val_fraction
        self.val_size = val_size
        self.val_last = val_last
        if train_on_val and self.is_ordered:
            raise UserError("data.train_on_val=true: here the validation data follow the training data; omit it")
        self.train_on_val = train_on_val
        self.train_per_class = train_per_class
        self.standardize = standardize
        self.augment = augment

    @property
    def row_names(self) -> tuple[str, ...]:
        """Names of rows, which `Unlabelled` targets number; empty if rows have no names."""
        return ()

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        """For options that depend on others: whether they take effect, and what they require."""
        return {"val_fraction": (self.val_size is None, "data.val_size=null")}

    @abstractmethod
    def declare(self) -> Spec:
        """The spec as far as it is known without downloading; may read local files that the user specified."""

    @abstractmethod
    def batches(self, split: Literal["train", "val", "test"]) -> Loader:
        """Batches of a split in a fixed order, for a single pass over its rows; see `prepared`."""

    def prepared(self, batch: Batch) -> Batch:
        """A batch as the net expects it, without augmentation: uint8 images become floats in [0, 1]."""
        x, y, weight = Batch(*batch)
        return Batch(map_tensors(as_float, x), y, weight)

    def training_rows(self, kept: Tensor, held_out: Tensor) -> Tensor:
        """Indices of the training rows: those kept and, with ``train_on_val``, those held out."""
        return torch.cat([kept, held_out]).unique() if self.train_on_val else kept

    def adopt(self, spec: Spec) -> None:
        """Use the preprocessing of a trained model (categories, vocabulary, classes) instead of fitting it.

        Must be called before any other method.
        """
        if spec.images is not None:
            self.preprocessing = spec.images.preprocessing

    def notes(self) -> list[str]:
        """How the data were read, in lines for the start of a run."""
        return []

    def fit_ids(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids of the training and validation rows, each (N,) uint64; the test rows are not read.

        An id identifies the content of a row, independent of its index and split. Data without rows, such as
        environments, have none.
        """
        return np.empty(0, np.uint64), np.empty(0, np.uint64)

    def test_ids(self) -> np.ndarray:
        """Ids of the test rows, (N,) uint64."""
        return np.empty(0, np.uint64)

    def fit_fingerprint(self) -> Fingerprint:
        """The fingerprint of the training and validation rows, which checkpoints store."""
        return of_rows(*self.fit_ids())

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Prepare a batch and, in training, augment it, all on the device."""
        x, y, weight = self.prepared(batch)
        if self.trainer is not None:
            x = self.trainer.precision_plugin.convert_input(x)  # bytes were not floats when Lightning did this
        if self.augment is not None and self.trainer is not None and self.trainer.training:
            target = self.spec.target
            self.augment.num_classes = target.num_outputs  # type: ignore[assignment]
            self.augment.box_names = target.box_names  # type: ignore[assignment]
            x, y = self.augment(x, y)
        return Batch(x, y, weight)


class InMemoryData(DataModule):
    """Data that fit into memory as uint8 or float tensors, so that a batch is one gather.

    Subclasses implement `declare` and `load`.

    Args:
        placement: where the tensors are kept: on the accelerator if they take less than a quarter of its free memory
            (auto), always (device), or never (host).
    """

    def __init__(self, *, placement: Literal["auto", "device", "host"] = "auto", **common: Unpack[DataOptions]) -> None:
        super().__init__(**common)
        self.placement = placement
        self._arrays: dict[str, Arrays] = {}
        self._rows: dict[str, Arrays] = {}
        """The result of `load` for each split; the same as ``_arrays`` unless a subclass overrides `read`."""

    @abstractmethod
    def load(self, split: Literal["train", "test"]) -> Arrays:
        """All rows of an official split, in a fixed order. ``train`` includes the validation rows."""

    def setup(self, stage: str | None = None) -> None:
        if stage in (None, "fit", "validate") and "train" not in self._arrays:
            self._rows |= self.fit_rows()
            self._arrays |= {split: self.read(self._rows[split]) for split in ("train", "val")}
            spec = self.fit_spec(self._arrays["train"])
            spec = spec.with_target(self.fit_target(spec.target, self._arrays["train"].y))
            resize = self.preprocessing and self.preprocessing.resize
            self.spec = spec.with_resize(Resize(interpolation=resize.interpolation)) if resize else spec
        if stage in (None, "test", "predict") and "test" not in self._arrays:
            self._rows["test"] = self.load("test")
            self._arrays["test"] = self.read(self._rows["test"])

    def fit_rows(self) -> dict[str, Arrays]:
        """The training and validation rows as returned by `load`."""
        rows = self.load("train")
        kept, held_out = self.split(rows, self.declare().target)
        kept = self.training_rows(kept, held_out)
        if self.train_per_class is not None:
            kept = sample_per_class(rows, kept, self.declare().target, self.train_per_class, seed=self.seed)
        return {"train": rows.take(kept), "val": rows.take(held_out)}

    def fit_ids(self) -> tuple[np.ndarray, np.ndarray]:
        rows = self._rows if "train" in self._rows else self.fit_rows()
        return self.ids_of(rows["train"]), self.ids_of(rows["val"])

    def test_ids(self) -> np.ndarray:
        return self.ids_of(self._rows["test"] if "test" in self._rows else self.load("test"))

    def ids_of(self, rows: Arrays) -> np.ndarray:
        """Ids of rows, (N,) uint64: hashes of their inputs, targets and weights as returned by `load`."""
        return hash_rows(*(column for part in rows for column in tensors(part)))

    def split(self, rows: Arrays, target: Target) -> tuple[Tensor, Tensor]:
        """Indices into ``train`` of the training rows and of those held out for validation."""
        size = self.val_fraction if self.val_size is None else self.val_size
        return holdout(rows, target, size, seed=self.seed, last=self.val_last)

    def read(self, rows: Arrays) -> Arrays:
        """Turn rows of `load` into tensors after the split, for sources whose rows are file names."""
        return rows

    def fit_spec(self, train: Arrays) -> Spec:
        """The declared spec with the statistics of the training rows."""
        spec = self.declare()
        if not self.standardize:
            return spec
        if (named := spec.named) is not None:
            return named.with_parts(
                {name: self.with_moments(part, [train.x[name]]) for name, part in named.by_name.items()}
            )
        return self.with_moments(spec, self.fit_parts(train))

    def fit_target(self, target: Target, y: TensorOrDict) -> Target:
        """The target with what must be fitted on those of the training rows."""
        return target.fit(y)

    def with_moments(self, spec: Spec, parts: Iterable[Tensor]) -> Spec:
        """The spec of one input with mean and standard deviation of the training inputs, given in chunks."""
        mean, std = moments(parts)
        std = torch.where(std > 1e-12, std, 1.0)  # a constant feature becomes zero
        return spec.with_statistics(tuple(mean.tolist()), tuple(std.tolist()))

    def fit_parts(self, train: Arrays) -> Iterable[Tensor]:
        """The training inputs from which mean and standard deviation are computed, in chunks that fit into memory."""
        return [train.x]

    def arrays(self, split: Literal["train", "val", "test"]) -> Arrays:
        """The tensors of a split, for figures, baselines and tests."""
        self.setup("test" if split == "test" else "fit")
        return self._arrays[split]

    def train_dataloader(self) -> Loader:
        loader = self._loader("train", self.batch_size, shuffle=True)
        if getattr(self.trainer, "overfit_batches", 0):
            loader.same_each_epoch = True
        return loader

    def val_dataloader(self) -> Loader:
        return self.batches("val")

    def test_dataloader(self) -> Loader:
        return self.batches("test")

    def batches(self, split: Literal["train", "val", "test"]) -> Loader:
        return self._loader(split, self.eval_batch_size)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return Batch(*batch).map(lambda t: t if t.device == device else t.to(device, non_blocking=True))

    def _loader(self, split: Literal["train", "val", "test"], batch_size: int, shuffle: bool = False) -> Loader:
        arrays = self.arrays(split)
        return TensorLoader(arrays.to(self._home(arrays.num_bytes)), batch_size, shuffle=shuffle, seed=self.seed)

    def _home(self, num_bytes: int) -> torch.device:
        device = self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")
        if device.type != "cuda" or self.placement == "host":
            return torch.device("cpu")
        if self.placement == "auto" and num_bytes > torch.cuda.mem_get_info(device)[0] / 4:
            return torch.device("cpu")
        return device


def moments(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (float64) per channel of (n, C, H, W), or per feature of (n, F); uint8 as [0, 1].

    Chunks are merged as in T. Chan, G. Golub, R. LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing
    Sample Variances", 1979, in a single pass.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for part in parts:
        channels = part.transpose(0, 1).flatten(1)
        if part.dtype == torch.uint8:  # counting the 256 values is exact and avoids a float64 copy
            weights = torch.stack([channel.bincount(minlength=256) for channel in channels]).double()
            values = torch.linspace(0, 1, 256, dtype=torch.float64)
        else:
            values, weights = channels.double(), torch.ones((), dtype=torch.float64)
        n = channels.shape[1]
        part_mean = (values * weights).sum(1) / n
        delta, total = part_mean - mean, count + n
        mean = mean + delta * (n / total)
        squares = squares + ((values - part_mean[:, None]) ** 2 * weights).sum(1) + delta**2 * (count * n / total)
        count = total
    return mean, (squares / count).sqrt()
