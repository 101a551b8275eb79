"""Scenes of Shakespeare's plays as running text."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import ClassVar, Unpack

from dlzoo.data.options import StreamOptions
from dlzoo.data.text.stream import StreamData
from dlzoo.errors import UserError
from dlzoo.utils.download import damaged, download, find, folder_of, mirrors_of, read_bytes


class TinyShakespeare(StreamData):
    """40,000 lines of Shakespeare's plays, 1,115,394 characters of 65 kinds.

    Source: A. Karpathy, "The Unreasonable Effectiveness of Recurrent Neural Networks", 2015. File:
    ``tiny_shakespeare/input.txt``.

    Args:
        data_dir: the folder of all data sets.
        mirrors: base URLs to download from, in place of the default ones.
    """

    default_mirrors: ClassVar[tuple[str, ...]] = (
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare",
    )
    folder: ClassVar[str] = "tiny_shakespeare"
    file: ClassVar[str] = "input.txt"
    sha256: ClassVar[str] = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    num_bytes: ClassVar[int] = 1_115_394

    def __init__(
        self,
        *,
        data_dir: str | os.PathLike[str] = "data",
        mirrors: str | Sequence[str] | None = None,
        **common: Unpack[StreamOptions],
    ) -> None:
        super().__init__(**common)
        self.data_dir = folder_of(data_dir)
        self.mirrors = mirrors_of(mirrors, self.default_mirrors)

    def prepare_data(self) -> None:
        folder = self.data_dir / self.folder
        if find(folder, self.file) is None:
            download(self.file, sha256=self.sha256, folder=folder, mirrors=self.mirrors, max_bytes=2 * self.num_bytes)

    def text(self) -> str:
        return self._content.decode("utf-8", errors="replace")

    def fingerprint(self, part: str) -> str:
        return hashlib.blake2b(self._content, digest_size=16).hexdigest()

    @property
    def _content(self) -> bytes:
        path = find(self.data_dir / self.folder, self.file)
        if path is None:
            raise UserError(
                f"{self.folder}/{self.file} is not in {self.data_dir}: call prepare_data() first, it downloads it"
            )
        content = read_bytes(path)
        if len(content) != self.num_bytes:
            raise damaged(path, f"it has {len(content):,} bytes, not {self.num_bytes:,}")
        return content
