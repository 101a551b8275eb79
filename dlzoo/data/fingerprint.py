"""What the rows of a run are known by, in a few kilobytes of its checkpoint: no run is tested on rows it learned from.

Splits are drawn by row number, so ten rows more in a file move most of its rows to another side. A checkpoint
therefore holds a digest of its training and of its validation rows, and a sample of their hashes:

- A run is continued only with the very rows that it began with.
- A checkpoint is evaluated on other rows only if it has not seen them. That is read off the sample: the `SAMPLE_SIZE`
  smallest hashes, which are all of them for a small table (A. Broder, "On the Resemblance and Containment of
  Documents", 1997).

Each reader says what a row is: `DataModule.fit_ids` and `DataModule.test_ids`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from dlzoo.errors import UserError

SAMPLE_SIZE = 4096
"""Hashes in a checkpoint: 41 kB. Of 60,000 rows one in fifteen is found again, of a test with 1,000 of them, 68."""
TOLERATED = 0.05
"""Share of test rows that may equal rows of the run, with a warning: real tables hold the same row twice."""
CHUNK_ROWS = 4096
CONTEXT = 8
"""Tokens that decide whether a running text is cut behind them."""
LEAD = 24
"""Tokens before a piece of running text that belong to it: a short piece alone may stand in any text."""
BLOCK_TOKENS = 1 << 20
CUT_BITS = 5
"""A running text is cut behind one token in 2^5."""


@dataclass(frozen=True)
class Split:
    """The number of rows of a split, and a digest of them in their order."""

    num_rows: int
    digest: str


class Overlap(NamedTuple):
    """Of ``looked_at`` test rows, ``seen`` were training or validation rows of the run."""

    seen: int
    looked_at: int

    @property
    def share(self) -> float:
        return self.seen / self.looked_at if self.looked_at else 0.0


@dataclass(frozen=True)
class Fingerprint:
    """The rows that a run learns from and is validated on.

    ``sample``: the smallest of their hashes, sorted. ``repeated``: the share of training rows that equal another one.
    """

    train: Split
    val: Split
    sample: tuple[int, ...]
    repeated: float

    def same_rows(self, other: Fingerprint) -> bool:
        return (self.train, self.val) == (other.train, other.val)

    def overlap(self, test: np.ndarray) -> Overlap:
        """How many test rows the run has seen. test: (N,) uint64."""
        sample = np.array(self.sample, np.uint64)
        if len(sample) == SAMPLE_SIZE:  # rows with larger hashes are not in it
            test = test[test <= sample[-1]]
        return Overlap(int(np.isin(test, sample).sum()), len(test))

    def is_tested_by(self, test: np.ndarray, *, may_repeat: bool = False) -> bool:
        """Whether a test on these rows says something about new ones.

        Args:
            test: (N,) uint64.
            may_repeat: whether as many of them may equal rows of the run as its own rows equal one another: where rows
                are drawn anew from few different ones, as ten binary digits are, those that were seen come again.
        """
        overlap = self.overlap(test)
        expected = self.repeated if may_repeat else 0.0
        spread = 3 * (expected * (1 - expected) / max(overlap.looked_at, 1)) ** 0.5
        return overlap.share <= expected + TOLERATED + spread

    def to_plain(self) -> dict[str, Any]:
        """For a checkpoint; `from_plain` inverts it."""
        return dataclasses.asdict(self) | {"sample": list(self.sample)}


def of_rows(train: np.ndarray, val: np.ndarray) -> Fingerprint:
    """The fingerprint of rows that are known by their hashes, each (N,) uint64."""
    _, counts = np.unique(train, return_counts=True)
    repeated = float(1 - (counts == 1).sum() / len(train)) if len(train) else 0.0
    sample = np.unique(np.concatenate([train, val]))[:SAMPLE_SIZE]
    return Fingerprint(_split(train), _split(val), tuple(sample.tolist()), repeated)


def from_plain(value: Any, source: object) -> Fingerprint | None:
    """What `Fingerprint.to_plain` gave, or None for a checkpoint from before there were any.

    Raises:
        UserError: it is something else.
    """
    if value is None:
        return None
    try:
        train, val = (Split(value[name]["num_rows"], value[name]["digest"]) for name in ("train", "val"))
        sample, repeated = tuple(value["sample"]), value["repeated"]
    except (KeyError, TypeError):
        raise _damaged(source) from None
    numbers = (train.num_rows, val.num_rows, *sample)
    is_plain = all(type(number) is int and 0 <= number < 2**64 for number in numbers)
    are_text = isinstance(train.digest, str) and isinstance(val.digest, str)
    is_sample = len(sample) <= SAMPLE_SIZE and list(sample) == sorted(sample) if is_plain else False
    if not (is_sample and are_text and isinstance(repeated, float) and 0 <= repeated <= 1):
        raise _damaged(source)
    return Fingerprint(train, val, sample, repeated)


def hash_rows(*columns: Tensor) -> np.ndarray:
    """A hash (N,) uint64 of each row. columns: (N, …) of any plain kinds; 60,000 digits of MNIST take 0.1 s."""
    parts = [c.detach().cpu().contiguous().numpy().reshape(len(c), math.prod(c.shape[1:])) for c in columns]
    parts = [np.ascontiguousarray(part).view(np.uint8) for part in parts if part.shape[1]]
    ids = np.empty(len(columns[0]), np.uint64)
    for start in range(0, len(ids), CHUNK_ROWS):
        block = np.concatenate([part[start : start + CHUNK_ROWS] for part in parts], axis=1)
        content, width = memoryview(block.tobytes()), block.shape[1]
        hashes = [_hash(content[i : i + width]) for i in range(0, len(content), width)]
        ids[start : start + CHUNK_ROWS] = _numbers(hashes)
    return ids


def hash_names(names: Iterable[str]) -> np.ndarray:
    """A hash (N,) uint64 of each name."""
    return _numbers([_hash(name.encode("utf-8", "surrogateescape")) for name in names])


def hash_texts(words: Sequence[str], tokens: np.ndarray, starts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A hash (N,) uint64 of each text with its label, whatever numbers its words have.

    Args:
        tokens: (T,) places in ``words``, one text behind the other.
        starts: (N + 1,) where each begins, and the end.
        labels: (N,) int64.
    """
    table = hash_names(words)
    hashes = []
    for start, end, label in zip(starts[:-1].tolist(), starts[1:].tolist(), labels.tolist(), strict=True):
        hashes.append(_hash(table[tokens[start:end]].tobytes() + label.to_bytes(8, "little", signed=True)))
    return _numbers(hashes)


def hash_pieces(words: Sequence[str], tokens: np.ndarray) -> np.ndarray:
    """A hash (N,) uint64 of each piece of a running text, wherever it stands.

    The text is cut where the `CONTEXT` tokens before say so, as in A. Muthitacharoen, B. Chen, D. Mazières, "A
    Low-bandwidth Network File System", 2001: what is put in at its beginning moves no other cut.

    Args:
        tokens: (T,) places in ``words``.
    """
    table, block = hash_names(words), BLOCK_TOKENS
    odd = np.array([pow(0x9E3779B97F4A7C15, k + 1, 1 << 64) for k in range(CONTEXT)], np.uint64)
    cuts: list[np.ndarray] = [np.zeros(1, np.int64)]
    for start in range(0, len(tokens), block):
        hashed = table[tokens[max(start - CONTEXT + 1, 0) : start + block]]
        if len(hashed) < CONTEXT:
            break
        windows = np.lib.stride_tricks.sliding_window_view(hashed, CONTEXT)
        mixed = sum((windows[:, k] * odd[k] for k in range(CONTEXT)), np.zeros(len(windows), np.uint64))
        places = np.flatnonzero(mixed >> np.uint64(64 - CUT_BITS) == 0)
        cuts.append(places + max(start - CONTEXT + 1, 0) + CONTEXT)  # behind the last token of the window
    places = np.unique(np.append(np.concatenate(cuts), len(tokens)))
    return _numbers([_hash(table[tokens[max(a - LEAD, 0) : b]].tobytes()) for a, b in itertools.pairwise(places)])


def _split(ids: np.ndarray) -> Split:
    return Split(len(ids), sha256(ids.astype("<u8").tobytes()).hexdigest()[:32])


def _hash(content: bytes | memoryview) -> bytes:
    return sha256(content).digest()[:8]  # on a processor with SHA instructions twice as fast as blake2b


def _numbers(hashes: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(hashes), "<u8").astype(np.uint64)


def _damaged(source: object) -> UserError:
    return UserError(f"ckpt={source} is damaged: what it says of its training rows is no fingerprint")
