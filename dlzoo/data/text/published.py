"""Published sets of labelled text, read in place without unpacking archives."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from dlzoo.data.options import PublishedTextOptions, TextOptions
from dlzoo.data.splits import holdout
from dlzoo.data.text.base import TextData
from dlzoo.data.text.loaders import Texts
from dlzoo.errors import UserError, between
from dlzoo.specs.targets import Classes
from dlzoo.utils.download import LimitedGzip, damaged, download, find, folder_of, mirrors_of, read_bytes, zip_members

MAX_PACKED, MAX_UNPACKED = 200_000_000, 1 << 30
"""Of an archive, and of all its contents."""
MAX_BYTES = 1_000_000
"""Of a file in an archive; the largest published one has 86 kB."""


class PublishedText(TextData):
    """Published texts with two classes.

    Args:
        data_dir: the folder of all data sets; relative to the working directory, or with ``~``.
        mirrors: base URLs to download from, in place of the default ones.
    """

    default_mirrors: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        *,
        data_dir: str | os.PathLike[str] = "data",
        mirrors: str | Sequence[str] | None = None,
        **common: Unpack[TextOptions],
    ) -> None:
        super().__init__(**common)
        self.data_dir = folder_of(data_dir)
        self.mirrors = mirrors_of(mirrors, self.default_mirrors)

    def target(self) -> Classes:
        return Classes(("negative", "positive"))


class SentimentSentences(PublishedText):
    """3,000 sentences of reviews of products, films and restaurants, as many positive as negative.

    Source: D. Kotzias, M. Denil, N. de Freitas, P. Smyth, "From Group to Individual Labels Using Deep Features", 2015.
    Files: ``sentiment labelled sentences/amazon_cells_labelled.txt`` and two others, or the archive that contains them.

    Args:
        test_fraction: fraction of the sentences in the test set, stratified.
        test_seed: selects the test sentences; independent of the run's seed, so that runs are comparable.
    """

    default_mirrors = ("https://archive.ics.uci.edu/static/public/331",)
    folder: ClassVar[str] = "sentiment labelled sentences"
    archive: ClassVar[str] = "sentiment+labelled+sentences.zip"
    archive_sha256: ClassVar[str] = "afc26626d710899948693e1a61405dce197f57ffa719fa1130d346b4cc095343"
    names: ClassVar[tuple[str, ...]] = ("amazon_cells_labelled.txt", "imdb_labelled.txt", "yelp_labelled.txt")
    num_sentences: ClassVar[int] = 1000
    """In each file."""

    def __init__(
        self, *, test_fraction: float = 1 / 3, test_seed: int = 0, **common: Unpack[PublishedTextOptions]
    ) -> None:
        super().__init__(**common)
        between(0, 1, "data", test_fraction=test_fraction, exclusive=True)
        self.test_fraction = test_fraction
        self.test_seed = test_seed

    def prepare_data(self) -> None:
        prepare_sentences(self.data_dir, self.mirrors)

    def locate(self, split: Literal["train", "test"]) -> tuple[str, Tensor]:
        labels = torch.tensor(self._sentences[1])
        rows = Texts(torch.empty(0), torch.empty(0), labels)
        train, test = holdout(rows, self.target(), self.test_fraction, seed=self.test_seed)
        return "all", train if split == "train" else test

    def read_texts(self, part: str) -> tuple[list[str], list[int]]:
        return self._sentences

    def fingerprint(self, part: str) -> str:
        return _hash(sentence_files(self.data_dir).values())

    @cached_property
    def _sentences(self) -> tuple[list[str], list[int]]:
        return read_sentences(self.data_dir)


def prepare_sentences(data_dir: Path, mirrors: Sequence[str]) -> None:
    """Download the archive of the sentences unless it or its files exist."""
    cls = SentimentSentences
    if find(data_dir, cls.archive) is None and any(find(data_dir / cls.folder, name) is None for name in cls.names):
        download(cls.archive, sha256=cls.archive_sha256, folder=data_dir, mirrors=mirrors, max_bytes=MAX_BYTES)


def sentence_files(data_dir: Path) -> dict[str, bytes]:
    """The contents of the three files by name, from their folder or else from the archive."""
    cls = SentimentSentences
    folder = data_dir / cls.folder
    paths = {name: find(folder, name) for name in cls.names}
    if all(paths.values()):
        return {name: read_bytes(path) for name, path in paths.items() if path}
    archive = find(data_dir, cls.archive)
    if archive is None:
        raise UserError(f"{cls.archive} is not in {data_dir}: call prepare_data() first, it downloads it")
    members = zip_members(archive, [f"{cls.folder}/{name}" for name in cls.names], max_bytes=MAX_BYTES)
    return dict(zip(cls.names, members.values(), strict=True))


def read_sentences(data_dir: Path) -> tuple[list[str], list[int]]:
    """All sentences and their labels (1 is positive), file by file.

    Lines end with a line feed only: some sentences contain other characters at which Python's splitlines would split.
    Quotes are part of the sentence, and the label follows the last tab.
    """
    sentences, labels = [], []
    for name, content in sentence_files(data_dir).items():
        lines = [line.rstrip("\r") for line in content.decode("utf-8", errors="replace").split("\n") if line.strip()]
        pairs = [line.rpartition("\t") for line in lines]
        if len(pairs) != SentimentSentences.num_sentences or {label for _, _, label in pairs} != {"0", "1"}:
            expected = f"{SentimentSentences.num_sentences:,} sentences, each followed by a tab and 0 or 1"
            raise damaged(data_dir / SentimentSentences.folder / name, f"it does not contain {expected}")
        sentences += [sentence.strip() for sentence, _, _ in pairs]
        labels += [int(label) for _, _, label in pairs]
    return sentences, labels


class Imdb(PublishedText):
    """25,000 + 25,000 film reviews, half of each positive (7 to 10 stars), half negative (1 to 4).

    Source: A. L. Maas et al., "Learning Word Vectors for Sentiment Analysis", 2011. File: ``aclImdb_v1.tar.gz``, which
    is read in place, or the folder ``aclImdb``. Unlabelled reviews are not used. ``<br />`` becomes a line break.
    """

    default_mirrors = ("https://ai.stanford.edu/~amaas/data/sentiment",)
    folder: ClassVar[str] = "aclImdb"
    archive: ClassVar[str] = "aclImdb_v1.tar.gz"
    archive_md5: ClassVar[str] = "7c2ac02c03563afcf9b574c7e56c153a"
    num_reviews: ClassVar[int] = 25_000
    """In each split."""

    def prepare_data(self) -> None:
        if self._archive is None and not (self.data_dir / self.folder).is_dir():
            download(
                self.archive, md5=self.archive_md5, folder=self.data_dir, mirrors=self.mirrors, max_bytes=MAX_PACKED
            )

    def locate(self, split: Literal["train", "test"]) -> tuple[str, Tensor]:
        return split, torch.arange(self.num_reviews)

    def labels(self, part: str) -> list[int]:
        return [0] * (self.num_reviews // 2) + [1] * (self.num_reviews // 2)

    def fingerprint(self, part: str) -> str:
        if self._archive is not None:
            return f"{part} {_hash([read_bytes(self._archive)])}"
        return f"{part} {_hash(content for _, content in sorted(self._files(part)))}"

    def read_texts(self, part: str) -> tuple[list[str], list[int]]:
        reviews: list[tuple[int, int, bytes]] = []
        for name, content in self._files(part):
            kind, number = re.fullmatch(r".*(neg|pos)/(\d+)_\d+\.txt", name).groups()  # type: ignore[union-attr]
            reviews.append((int(kind == "pos"), int(number), content))
        reviews.sort(key=lambda review: review[:2])  # independent of the order of the files
        labels = [label for label, _, _ in reviews]
        if (labels.count(0), labels.count(1)) != (self.num_reviews // 2,) * 2:
            where = self._archive or self.data_dir / self.folder
            counts = f"{labels.count(0):,} negative and {labels.count(1):,} positive reviews for {part}"
            raise damaged(where, f"it contains {counts}, not {self.num_reviews // 2:,} of each")
        texts = [content.decode("utf-8", errors="replace").replace("<br />", "\n") for _, _, content in reviews]
        return texts, labels

    @property
    def _archive(self) -> Path | None:
        return find(self.data_dir, self.archive)

    def _files(self, part: str) -> Iterator[tuple[str, bytes]]:
        """Names and contents of the reviews of a part, from the archive or else from the folder."""
        pattern = re.compile(rf"{self.folder}/{part}/(neg|pos)/\d+_\d+\.txt")
        if self._archive is None:
            if not (self.data_dir / self.folder).is_dir():
                raise UserError(f"{self.archive} is not in {self.data_dir}: call prepare_data() first, it downloads it")
            for path in (self.data_dir / self.folder / part).glob("*/*.txt"):
                name = path.relative_to(self.data_dir).as_posix()
                if pattern.fullmatch(name):
                    yield name, read_bytes(path)
            return
        try:
            with (
                LimitedGzip(self._archive, MAX_UNPACKED) as unpacked,
                tarfile.open(fileobj=io.BufferedReader(unpacked, 1 << 20), mode="r|") as tar,
            ):
                for member in tar:
                    if member.isfile() and pattern.fullmatch(member.name):
                        if member.size > MAX_BYTES:
                            raise damaged(self._archive, f"{member.name} is far larger than any published review")
                        yield member.name, tar.extractfile(member).read()  # type: ignore[union-attr]
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise damaged(self._archive, f"it cannot be read ({error})") from None


def _hash(contents: Iterable[bytes]) -> str:
    """A hash of several byte strings and their lengths."""
    total = hashlib.blake2b(digest_size=16)
    for content in contents:
        total.update(len(content).to_bytes(8, "big"))
        total.update(content)
    return total.hexdigest()
