"""What all tables have in common: the rows of the test, statistics of columns, scaled targets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.data.options import InMemoryOptions
from dlzoo.data.splits import holdout
from dlzoo.errors import UserError, between, nearest
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.batch import TensorOrDict, part_of
from dlzoo.specs.inputs import TableSpec
from dlzoo.specs.named import NamedSpec, Targets
from dlzoo.specs.scaling import FeatureScaling, TargetTransform


def _check_positive(y: Tensor, names: Sequence[str]) -> None:
    """`UserError` for values (N, D) that have no logarithm."""
    for name, column in zip(names, y.T, strict=True):
        if not (column > 0).all():
            raise UserError(
                f"data.target_transform=log needs positive values, but {name} has {float(column.min()):g}: use "
                "data.target_transform=standardize"
            )


class TableData(InMemoryData):
    """A table in memory without an official split.

    Args:
        test_fraction: fraction of the rows in the test set, stratified by class.
        test_seed: selects the test rows; independent of the run's seed, so that runs are comparable.
        scaling: how ``data.standardize`` scales numeric features by the training rows: to mean 0 and standard deviation
            1 (standard), or to the range from 0 to 1 (minmax). A constant feature becomes 0.
        target_transform: how the net's target values are scaled: ``standardize`` with the mean and standard deviation
            of the training rows, ``log`` likewise on a log scale, for positive values with a long tail such as prices,
            or ``none``. Metrics, predictions and exports have the units of the data in any case. For several targets
            by name, {price: log}; the others are standardised.
    """

    kind: ClassVar[type[Spec]] = TableSpec

    def __init__(
        self,
        *,
        test_fraction: float = 0.2,
        test_seed: int = 0,
        scaling: FeatureScaling = "standard",
        target_transform: TargetTransform | Mapping[str, TargetTransform] = "standardize",
        **common: Unpack[InMemoryOptions],
    ) -> None:
        super().__init__(**common)
        self.scaling = scaling
        self.target_transform = target_transform
        between(0, 1, "data", test_fraction=test_fraction, exclusive=True)
        self.test_fraction = test_fraction
        self.test_seed = test_seed

    @abstractmethod
    def declare(self) -> TableSpec | NamedSpec: ...

    @abstractmethod
    def table(self) -> Arrays:
        """All rows, in a fixed order."""

    def load(self, split: Literal["train", "test"]) -> Arrays:
        rows = self.table()
        train, test = self.split_test(rows, self.declare().target)
        return rows.take(train if split == "train" else test)

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        has_values = any(part.values is not None for part in self.declare().target.by_name.values())
        return super().option_uses() | {
            "target_transform": (has_values, "data that give values"),
            "scaling": (self.standardize, "data.standardize=true"),
        }

    def fit_target(self, target: Target, y: TensorOrDict) -> Target:
        target = super().fit_target(target, y)
        fitted = {
            name: self._scaled(part, part_of(y, name), self._transform_of(name, target))
            for name, part in target.by_name.items()
        }
        return Targets.of(fitted) if target.named is not None else fitted[""]

    def read(self, rows: Arrays) -> Arrays:
        target = self.declare().target
        for name, part in target.by_name.items():
            if part.values is not None and self._transform_of(name, target) == "log":
                _check_positive(part_of(rows.y, name), part.names)
        return super().read(rows)

    def _transform_of(self, name: str, target: Target) -> TargetTransform:
        """Of the target of this name; of one without a name, an empty one."""
        given = self.target_transform
        if isinstance(given, str):
            return given
        known = target.by_name if target.named is not None else {}
        for key in given:
            if key not in known:
                hint = nearest(key, known) if known else "this data gives one target, without a name"
                raise UserError(f"data.target_transform={dict(given)}: there is no target {key}; {hint}")
        return given.get(name, "standardize")

    @staticmethod
    def _scaled(target: Target, y: Tensor, transform: TargetTransform) -> Target:
        if target.values is None or transform == "none":
            return target
        return target.values.scaled(y, log=transform == "log")

    def split_test(self, rows: Arrays, target: Target) -> tuple[Tensor, Tensor]:
        """Row indices (training and validation, test)."""
        return holdout(rows, target, self.test_fraction, seed=self.test_seed)

    def with_moments(self, spec: Spec, parts: Iterable[Tensor]) -> Spec:
        """One-hot features are not standardised: their mean is set to 0 and their standard deviation to 1."""
        spec = with_range(spec, parts) if self.scaling == "minmax" else super().with_moments(spec, parts)
        assert spec.table is not None
        one_hot = [bool(column.categories) for column in spec.table.columns for _ in column.feature_names]
        mean = tuple(0.0 if skip else m for m, skip in zip(spec.mean, one_hot, strict=True))
        std = tuple(1.0 if skip else s for s, skip in zip(spec.std, one_hot, strict=True))
        return spec.with_statistics(mean, std)


def with_range(spec: Spec, parts: Iterable[Tensor]) -> Spec:
    """The spec of a table with the minimum of each feature as its mean, and its range as its standard deviation, so
    that the features (n, F) in ``parts`` become numbers from 0 to 1; a constant one becomes 0."""
    lows, highs = zip(*((part.double().amin(0), part.double().amax(0)) for part in parts), strict=True)
    low, high = torch.stack(lows).amin(0), torch.stack(highs).amax(0)
    extent = torch.where(high > low, high - low, 1.0)
    return spec.with_statistics(tuple(low.tolist()), tuple(extent.tolist()))
