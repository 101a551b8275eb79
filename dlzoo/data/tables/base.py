"""Tables: raw columns become features, and the three classic tables.

`encode` is the one way from raw rows to features, for training and for predictions on new rows alike: what it needs
(categories, fill values) is in the columns of the spec, fitted on the training rows.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import warnings
import zlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.data.splits import holdout
from dlzoo.errors import UserError, nearest
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.named import NamedSpec
from dlzoo.specs.targets import Classes, Values
from dlzoo.utils.download import LimitedGzip, damaged, download, find, folder_of, read_bytes

if TYPE_CHECKING:
    import pandas as pd


def encode(frame: pd.DataFrame, columns: Sequence[Column]) -> Tensor:
    """The features (B, F) float32 of raw rows; columns that the model does not know are left out.

    A category that training did not see gives zeros, with a warning.

    Raises:
        UserError: a column is missing, a missing value has no fill, a number is no number or not finite.
    """
    absent = [c.name for c in columns if c.name not in frame.columns]
    if absent:
        hints = ", ".join(f"{name} ({nearest(name, map(str, frame.columns))})" for name in absent)
        raise UserError(f"the table lacks {hints}")
    parts = [_one_hot(frame[c.name], c) if c.categories else _number(frame[c.name], c) for c in columns]
    return torch.from_numpy(np.concatenate(parts, axis=1, dtype=np.float32))


def encode_inputs(frame: pd.DataFrame, spec: Spec) -> Tensor | dict[str, Tensor]:
    """What a net of this spec is given of raw rows: the features of a table, or those of several tables by name."""
    parts = {name: encode(frame, part.columns) for name, part in tables_of(spec).items()}
    return parts if spec.named is not None else parts[""]


def tables_of(spec: Spec) -> dict[str, TableSpec]:
    """The tables that a spec is made of, by name; one alone has none. Empty: it holds something else.

    >>> tables_of(TableSpec((Column("a"),), Values(("y",)))).keys()
    dict_keys([''])
    """
    parts: Mapping[str, Spec] = spec.named.by_name if spec.named is not None else {"": spec}
    found = {name: part.table for name, part in parts.items()}
    return {name: table for name, table in found.items() if table is not None} if all(found.values()) else {}


def as_text(values: pd.Series) -> pd.Series:
    """Values as a CSV file would hold them, whole numbers without a point (3.0 is '3'); missing ones stay missing."""
    return values.map(_text, na_action="ignore")


def as_numbers(values: pd.Series) -> pd.Series:
    """Values as float64; what is not a number becomes NaN."""
    import pandas as pd

    return pd.to_numeric(values, errors="coerce").astype("float64")


def _text(value: Any) -> str:
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if whole else str(value).strip()


def _fill(values: pd.Series, column: Column) -> pd.Series:
    if values.isna().any() and column.fill is None:
        raise UserError(
            f"column {column.name} has {values.isna().sum()} missing values, and nothing to fill them with: "
            "complete these rows, or train with data.missing=impute"
        )
    return values if column.fill is None else values.fillna(column.fill)


def _number(values: pd.Series, column: Column) -> np.ndarray:
    """(B, 1) float32."""
    numbers = as_numbers(values)
    unreadable = numbers.isna() & values.notna()
    if unreadable.any():
        raise UserError(
            f"column {column.name} holds numbers in the training rows, but {values[unreadable].iloc[0]!r} is none; "
            "if it marks a missing value add it to data.missing_marks, if the column holds names "
            f"set data.categorical=[{column.name}]"
        )
    with np.errstate(over="ignore"):
        ready = _fill(numbers, column).to_numpy(dtype=np.float32)
    if not np.isfinite(ready).all():
        worst = values.iloc[int(np.flatnonzero(~np.isfinite(ready))[0])]
        raise UserError(f"column {column.name} holds {worst}, which is not finite as a 32-bit number: mend this row")
    return ready[:, None]


def _one_hot(values: pd.Series, column: Column) -> np.ndarray:
    """(B, number of categories) float32."""
    import pandas as pd

    text = _fill(as_text(values), column)
    place = pd.Index(column.categories).get_indexer(pd.Index(text))
    if (place < 0).any():
        unseen = sorted(set(text[place < 0]))
        warnings.warn(
            f"column {column.name}: training saw no {', '.join(map(repr, unseen[:5]))}; {(place < 0).sum()} of "
            f"{len(place)} rows have zeros there",
            stacklevel=4,
        )
    return (place[:, None] == np.arange(len(column.categories))).astype(np.float32)


class TableData(InMemoryData):
    """A table in memory without an official split.

    Args:
        test_fraction: share of the rows that is the test set, stratified for classes.
        test_seed: chooses the test rows; not the run's seed, so that runs can be compared.
    """

    kind: ClassVar[type] = TableSpec

    def __init__(self, *, test_fraction: float = 0.2, test_seed: int = 0, **common: Any) -> None:
        super().__init__(**common)
        if not 0 < test_fraction < 1:
            raise UserError(f"data.test_fraction={test_fraction} must lie between 0 and 1")
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

    def split_test(self, rows: Arrays, target: Target) -> tuple[Tensor, Tensor]:
        """Row numbers (training with validation, test)."""
        return holdout(rows, target, self.test_fraction, seed=self.test_seed)

    def with_moments(self, spec: Spec, parts: Iterable[Tensor]) -> Spec:
        """One-hot features stay 0 and 1: their mean is 0 and their standard deviation 1."""
        spec = super().with_moments(spec, parts)
        assert spec.table is not None
        one_hot = [bool(column.categories) for column in spec.table.columns for _ in column.feature_names]
        mean = tuple(0.0 if skip else m for m, skip in zip(spec.mean, one_hot, strict=True))
        std = tuple(1.0 if skip else s for s, skip in zip(spec.std, one_hot, strict=True))
        return spec.with_statistics(mean, std)


class KnownTable(TableData):
    """A published table of numbers.

    Args:
        features: the columns to keep, by name or by number from 0, in this order; None keeps all.
    """

    columns: ClassVar[tuple[Column, ...]]
    """What the source publishes, before ``features`` chooses."""

    def __init__(self, *, features: Sequence[str | int] | None = None, **common: Any) -> None:
        super().__init__(**common)
        self.chosen = self._choose(range(len(self.columns)) if features is None else features)

    @abstractmethod
    def raw(self) -> tuple[np.ndarray, np.ndarray]:
        """The features (N, F) in the order of ``columns``, and the target (N,)."""

    @abstractmethod
    def target(self) -> Classes | Values: ...

    def declare(self) -> TableSpec:
        return TableSpec(tuple(self.columns[i] for i in self.chosen), self.target())

    def table(self) -> Arrays:
        x, y = self.raw()
        return Arrays(torch.from_numpy(x[:, self.chosen]).float(), self.encode_target(torch.from_numpy(y)))

    @abstractmethod
    def encode_target(self, y: Tensor) -> Tensor: ...

    def _choose(self, features: Sequence[str | int]) -> list[int]:
        names = [column.name for column in self.columns]
        for feature in features:
            if feature not in names and feature not in range(len(names)):
                raise UserError(
                    f"data.features={feature}: there is no such column; {nearest(str(feature), names)}; "
                    f"or give numbers from 0 to {len(names) - 1}"
                )
        chosen = [names.index(f) if isinstance(f, str) else f for f in features]
        if not chosen or len(set(chosen)) < len(chosen):
            raise UserError(f"data.features={list(features)}: name at least one column, and none of them twice")
        return chosen


class ClassTable(KnownTable):
    """A published table whose target is a class.

    Args:
        positive: one class against all others: the classes become "not <positive>" and "<positive>".
    """

    class_names: ClassVar[tuple[str, ...]]

    def __init__(self, *, positive: str | None = None, **common: Any) -> None:
        super().__init__(**common)
        if positive is not None and positive not in self.class_names:
            raise UserError(f"data.positive={positive}: there is no such class; {nearest(positive, self.class_names)}")
        self.positive = positive

    def target(self) -> Classes:
        return Classes(self.class_names if self.positive is None else (f"not {self.positive}", self.positive))

    def encode_target(self, y: Tensor) -> Tensor:
        return y.long() if self.positive is None else (y == self.class_names.index(self.positive)).long()


class Iris(ClassTable):
    """150 flowers of three species, from R. A. Fisher, "The Use of Multiple Measurements in Taxonomic Problems", 1936.

    Embedded in scikit-learn. As printed by Fisher: the UCI copy has two rows that differ.
    """

    columns = tuple(Column(name, "cm") for name in ("sepal_length", "sepal_width", "petal_length", "petal_width"))
    class_names = ("setosa", "versicolor", "virginica")

    def raw(self) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.datasets import load_iris

        return load_iris(return_X_y=True)


class Wine(ClassTable):
    """178 Italian wines of three cultivars, 13 chemical measurements, from M. Forina et al., PARVUS, 1988.

    Embedded in scikit-learn, whose class names are kept. The source publishes no units.
    """

    columns = (
        Column("alcohol", "% vol"),
        Column("malic_acid"),
        Column("ash"),
        Column("alcalinity_of_ash"),
        Column("magnesium"),
        Column("total_phenols"),
        Column("flavanoids"),
        Column("nonflavanoid_phenols"),
        Column("proanthocyanins"),
        Column("color_intensity"),
        Column("hue"),
        Column("od280/od315_of_diluted_wines"),
        Column("proline"),
    )
    class_names = ("class_0", "class_1", "class_2")

    def raw(self) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.datasets import load_wine

        return load_wine(return_X_y=True)


MOST_BYTES = 10_000_000
"""Of the archive, and of what it unpacks to, which has 1.9 million."""


class CaliforniaHousing(KnownTable):
    """20,640 block groups of the 1990 census: the median house value, from 8 features.

    Source: R. K. Pace, R. Barry, "Sparse Spatial Autoregressions", Statistics and Probability Letters 33, 1997. The
    features are those of scikit-learn, which divides rooms, bedrooms and people by households. Values above 500,000 $
    were cut off there by the source.
    Files: ``CaliforniaHousing/cal_housing.tgz`` or, unpacked, ``cal_housing.data``; also in ``data_dir`` itself.

    Args:
        data_dir: the folder of all data sets; relative to the working directory, or with ``~``.
        mirrors: base URLs to download from, instead of the usual one.
    """

    columns = (
        Column("MedInc", "10,000 $"),
        Column("HouseAge", "years"),
        Column("AveRooms", "rooms per household"),
        Column("AveBedrms", "bedrooms per household"),
        Column("Population", "people"),
        Column("AveOccup", "people per household"),
        Column("Latitude", "°"),
        Column("Longitude", "°"),
    )
    num_rows: ClassVar[int] = 20_640
    sha256: ClassVar[str] = "aaa5c9a6afe2225cc2aed2723682ae403280c4a3695a2ddda4ffb5d8215ea681"
    usual_mirrors: ClassVar[tuple[str, ...]] = ("https://ndownloader.figshare.com/files/5976036#",)
    """As in scikit-learn. The file has a number and no name there: what follows # is not sent."""

    def __init__(
        self, *, data_dir: str | os.PathLike[str] = "data", mirrors: str | Sequence[str] | None = None, **common: Any
    ) -> None:
        super().__init__(**common)
        self.folder = folder_of(data_dir, "CaliforniaHousing")
        mirrors = self.usual_mirrors if mirrors is None else mirrors
        self.mirrors = (mirrors,) if isinstance(mirrors, str) else tuple(mirrors)

    def target(self) -> Values:
        return Values(("MedHouseVal",), ("100,000 $",))

    def encode_target(self, y: Tensor) -> Tensor:
        return y.float()[:, None]

    def prepare_data(self) -> None:
        if self._file() is None:
            instead = "choose data that are embedded: data=wine, or data=synthetic data.kind=friedman"
            download(
                "cal_housing.tgz",
                sha256=self.sha256,
                folder=self.folder,
                mirrors=self.mirrors,
                instead=instead,
                max_bytes=MOST_BYTES,
            )

    def raw(self) -> tuple[np.ndarray, np.ndarray]:
        path = self._file()
        if path is None:
            raise UserError(f"cal_housing.tgz is not in {self.folder}: call prepare_data() first")
        content = io.BytesIO(read_bytes(path))
        try:
            if path.suffix == ".tgz":
                with LimitedGzip(path, MOST_BYTES) as unpacked:
                    packed = io.BytesIO(unpacked.read())
                with tarfile.open(fileobj=packed, mode="r:") as archive:
                    member = archive.extractfile("CaliforniaHousing/cal_housing.data")
                    content = io.BytesIO(member.read() if member else b"")
            table = np.loadtxt(content, delimiter=",")
        except UserError:
            raise
        except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, KeyError, ValueError) as error:
            raise damaged(path, f"{error}") from None
        if table.shape != (self.num_rows, 9):
            raise damaged(path, f"it holds a table of {table.shape}, not of {(self.num_rows, 9)}")
        longitude, latitude, age, rooms, bedrooms, people, households, income, value = table.T
        features = (income, age, rooms / households, bedrooms / households, people, people / households)
        return np.stack([*features, latitude, longitude], axis=1), value / 100_000

    def _file(self) -> Path | None:
        """What is there already; a packed file is checked by its own sums when it is read."""
        names = ("cal_housing.data", "cal_housing.tgz")
        return find(self.folder, *names) or find(self.folder.parent, *names)
