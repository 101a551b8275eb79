"""The images of a data set of Hugging Face that ``save_to_disk`` has written, as a tree: splits, classes, images.

Its Arrow files are mapped into memory once, to find where in them the encoded images are. Whoever decodes an image then
reads these bytes, as those of a file: neither pyarrow nor the library `datasets` decodes any, and none is fetched from
a network.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dlzoo.data import arrow_tables
from dlzoo.data.folders.files import StoredImage
from dlzoo.data.folders.tree import MAX_MEMBER_BYTES, IndexedTree
from dlzoo.data.typed_tables import FAILURES
from dlzoo.errors import UserError, one_line, short
from dlzoo.specs.targets import few_enough
from dlzoo.utils import extras
from dlzoo.utils.files import open_regular

if TYPE_CHECKING:
    import pyarrow as pa


class Columns(NamedTuple):
    """Which columns of a split are used."""

    image: str
    label: str | None
    classes: list[str]
    """In the order of their numbers."""


class Row(NamedTuple):
    """Where the image of a row is, and its class."""

    label: int | None
    file: Path
    offset: int
    size: int
    digest: str


class SavedTree(IndexedTree):
    """The images of a saved data set, or of one split of it. Images without a class, which have the number -1, are
    outside the folders of the classes.

    Args:
        path: its folder.
        key: of the option that names it: only images that are to be predicted need no classes.
    """

    def __init__(self, path: Path, key: str = "data.path") -> None:
        self.path = path
        self.key = key

    @cached_property
    def index(self) -> dict[Path, tuple[list[str], list[StoredImage]]]:
        """The names of the subfolders and the images of each folder.

        Raises:
            UserError: pyarrow is missing, or the data set has no images with classes.
        """
        extras.require(f"{self.key}={self.path}", "pyarrow")
        if (self.path / arrow_tables.SAVED).is_file():
            return self._split(self.path)
        names = arrow_tables.splits_of(self.path)
        index: dict[Path, tuple[list[str], list[StoredImage]]] = {self.path: (names, [])}
        for name in names:
            index |= self._split(self.path / name)
        return index

    def _split(self, folder: Path) -> dict[Path, tuple[list[str], list[StoredImage]]]:
        columns = self._columns(folder)
        few_enough(len(columns.classes), f"{self.key}={folder}")
        files: dict[Path, list[StoredImage]] = {folder / name: [] for name in columns.classes}
        odd = [name for name in columns.classes if name.startswith("/") or folder / name == folder]
        if odd or len(files) < len(columns.classes):
            raise UserError(f"{self.key}={folder}: classes must have different names, not {short(odd or 'the same')}")
        index = {folder: (columns.classes, list[StoredImage]())}
        index |= {path: ([], images) for path, images in files.items()}
        try:
            for number, row in enumerate(self._rows(folder, columns)):
                parent = folder if row.label is None else folder / columns.classes[row.label]
                name = os.path.join(parent, f"row {number:07}")
                index[parent][1].append(StoredImage(name, str(row.file), row.offset, row.size, row.digest))
        except UserError:
            raise
        except FAILURES as error:
            reason = one_line(error, 200) or type(error).__name__
            raise UserError(f"{self.key}={folder} cannot be read as a saved data set: {reason}") from None
        return index

    def _columns(self, folder: Path) -> Columns:
        """`UserError` if a split does not have one column of images and one of classes."""
        features = arrow_tables.features_of(folder)
        place = f"{self.key}={folder}"
        images, labels = (
            [name for name, feature in features.items() if feature.get("_type") == kind]
            for kind in ("Image", "ClassLabel")
        )
        if len(images) != 1:
            has = f"the columns of images {short(', '.join(images))}: keep one with select_columns of datasets"
            none = "no column of images: if it is a table, use data=csv data.target=…"
            raise UserError(f"{place} has {has if images else none}")
        if self.key == "input":
            return Columns(images[0], None, [])
        if len(labels) != 1:
            has = f"the columns of classes {short(', '.join(labels))}: keep one with select_columns of datasets"
            none = "no column of classes (ClassLabel): make one with class_encode_column of datasets"
            raise UserError(f"{place} has {has if labels else none}, and save it anew")
        names = arrow_tables.class_names(features[labels[0]].get("names"), f"{place}: column {short(labels[0])}")
        return Columns(images[0], labels[0], names)

    def _rows(self, folder: Path, columns: Columns) -> Iterator[Row]:
        """All rows of a split, in order."""
        import pyarrow as pa
        from pyarrow import ipc

        number = 0
        for path in arrow_tables.files_of(folder):
            with open_regular(path) as file:
                content = pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            arrow_tables.check_uncompressed(ipc.MessageReader.open_stream(pa.BufferReader(content)), path)
            for batch in ipc.open_stream(content):
                batch.validate(full=True)  # pyarrow reads beyond what it has otherwise
                yield from _rows_of(batch, columns, path, content, number)
                number += batch.num_rows


def _rows_of(batch: pa.RecordBatch, columns: Columns, file: Path, content: pa.Buffer, first: int) -> Iterator[Row]:
    """The rows of a part of an Arrow file.

    Args:
        content: of the file.
        first: the number of the first row, for messages.
    """
    images = batch.column(columns.image)
    place = f"{file}: column {short(columns.image)}"
    if not arrow_tables.is_picture(images.type):
        raise UserError(f"{place} contains {short(images.type)}, not images as datasets stores them")
    parts = dict(zip((field.name for field in images.type), images.flatten(), strict=True))
    starts, sizes = _extents(parts["bytes"], content, place)
    labels = _labels(batch, columns, file)
    for i, is_stored in enumerate(parts["bytes"].is_valid().to_pylist()):
        if is_stored:
            start, size = int(starts[i]), int(sizes[i])
            _check_size(size, f"{place}, row {first + i}")
            yield Row(labels[i], file, start, size, _digest(content[start : start + size]))
        else:
            path = _path_in(file.parent, parts["path"][i].as_py(), f"{place}, row {first + i}")
            size = path.stat().st_size
            _check_size(size, path)
            with open_regular(path) as image:
                yield Row(labels[i], path, 0, size, _digest(image.read(size)))


def _extents(cells: pa.Array, content: pa.Buffer, place: str) -> tuple[np.ndarray, np.ndarray]:
    """Where in a file the bytes of each cell begin, and how many there are."""
    from pyarrow import types

    if not (types.is_binary(cells.type) or types.is_large_binary(cells.type)):
        raise UserError(f"{place}.bytes contains {short(cells.type)}, not bytes")
    _, ends, data = cells.buffers()
    if data is None or not data.size:  # all are empty
        return np.zeros(len(cells), np.int64), np.zeros(len(cells), np.int64)
    offsets = np.frombuffer(ends, np.int32 if types.is_binary(cells.type) else np.int64)
    offsets = offsets[cells.offset : cells.offset + len(cells) + 1].astype(np.int64)
    first = data.address - content.address
    if not 0 <= first <= first + offsets[-1] <= content.size:
        raise UserError(f"{place} is compressed: save the data set anew with save_to_disk of datasets")
    return first + offsets[:-1], np.diff(offsets)


def _labels(batch: pa.RecordBatch, columns: Columns, file: Path) -> list[int | None]:
    """The class of each row; None where it is missing."""
    from pyarrow import types

    if columns.label is None:
        return [None] * batch.num_rows
    labels, place = batch.column(columns.label), f"{file}: column {short(columns.label)}"
    if not types.is_integer(labels.type):
        raise UserError(f"{place} contains {short(labels.type)}, not the numbers of classes")
    numbers = [None if label == -1 else label for label in labels.to_pylist()]
    if wrong := [label for label in numbers if label is not None and not 0 <= label < len(columns.classes)]:
        raise UserError(f"{place} holds class {wrong[0]}, but names only {len(columns.classes)} classes, from 0")
    return numbers


def _path_in(folder: Path, path: str | None, place: str) -> Path:
    """The image file that a row names; `UserError` if it is not in the folder of the data set."""
    if path is None:
        raise UserError(f"{place} has no image: remove such rows with filter of datasets")
    file = Path(os.path.realpath(folder / path))
    if not file.is_relative_to(os.path.realpath(folder)):
        raise UserError(
            f"{place} names the file {short(path)}, outside the folder of the data set, which is not read: save it "
            "anew with save_to_disk of datasets, which stores the images themselves"
        )
    if not file.is_file():
        raise UserError(f"{place} names the file {short(path)}, which is not in {folder}")
    return file


def _check_size(size: int, place: object) -> None:
    if size > MAX_MEMBER_BYTES:
        raise UserError(f"{place} has {size:,} bytes, too many to read")


def _digest(content: Any) -> str:
    """What identifies the content of an image."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()
