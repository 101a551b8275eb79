"""What the files in a user's folders are to hold: images, recordings."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dlzoo.data.folders.files import File, StoredImage
from dlzoo.errors import short

SIDECAR_EXTENSIONS = {
    ".txt", ".md", ".csv", ".tsv", ".json", ".xml", ".yaml", ".yml", ".html", ".htm", ".url", ".ini", ".db", ".log",
}  # fmt: skip
"""Files that often accompany images and recordings."""


@dataclass(frozen=True)
class Media:
    """A kind of file.

    Args:
        noun: of one, for messages.
        extensions: in small letters, with their dots.
        convert: extensions that others are to be converted to, for messages.
        in_saved_sets: whether they are read from data sets of Hugging Face too.
        needs_classes: whether they must lie in folders of classes.
    """

    noun: str
    extensions: tuple[str, ...]
    convert: str
    in_saved_sets: bool = False
    needs_classes: bool = True

    def includes(self, file: File) -> bool:
        return self.in_saved_sets if isinstance(file, StoredImage) else extension_of(file) in self.extensions

    def among(self, files: Iterable[File]) -> Iterator[File]:
        """The files of this kind."""
        return filter(self.includes, files)

    def others(self, files: Iterable[File]) -> str:
        """The number of files by extension that may be meant as such but cannot be read; empty if there are none.

        >>> Media("image", (".jpg",), ".jpg").others(["a.jpg", "b.HEIC", "c.heic", "notes.txt", "d"])
        '2 .heic, 1 without extension'
        """
        counts = Counter(extension_of(file) for file in files if not self.includes(file))
        for known in SIDECAR_EXTENSIONS:
            counts.pop(known, None)
        listed = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{num:,} {short(extension) or 'without extension'}" for extension, num in listed[:5])

    def none_in(self, place: object, files: Iterable[File]) -> str:
        """The sentence about a place where there is no such file among its ``files``."""
        others = self.others(files)
        convert = f"; it contains {others}, which cannot be read: convert them to {self.convert}" if others else ""
        return f"{place} contains no {self.noun} ({' '.join(self.extensions)}){convert}"

    def skipped(self, others: str) -> str:
        """The warning about `others`."""
        return f"skipped files that cannot be read as {self.noun}s: {others}"


def extension_of(file: File) -> str:
    return os.path.splitext(str(file))[1].lower()
