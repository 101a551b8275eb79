"""English and Spanish sentences of Tatoeba."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, Unpack

from dlzoo.data.options import PairFileOptions
from dlzoo.data.pairs.base import Table
from dlzoo.data.pairs.files import PairFile, parse
from dlzoo.errors import UserError
from dlzoo.utils.download import damaged, download, find, folder_of, mirrors_of, read_bytes, zip_members


class SpaEng(PairFile):
    """118,964 pairs of English and Spanish sentences, by members of Tatoeba, as manythings.org/anki published them.

    File: ``spa-eng/spa.txt``, or the archive ``spa-eng.zip`` that contains it. Licence: CC BY 2.0.

    Args:
        source, target: columns of the file, 1 for English and 2 for Spanish.
        data_dir: the folder of all data sets.
        mirrors: base URLs to download from, in place of the default ones.
    """

    default_mirrors: ClassVar[tuple[str, ...]] = ("https://storage.googleapis.com/download.tensorflow.org/data",)
    folder: ClassVar[str] = "spa-eng"
    file: ClassVar[str] = "spa.txt"
    archive: ClassVar[str] = "spa-eng.zip"
    sha256: ClassVar[str] = "6ec60e212f812ee3430f7568ea6f33b6fb080e32193c5952e8da0ee8ba45574c"
    """Of spa.txt."""
    num_bytes: ClassVar[int] = 8_042_772

    def __init__(
        self,
        *,
        source: Literal[1, 2],
        target: Literal[1, 2],
        data_dir: str | os.PathLike[str] = "data",
        mirrors: str | Sequence[str] | None = None,
        **common: Unpack[PairFileOptions],
    ) -> None:
        super().__init__(**common)
        if {source, target} != {1, 2}:
            raise UserError(
                f"data.source={source} and data.target={target} must be 1 (English) and 2 (Spanish) in either order"
            )
        self.columns = (source, target)
        self.data_dir = folder_of(data_dir)
        self.mirrors = mirrors_of(mirrors, self.default_mirrors)

    def prepare_data(self) -> None:
        if find(self.data_dir / self.folder, self.file) is None and find(self.data_dir, self.archive) is None:
            # The archive itself has no published checksum; that of its content is checked when it is read.
            download(self.archive, folder=self.data_dir, mirrors=self.mirrors, max_bytes=self.num_bytes)

    def read_table(self) -> Table:
        content, path = self._content()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise damaged(path, "its checksum does not match the published one")
        return parse(content.decode("utf-8"), self.columns, str(path))[0]

    def _content(self) -> tuple[bytes, Path]:
        path = find(self.data_dir / self.folder, self.file)
        if path is not None:
            return read_bytes(path), path
        archive = find(self.data_dir, self.archive)
        if archive is None:
            raise UserError(
                f"{self.folder}/{self.file} is not in {self.data_dir}: call prepare_data() first, it downloads it"
            )
        name = f"{self.folder}/{self.file}"
        return zip_members(archive, [name], max_bytes=self.num_bytes)[name], archive
