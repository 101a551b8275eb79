"""Three classic tables."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Unpack

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.loaders import Arrays
from dlzoo.data.options import PublishedTableOptions, TableOptions
from dlzoo.data.tables.base import TableData
from dlzoo.errors import UserError, nearest
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.targets import Classes, Values
from dlzoo.utils.download import LimitedGzip, damaged, download, find, folder_of, mirrors_of, read_bytes


class PublishedTable(TableData):
    """A published table of numbers.

    Args:
        features: the columns to keep, by name or index, in this order; None keeps all.
    """

    columns: ClassVar[tuple[Column, ...]]
    """All published columns, before the selection by ``features``."""

    def __init__(self, *, features: Sequence[str | int] | None = None, **common: Unpack[TableOptions]) -> None:
        super().__init__(**common)
        self.feature_indices = self._select(range(len(self.columns)) if features is None else features)

    @abstractmethod
    def raw(self) -> tuple[np.ndarray, np.ndarray]:
        """The features (N, F) in the order of ``columns``, and the target (N,)."""

    @abstractmethod
    def target(self) -> Classes | Values: ...

    def declare(self) -> TableSpec:
        return TableSpec(tuple(self.columns[i] for i in self.feature_indices), self.target())

    def table(self) -> Arrays:
        x, y = self.raw()
        return Arrays(torch.from_numpy(x[:, self.feature_indices]).float(), self.encode_target(torch.from_numpy(y)))

    @abstractmethod
    def encode_target(self, y: Tensor) -> Tensor: ...

    def _select(self, features: Sequence[str | int]) -> list[int]:
        names = [column.name for column in self.columns]
        for feature in features:
            if feature not in names and feature not in range(len(names)):
                raise UserError(
                    f"data.features={feature}: there is no such column; {nearest(str(feature), names)}; "
                    f"or give indices from 0 to {len(names) - 1}"
                )
        indices = [names.index(f) if isinstance(f, str) else f for f in features]
        if not indices or len(set(indices)) < len(indices):
            raise UserError(f"data.features={list(features)} must name at least one column, and none twice")
        return indices


class ClassTable(PublishedTable):
    """A published table whose target is a class.

    Args:
        positive: one class versus the rest: the classes become "not <positive>" and "<positive>".
    """

    class_names: ClassVar[tuple[str, ...]]

    def __init__(self, *, positive: str | None = None, **common: Unpack[PublishedTableOptions]) -> None:
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

    Shipped with scikit-learn, with the values printed by Fisher: the UCI copy has two different rows.
    """

    columns = tuple(Column(name, "cm") for name in ("sepal_length", "sepal_width", "petal_length", "petal_width"))
    class_names = ("setosa", "versicolor", "virginica")

    def raw(self) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.datasets import load_iris

        return load_iris(return_X_y=True)


class Wine(ClassTable):
    """178 Italian wines of three cultivars, 13 chemical measurements, from M. Forina et al., PARVUS, 1988.

    Shipped with scikit-learn, whose class names are kept. The source publishes no units.
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


MAX_BYTES = 10_000_000
"""Of the archive, and of its content, which has 1.9 million."""


class CaliforniaHousing(PublishedTable):
    """20,640 block groups of the 1990 census: the median house value, from 8 features.

    Source: R. K. Pace, R. Barry, "Sparse Spatial Autoregressions", Statistics and Probability Letters 33, 1997. The
    features are those of scikit-learn, which divides rooms, bedrooms and people by households. The source clips
    values at 500,000 $.
    Files: ``CaliforniaHousing/cal_housing.tgz`` or, unpacked, ``cal_housing.data``; also in ``data_dir`` itself.

    Args:
        data_dir: the folder of all data sets; relative to the working directory, or with ``~``.
        mirrors: base URLs to download from, in place of the default one.
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
    default_mirrors: ClassVar[tuple[str, ...]] = ("https://ndownloader.figshare.com/files/5976036#",)
    """As in scikit-learn. The URL has a number in place of the file name, which follows # and is not sent."""

    def __init__(
        self,
        *,
        data_dir: str | os.PathLike[str] = "data",
        mirrors: str | Sequence[str] | None = None,
        **common: Unpack[PublishedTableOptions],
    ) -> None:
        super().__init__(**common)
        self.folder = folder_of(data_dir, "CaliforniaHousing")
        self.mirrors = mirrors_of(mirrors, self.default_mirrors)

    def target(self) -> Values:
        return Values(("MedHouseVal",), ("100,000 $",))

    def encode_target(self, y: Tensor) -> Tensor:
        return y.float()[:, None]

    def prepare_data(self) -> None:
        if self._file() is None:
            instead = "use embedded data: data=wine, or data=synthetic data.kind=friedman"
            download(
                "cal_housing.tgz",
                sha256=self.sha256,
                folder=self.folder,
                mirrors=self.mirrors,
                instead=instead,
                max_bytes=MAX_BYTES,
            )

    def raw(self) -> tuple[np.ndarray, np.ndarray]:
        path = self._file()
        if path is None:
            raise UserError(f"cal_housing.tgz is not in {self.folder}: call prepare_data() first")
        content = io.BytesIO(read_bytes(path))
        try:
            if path.suffix == ".tgz":
                with LimitedGzip(path, MAX_BYTES) as unpacked:
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
            raise damaged(path, f"it contains a table of shape {table.shape}, not {(self.num_rows, 9)}")
        longitude, latitude, age, rooms, bedrooms, people, households, income, value = table.T
        features = (income, age, rooms / households, bedrooms / households, people, people / households)
        return np.stack([*features, latitude, longitude], axis=1), value / 100_000

    def _file(self) -> Path | None:
        """The existing file, if any; the gzip checksum of an archive is verified when it is read."""
        names = ("cal_housing.data", "cal_housing.tgz")
        return find(self.folder, *names) or find(self.folder.parent, *names)
