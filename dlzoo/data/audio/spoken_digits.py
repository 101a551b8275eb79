"""Spoken digits: the Free Spoken Digit Dataset."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Literal, Unpack

import torch

from dlzoo.data.audio.base import AudioData
from dlzoo.data.audio.decode import read_recordings
from dlzoo.data.loaders import Arrays
from dlzoo.data.options import AudioOptions
from dlzoo.errors import UserError, nearest
from dlzoo.specs.audio import AudioSpec
from dlzoo.specs.targets import Classes
from dlzoo.utils.download import damaged, download, find, folder_of, mirrors_of, read_bytes, zip_members

MAX_ARCHIVE_BYTES = 100_000_000
MAX_RECORDING_BYTES = 1_000_000
"""The longest has 37 kB."""


class SpokenDigits(AudioData):
    """3,000 recordings of the ten digits in English, 50 of each by each of six speakers, at 8,000 Hz.

    Source: Z. Jackson et al., "Free Spoken Digit Dataset", v1.0.10, 2020. Files:
    ``free-spoken-digit-dataset/recordings/0_george_0.wav`` and 2,999 others, or the archive that contains them.

    Args:
        split: the authors' test recordings, the first five of each digit and speaker (authors), or all those of one
            speaker, who is not heard in training (speaker).
        test_speaker: of ``split=speaker``; None is theo.
        data_dir: the folder of all data sets.
        mirrors: base URLs to download from, in place of the default ones.
    """

    rate = 8000
    default_mirrors: ClassVar[tuple[str, ...]] = (
        "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags",
    )
    folder: ClassVar[str] = "free-spoken-digit-dataset"
    archive: ClassVar[str] = "v1.0.10.zip"
    sha256: ClassVar[str] = "45a9b976ba3397a2fd5c70a9f2e43c34f442a3a6be47392ecfc41174b678f37e"
    """Of the names and contents of all recordings in alphabetical order; the archive is packed on demand, and its bytes
    may change."""
    speakers: ClassVar[tuple[str, ...]] = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    num_takes: ClassVar[int] = 50
    num_test_takes: ClassVar[int] = 5

    def __init__(
        self,
        *,
        split: Literal["authors", "speaker"] = "authors",
        test_speaker: str | None = None,
        data_dir: str | os.PathLike[str] = "data",
        mirrors: str | Sequence[str] | None = None,
        **common: Unpack[AudioOptions],
    ) -> None:
        super().__init__(**common)
        if test_speaker is not None and test_speaker not in self.speakers:
            raise UserError(
                f"data.test_speaker={test_speaker}: there is no such speaker; {nearest(test_speaker, self.speakers)}"
            )
        self.by_speaker = split == "speaker"
        self.test_speaker = test_speaker or "theo"
        self.data_dir = folder_of(data_dir)
        self.mirrors = mirrors_of(mirrors, self.default_mirrors)

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        return super().option_uses() | {"test_speaker": (self.by_speaker, "data.split=speaker")}

    def declare(self) -> AudioSpec:
        return self.spec_of(Classes(tuple("0123456789")))

    def prepare_data(self) -> None:
        folder = self.data_dir / self.folder
        if find(folder / "recordings", self.names[0]) is None and find(folder, self.archive) is None:
            download(self.archive, folder=folder, mirrors=self.mirrors, max_bytes=MAX_ARCHIVE_BYTES)

    @property
    def names(self) -> list[str]:
        """All files, in alphabetical order."""
        takes = range(self.num_takes)
        return sorted(f"{digit}_{name}_{take}.wav" for digit in range(10) for name in self.speakers for take in takes)

    def is_test(self, name: str) -> bool:
        """Whether a file is in the test split."""
        _, speaker, take = name.removesuffix(".wav").split("_")
        return speaker == self.test_speaker if self.by_speaker else int(take) < self.num_test_takes

    @cached_property
    def contents(self) -> dict[str, bytes]:
        """The files by name, checked."""
        folder = self.data_dir / self.folder
        recordings, archive = folder / "recordings", folder / self.archive
        if find(recordings, self.names[0]) is not None:
            place, contents = recordings, {name: read_bytes(recordings / name) for name in self.names}
        elif find(folder, self.archive) is not None:
            members = zip_members(archive, [f"recordings/{name}" for name in self.names], max_bytes=MAX_RECORDING_BYTES)
            place, contents = archive, dict(zip(self.names, members.values(), strict=True))
        else:
            raise UserError(f"{self.archive} is not in {folder}: call prepare_data() first, it downloads it")
        total = hashlib.sha256()
        for name, content in contents.items():
            total.update(name.encode() + content)
        if total.hexdigest() != self.sha256:
            raise damaged(place, "its recordings are not those of version 1.0.10")
        return contents

    def load(self, split: Literal["train", "test"]) -> Arrays:
        names = [name for name in self.names if self.is_test(name) == (split == "test")]
        x, problems, _ = read_recordings(self.decode, [io.BytesIO(self.contents[name]) for name in names])
        assert not problems
        return Arrays(x, torch.tensor([int(name[0]) for name in names]))
