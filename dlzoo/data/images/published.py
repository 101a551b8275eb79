"""Published image sets with official splits, in torchvision's layout below ``data_dir``.

Existing files are read in place, even from a read-only folder; missing ones are downloaded and verified. A split is one
uint8 tensor, filled without a second copy; the test split is not read until it is needed.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Unpack

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.data.options import InMemoryOptions
from dlzoo.errors import UserError, nearest
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes
from dlzoo.utils.download import check_md5, damaged, download, find, folder_of, mirrors_of, read_bytes
from dlzoo.utils.files import replaced

MAX_BYTES = 100_000_000
"""Of a downloaded file; CIFAR's archive has 170 million."""

Split = Literal["train", "test"]


class Published(InMemoryData):
    """A published image set.

    Args:
        data_dir: the folder of all data sets; relative to the working directory, or with ``~``.
        mirrors: base URLs to download from, in place of the default ones.
        classes: names of the classes to keep, in the order of their new labels; None keeps all.
    """

    default_mirrors: ClassVar[tuple[str, ...]]
    all_classes: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        *,
        data_dir: str | os.PathLike[str] = "data",
        mirrors: str | Sequence[str] | None = None,
        classes: Sequence[str | int] | None = None,
        **common: Unpack[InMemoryOptions],
    ) -> None:
        super().__init__(**common)
        self.classes = self.all_classes if classes is None else tuple(str(name) for name in classes)
        for name in self.classes:
            if name not in self.all_classes:
                raise UserError(f"data.classes={name}: there is no such class; {nearest(name, self.all_classes)}")
        if len({*self.classes}) < max(len(self.classes), 2):
            raise UserError(f"data.classes={list(self.classes)} must name at least two classes, each once")
        self.data_dir = folder_of(data_dir)
        self.mirrors = mirrors_of(mirrors, self.default_mirrors)

    def select_classes(self, x: Tensor, y: Tensor) -> Arrays:
        """The rows of the selected classes, relabelled. x: (N, C, H, W), y: (N,) as published."""
        if self.classes == self.all_classes:
            return Arrays(x, y)
        old = torch.tensor([self.all_classes.index(name) for name in self.classes])
        new = torch.full((len(self.all_classes),), -1).scatter(0, old, torch.arange(len(old)))[y]
        return Arrays(x[new >= 0], new[new >= 0])


class MNIST(Published):
    """Handwritten digits, 28x28 grey, 60,000 + 10,000.

    Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998.
    Files: ``MNIST/raw/train-images-idx3-ubyte`` and three others, as they are or with ``.gz``.
    """

    default_mirrors = ("https://ossci-datasets.s3.amazonaws.com/mnist", "http://yann.lecun.com/exdb/mnist")
    folder: ClassVar[str] = "MNIST"
    all_classes = tuple("0123456789")
    num_images: ClassVar[dict[str, int]] = {"train": 60_000, "test": 10_000}
    md5: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    }

    def declare(self) -> ImageSpec:
        return ImageSpec(1, 28, 28, Classes(self.classes))

    def prepare_data(self) -> None:
        folder = self.data_dir / self.folder / "raw"
        for packed, md5 in self.md5.items():
            if find(folder, packed.removesuffix(".gz"), packed) is None:
                download(packed, md5=md5, folder=folder, mirrors=self.mirrors, max_bytes=MAX_BYTES)
        for part in ("images", "labels"):
            self._check("test", part)  # train is read next, but test only after training

    def load(self, split: Split) -> Arrays:
        images, labels = (self._check(split, part) for part in ("images", "labels"))
        x = read_idx(images, self._shape(split, "images"))
        y = read_idx(labels, self._shape(split, "labels"))
        if y.max() >= len(self.all_classes):
            raise damaged(labels, f"it contains the label {y.max()}")
        return self.select_classes(x[:, None], y.long())

    def _shape(self, split: Split, part: str) -> tuple[int, ...]:
        return (self.num_images[split], 28, 28) if part == "images" else (self.num_images[split],)

    def _check(self, split: Split, part: str) -> Path:
        """The path of a file, after checking its length or checksum."""
        folder = self.data_dir / self.folder / "raw"
        shape = self._shape(split, part)
        packed = f"{'train' if split == 'train' else 't10k'}-{part}-idx{len(shape)}-ubyte.gz"
        path = find(folder, packed.removesuffix(".gz"), packed)
        if path is None:
            raise UserError(f"{packed} is not in {folder}: call prepare_data() first, it downloads what is missing")
        if path.suffix == ".gz":
            check_md5(read_bytes(path), self.md5[packed], path)
        else:
            check_idx(path, shape)
        return path


class FashionMNIST(MNIST):
    """Articles of clothing, 28x28 grey, 60,000 + 10,000, laid out as `MNIST`.

    Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms", 2017. Files: ``FashionMNIST/raw/…``.
    """

    default_mirrors = (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
    )
    folder = "FashionMNIST"
    all_classes = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    md5: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    }


def idx_header(shape: Sequence[int]) -> bytes:
    """The header of an IDX file of bytes: 0, 0, 8 for unsigned bytes, the number of dimensions, big-endian sizes."""
    return bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)


def check_idx(path: Path, shape: Sequence[int]) -> None:
    """Reject an uncompressed IDX file whose header or length does not match ``shape``.

    Raises:
        UserError: names the file and the remedy.
    """
    header = idx_header(shape)
    try:
        with path.open("rb") as file:
            start, length = file.read(len(header)), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise UserError(f"data_dir: {path} cannot be read ({error.strerror})") from None
    if start != header:
        raise damaged(path, f"its header is not that of {' x '.join(map(str, shape))} bytes")
    expected = len(header) + int(np.prod(shape))
    if length != expected:
        raise damaged(path, f"it has {length:,} bytes, not {expected:,}")


def read_idx(path: Path, shape: Sequence[int]) -> Tensor:
    """The bytes of an IDX file of known shape, plain or ``.gz``, read directly into a uint8 tensor.

    Raises:
        UserError: the file does not contain exactly these bytes.
    """
    header = idx_header(shape)
    x = torch.empty(tuple(shape), dtype=torch.uint8)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start, buffer = file.read(len(header)), x.numpy().reshape(-1).data
            while len(buffer) and (num := file.readinto(buffer)):
                buffer = buffer[num:]
            is_valid = start == header and not len(buffer) and not file.read(1)  # the last read checks gzip's checksum
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, f"it cannot be read ({error})") from None
    if not is_valid:
        raise damaged(path, f"it does not contain exactly {' x '.join(map(str, shape))} bytes")
    return x


class CIFAR10(Published):
    """Photographs, 32x32 colour, 50,000 + 10,000 in ten classes.

    Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. Files:
    ``cifar-10-batches-py/data_batch_1`` and five others, or ``cifar-10-python.tar.gz``, which is unpacked once if
    the folder is writable, and otherwise read in place. They are pickles: see `read_batch`.
    """

    default_mirrors = ("https://www.cs.toronto.edu/~kriz", "https://cave.cs.toronto.edu/kriz")
    folder: ClassVar[str] = "cifar-10-batches-py"
    archive: ClassVar[str] = "cifar-10-python.tar.gz"
    archive_md5: ClassVar[str] = "c58f30108f718f92721af3b95e74349a"
    all_classes = (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip
    num_images: ClassVar[int] = 10_000
    """In each file."""
    md5: ClassVar[dict[str, str]] = {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    }

    def declare(self) -> ImageSpec:
        return ImageSpec(3, 32, 32, Classes(self.classes))

    def prepare_data(self) -> None:
        if not self._is_unpacked():
            if find(self.data_dir, self.archive) is None:
                download(
                    self.archive,
                    md5=self.archive_md5,
                    folder=self.data_dir,
                    mirrors=self.mirrors,
                    max_bytes=2 * MAX_BYTES,
                )
            if os.access(self.data_dir, os.W_OK | os.X_OK):
                self._unpack()
        self._read(["test_batch"])  # train is read next, but test only after training

    def load(self, split: Split) -> Arrays:
        names = [name for name in self.md5 if (name == "test_batch") == (split == "test")]
        files = self._read(names)
        x = np.empty((len(names), self.num_images, 3, 32, 32), np.uint8)
        y = np.empty((len(names), self.num_images), np.int64)
        for i, name in enumerate(names):
            x[i], y[i] = read_batch(files.pop(name), self.num_images)
        return self.select_classes(torch.from_numpy(x.reshape(-1, 3, 32, 32)), torch.from_numpy(y.reshape(-1)))

    def _is_unpacked(self) -> bool:
        return all(find(self.data_dir / self.folder, name) for name in self.md5)

    def _read(self, names: Sequence[str]) -> dict[str, bytes]:
        """The verified content of files by name, from the folder or else from the archive."""
        folder = self.data_dir / self.folder
        if not self._is_unpacked():
            return self._read_archive(names)
        files = {name: read_bytes(folder / name) for name in names}
        for name, content in files.items():
            check_md5(content, self.md5[name], folder / name)
        return files

    def _read_archive(self, names: Sequence[str]) -> dict[str, bytes]:
        path = find(self.data_dir, self.archive)
        if path is None:
            raise UserError(f"{self.folder} is not in {self.data_dir}: call prepare_data() first, it downloads it")
        content = read_bytes(path)
        check_md5(content, self.archive_md5, path)
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            members = {f"{self.folder}/{name}": name for name in names}
            files = {members[m.name]: tar.extractfile(m) for m in tar if m.name in members and m.isfile()}
            return {name: file.read() for name, file in files.items() if file}

    def _unpack(self) -> None:
        folder = self.data_dir / self.folder
        files = self._read_archive(list(self.md5))
        try:
            folder.mkdir(exist_ok=True)
            for name, content in files.items():
                with replaced(folder / name) as partial:  # gets its final name only once it is complete
                    partial.write_bytes(content)
        except OSError as error:
            raise UserError(f"{self.archive} cannot be unpacked in {self.data_dir} ({error.strerror})") from None


def read_batch(content: bytes, num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) uint8 and labels (N,) of a CIFAR file.

    Loading a pickle may execute arbitrary code. These are verified against published checksums first, and this
    unpickler can build nothing but NumPy arrays.
    """
    batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    return batch[b"data"].reshape(num_images, 3, 32, 32), np.array(batch[b"labels"], np.int64)


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type | Callable[..., np.ndarray]:
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if (module, name) in (("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")):
            return _empty_array
        raise pickle.UnpicklingError(f"a CIFAR file must not contain {module}.{name}")


def _empty_array(subtype: type, shape: tuple[int, ...], typecode: bytes) -> np.ndarray:
    """Same as NumPy's private ``_reconstruct``."""
    return np.ndarray(shape, np.dtype(typecode.decode()))
