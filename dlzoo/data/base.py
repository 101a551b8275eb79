"""What every source of data has in common: splits, fitted statistics, loaders, and the way to the device.

The order of calls, all idempotent: ``declare()`` (shapes, without downloading), ``prepare_data()`` (files),
``setup("fit")`` (train and validation arrays, statistics, then ``spec``), ``setup("test")`` (the test arrays).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from dlzoo.data.fingerprint import Fingerprint, hash_rows, of_rows
from dlzoo.data.loaders import Arrays, Loader, TensorLoader
from dlzoo.data.splits import few, holdout
from dlzoo.errors import UserError, at_least
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.batch import Batch, map_tensors, tensors
from dlzoo.specs.inputs import ImageSpec

Placement = Literal["auto", "device", "host", "workers"]


class DataModule(pl.LightningDataModule):
    """A source of batches that promises a spec.

    Args:
        batch_size: samples in a training batch, of all devices together, so that several learn what one would.
        eval_batch_size: samples in a validation or test batch, on each device; it changes nothing but the memory taken.
        seed: chooses the validation rows and the order of the batches.
        val_fraction: share of the training rows kept for validation, stratified for classes.
        val_size: number of validation rows instead of a share.
        val_last: take the last rows of train for validation instead of random ones.
        train_on_val: train on the validation rows too, when all is chosen; what is measured on them then says nothing.
        train_per_class: keep only so many random training rows of each class, to see what few can teach; the
            validation rows stay.
        standardize: fit mean and standard deviation on the training rows; the model then applies them.
        augment: a module (B, C, H, W), target -> the same, applied to training batches on the device.
    """

    kind: ClassVar[type[ImageSpec] | type] = ImageSpec
    """The type of spec that this source gives: known without any file."""

    is_ordered: ClassVar[bool] = False
    """Whether the rows follow each other, so that validation is what comes after training."""

    spec: Spec
    """The full promise, statistics included; there after ``setup``."""

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
        if not 0 < val_fraction < 1:
            raise UserError(f"data.val_fraction={val_fraction} must lie between 0 and 1")
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = seed
        self.val_fraction = val_fraction
        self.val_size = val_size
        self.val_last = val_last
        if train_on_val and self.is_ordered:
            raise UserError("data.train_on_val=true: here validation is what follows the training data; leave it out")
        self.train_on_val = train_on_val
        self.train_per_class = train_per_class
        self.standardize = standardize
        self.augment = augment

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        """Of options that have an effect only beside others: whether they have, and what they need."""
        return {"val_fraction": (self.val_size is None, "data.val_size=null")}

    @abstractmethod
    def declare(self) -> Spec:
        """The spec as far as it is known without downloading; local files that the user named may be read."""

    @abstractmethod
    def batches(self, split: Literal["train", "val", "test"]) -> Loader:
        """The rows of a split in their order, for whoever looks at all of them once; see `prepared`."""

    def prepared(self, batch: Batch) -> Batch:
        """A batch as a net wants it, but not augmented: uint8 pictures become floats in [0, 1]."""
        x, y, weight = Batch(*batch)
        return Batch(map_tensors(scaled, x), y, weight)

    def for_training(self, keep: Tensor, held: Tensor) -> Tensor:
        """The numbers of the training rows: those kept, with ``train_on_val`` those held out as well."""
        return torch.cat([keep, held]).unique() if self.train_on_val else keep

    def adopt(self, spec: Spec) -> None:
        """Give test batches as a trained model of this spec wants them; for sources that fit how inputs are made.

        To be called before anything else is asked of the source.
        """

    def fit_ids(self) -> tuple[np.ndarray, np.ndarray]:
        """What the training and the validation rows are known by, each (N,) uint64; the test rows are not read.

        An id says what a row holds, whatever its number and its split. Data without rows, as environments are, have
        none.
        """
        return np.empty(0, np.uint64), np.empty(0, np.uint64)

    def test_ids(self) -> np.ndarray:
        """What the test rows are known by, (N,) uint64."""
        return np.empty(0, np.uint64)

    def fit_fingerprint(self) -> Fingerprint:
        """What a checkpoint holds of the rows that a run learns from and is validated on."""
        return of_rows(*self.fit_ids())

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """`prepared`, then training batches are augmented, all on the device."""
        x, y, weight = self.prepared(batch)
        if self.trainer is not None:
            x = self.trainer.precision_plugin.convert_input(x)  # bytes were no floats yet when Lightning did so
        if self.augment is not None and self.trainer is not None and self.trainer.training:
            self.augment.num_classes = self.spec.target.num_outputs  # type: ignore[assignment]
            x, y = self.augment(x, y)
        return Batch(x, y, weight)


class InMemoryData(DataModule):
    """Data that fit into memory: uint8 or float tensors, and a batch is one gather.

    A source implements `declare` and `load`. ``placement`` is where the tensors live: on the accelerator when they
    take less than a quarter of its free memory (auto), always (device), or never (host).
    """

    def __init__(self, *, placement: Literal["auto", "device", "host"] = "auto", **common: Any) -> None:
        super().__init__(**common)
        self.placement = placement
        self._arrays: dict[str, Arrays] = {}
        self._rows: dict[str, Arrays] = {}
        """What `load` gave of each split: where `read` does nothing, the same as ``_arrays``."""

    @abstractmethod
    def load(self, split: Literal["train", "test"]) -> Arrays:
        """All rows of an official split, in a fixed order. ``train`` still holds the validation rows."""

    def setup(self, stage: str | None = None) -> None:
        if stage in (None, "fit", "validate") and "train" not in self._arrays:
            self._rows |= self.fit_rows()
            self._arrays |= {split: self.read(self._rows[split]) for split in ("train", "val")}
            spec = self.fit_spec(self._arrays["train"])
            self.spec = spec.with_target(spec.target.fit(self._arrays["train"].y))
        if stage in (None, "test", "predict") and "test" not in self._arrays:
            self._rows["test"] = self.load("test")
            self._arrays["test"] = self.read(self._rows["test"])

    def fit_rows(self) -> dict[str, Arrays]:
        """The rows of ``train`` and ``val`` as `load` gives them."""
        rows = self.load("train")
        keep, held = self.split(rows, self.declare().target)
        keep = self.for_training(keep, held)
        if self.train_per_class is not None:
            keep = few(rows, keep, self.declare().target, self.train_per_class, seed=self.seed)
        return {"train": rows.take(keep), "val": rows.take(held)}

    def fit_ids(self) -> tuple[np.ndarray, np.ndarray]:
        rows = self._rows if "train" in self._rows else self.fit_rows()
        return self.ids_of(rows["train"]), self.ids_of(rows["val"])

    def test_ids(self) -> np.ndarray:
        return self.ids_of(self._rows["test"] if "test" in self._rows else self.load("test"))

    def ids_of(self, rows: Arrays) -> np.ndarray:
        """What rows are known by, (N,) uint64: all that `load` gives of them."""
        return hash_rows(*(column for part in rows for column in tensors(part)))

    def split(self, rows: Arrays, target: Target) -> tuple[Tensor, Tensor]:
        """Numbers of the rows of ``train`` that are for training, and of those held out for validation."""
        size = self.val_fraction if self.val_size is None else self.val_size
        return holdout(rows, target, size, seed=self.seed, last=self.val_last)

    def read(self, rows: Arrays) -> Arrays:
        """What `load` gave, after the split: for a source whose rows name files that are still to be read."""
        return rows

    def fit_spec(self, train: Arrays) -> Spec:
        """The declared spec with what must be fitted on the training rows."""
        spec = self.declare()
        if not self.standardize:
            return spec
        if (named := spec.named) is not None:
            return named.with_parts(
                {name: self.with_moments(part, [train.x[name]]) for name, part in named.by_name.items()}
            )
        return self.with_moments(spec, self.fit_parts(train))

    def with_moments(self, spec: Spec, parts: Iterable[Tensor]) -> Spec:
        """The spec of one input with its mean and standard deviation, from parts of the training inputs."""
        mean, std = moments(parts)
        std = torch.where(std > 1e-12, std, 1.0)  # a constant feature stays at zero
        return spec.with_statistics(tuple(mean.tolist()), tuple(std.tolist()))

    def fit_parts(self, train: Arrays) -> Iterable[Tensor]:
        """The training inputs that mean and standard deviation are fitted on, in parts that fit into memory."""
        return [train.x]

    def arrays(self, split: Literal["train", "val", "test"]) -> Arrays:
        """The tensors of a split, for pictures, baselines and tests."""
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

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
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


def scaled(x: Tensor) -> Tensor:
    """Bytes as floats in [0, 1] in one pass, three times as fast as float() first; all else as it is."""
    return x * (1 / 255) if x.dtype == torch.uint8 else x


def moments(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (float64) per channel of (n, C, H, W), or per feature of (n, F); uint8 as [0, 1].

    The parts are merged as in T. Chan, G. Golub, R. LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing
    Sample Variances", 1979: one pass, however many parts.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for part in parts:
        channels = part.transpose(0, 1).flatten(1)
        if part.dtype == torch.uint8:  # counting the 256 values is exact, and needs no copy in float64
            weights = torch.stack([channel.bincount(minlength=256) for channel in channels]).double()
            values = torch.linspace(0, 1, 256, dtype=torch.float64)
        else:
            values, weights = channels.double(), torch.ones((), dtype=torch.float64)
        n = channels.shape[1]
        own = (values * weights).sum(1) / n
        delta, total = own - mean, count + n
        mean = mean + delta * (n / total)
        squares = squares + ((values - own[:, None]) ** 2 * weights).sum(1) + delta**2 * (count * n / total)
        count = total
    return mean, (squares / count).sqrt()
