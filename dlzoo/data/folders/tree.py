"""Traverse a user's folder, or a zip archive of one, which is read without extracting it.

Hidden files and folders, and those that operating systems create, such as ``__MACOSX``, are skipped.
"""

from __future__ import annotations

import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from dlzoo.data.folders.files import File, ZipMember
from dlzoo.errors import UserError, short
from dlzoo.utils.archives import ZIP_FAILURES
from dlzoo.utils.files import SYSTEM, check_levels, walk

MAX_MEMBER_BYTES = 2**30
"""Maximum decompressed size of a file in an archive."""
MAX_ARCHIVE_BYTES = 2**32
"""Maximum decompressed size of an archive, or 50 times its size if larger."""
LOCAL_HEADER = 30
"""Bytes in front of a file in an archive, besides its name."""
SYSTEM_FILES = {"__macosx", "$recycle.bin", "system volume information", "@eadir", "lost+found", "thumbs.db"}
"""Files and folders that operating systems and network drives create, besides those that begin with a dot."""


class Tree(ABC):
    """Folders and files; paths in an archive begin with the path of the archive."""

    @abstractmethod
    def folders(self, path: Path) -> list[str]:
        """The names of the subfolders, sorted, without hidden ones."""

    @abstractmethod
    def files(self, path: Path) -> Iterator[File]:
        """The files in a folder and its subfolders, without hidden ones."""

    @abstractmethod
    def files_directly_in(self, path: Path) -> Iterator[File]:
        """The files in a folder, without those in subfolders and hidden ones."""


class FolderTree(Tree):
    """On the disk; links are followed, but no folder is read twice.

    ``os.path.isdir`` is false of a link to itself, where ``entry.is_dir()`` raises.
    """

    def folders(self, path: Path) -> list[str]:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if is_visible(entry.name) and os.path.isdir(entry))

    def files_directly_in(self, path: Path) -> Iterator[File]:
        with os.scandir(path) as entries:
            yield from [entry.path for entry in entries if is_visible(entry.name) and not os.path.isdir(entry)]

    def files(self, path: Path) -> Iterator[File]:
        seen: set[str] = set()
        for folder, subfolders, names in walk(path, follow_links=True, on_error=_refuse):
            real = os.path.realpath(folder)
            if real in seen or real.startswith(SYSTEM):  # two links to a parent would double at each level
                subfolders.clear()
                continue
            seen.add(real)
            subfolders[:] = filter(is_visible, subfolders)
            yield from (os.path.join(folder, name) for name in names if is_visible(name))


class IndexedTree(Tree):
    """Folders and files that are all known at once."""

    @property
    @abstractmethod
    def index(self) -> Mapping[Path, tuple[Collection[str], Sequence[File]]]:
        """The names of the subfolders and the files of each folder."""

    def folders(self, path: Path) -> list[str]:
        return [*self.index[path][0]]

    def files_directly_in(self, path: Path) -> Iterator[File]:
        return iter(self.index[path][1])

    def files(self, path: Path) -> Iterator[File]:
        yield from self.files_directly_in(path)
        for name in self.folders(path):
            yield from self.files(path / name)


class ZipTree(IndexedTree):
    """In a zip archive.

    Args:
        key: of the option that names it, for messages.
    """

    def __init__(self, archive: Path, key: str = "data.path") -> None:
        self.archive = archive
        self.key = key

    @cached_property
    def members(self) -> list[ZipMember]:
        """All visible files.

        Raises:
            UserError: it is damaged, or holds a file that is encrypted, of an unknown compression or too large.
        """
        try:
            with zipfile.ZipFile(self.archive) as file:
                infos = [info for info in file.infolist() if not info.filename.endswith("/")]
            size = self.archive.stat().st_size
        except ZIP_FAILURES as error:
            raise UserError(f"{self.key}={self.archive} cannot be read as a zip archive ({error})") from None
        self._check_places(infos, size)
        infos = [info for info in infos if all(map(is_visible, info.filename.split("/")))]
        members = [self._member(info) for info in infos]
        if sum(member.size for member in members) > (limit := max(MAX_ARCHIVE_BYTES, 50 * size)):
            raise UserError(
                f"{self.key}={self.archive} ({size:,} bytes) unpacks to more than {limit:,} bytes: if you trust it, "
                "extract it and give its folder"
            )
        return members

    def _check_places(self, infos: Sequence[zipfile.ZipInfo], size: int) -> None:
        """`UserError` for members that lie beyond the archive's end, or in each other: so a small archive could hold
        any number of large files."""
        end = 0
        for info in sorted(infos, key=lambda info: info.header_offset):
            if info.header_offset < end:
                raise UserError(
                    f"{self.key}={self.archive} is damaged: {short(info.filename, 200)} overlaps another file"
                )
            end = info.header_offset + LOCAL_HEADER + info.compress_size
            if end > size:
                raise UserError(f"{self.key}={self.archive} is damaged: {short(info.filename, 200)} is beyond its end")

    def _member(self, info: zipfile.ZipInfo) -> ZipMember:
        name = "/".join(filter(None, info.filename.split("/")))  # /a//b.png is in the folder a
        place = f"{self.key}={self.archive}: {short(name, 200)}"
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            what = "encrypted" if info.flag_bits & 1 else f"compressed by method {info.compress_type}"
            raise UserError(f"{place} is {what}: extract the archive and give its folder")
        if info.file_size > MAX_MEMBER_BYTES:
            raise UserError(f"{place} has {info.file_size:,} bytes, too many to read")
        sizes = (info.compress_size, info.file_size)
        return ZipMember(str(self.archive), name, info.header_offset, *sizes, info.compress_type, info.CRC)

    @cached_property
    def index(self) -> dict[Path, tuple[list[str], list[ZipMember]]]:
        index: dict[Path, tuple[set[str], list[ZipMember]]] = {self.archive: (set(), [])}
        for member in self.members:
            folder, levels = self.archive, PurePosixPath(member.name).parts[:-1]
            check_levels(len(levels), f"{self.key}={self.archive}")
            for name in levels:
                index[folder][0].add(name)
                folder = folder / name
                index.setdefault(folder, (set(), []))
            index[folder][1].append(member)
        return {folder: (sorted(names), members) for folder, (names, members) in index.items()}


def is_visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in SYSTEM_FILES


def _refuse(error: OSError) -> None:
    raise UserError(
        f"{error.filename} cannot be read ({error.strerror}): check its permissions, or remove it"
    ) from None
