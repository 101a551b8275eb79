"""Fingerprints of a run's rows, a few kilobytes per checkpoint, so that no model is tested on its training rows.

Splits are drawn by row index, so ten additional rows in a file move most of its rows to another split. A checkpoint
therefore stores digests of its training and validation rows, and a sample of their hashes:

- A run is resumed only with its original rows.
- A checkpoint is evaluated on other rows only if they are unseen. This is estimated from the sample: the `SAMPLE_SIZE`
  smallest hashes, which for a small table are all of them (A. Broder, "On the Resemblance and Containment of
  Documents", 1997).

Each data module defines what identifies a row: `DataModule.fit_ids` and `DataModule.test_ids`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dlzoo.errors import UserError

SAMPLE_SIZE = 4096
"""Hashes per checkpoint: 41 kB. Of 60,000 rows, one in fifteen is in the sample: 68 of 1,000 reused test rows."""
MAX_OVERLAP = 0.05
"""Fraction of test rows that may equal rows of the run, with a warning: real tables contain duplicates."""
CHUNK_ROWS = 4096
WINDOW_TOKENS = 8
"""Tokens that determine whether a running text is cut after them."""
LEADING_TOKENS = 24
"""Preceding tokens hashed with a piece of running text, since a short piece alone may occur in any text."""
BLOCK_TOKENS = 1 << 20
CUT_BITS = 5
"""A running text is cut after one token in 2^5."""


@dataclass(frozen=True)
class Split:
    """The number of rows of a split, and a digest of the rows in order."""

    num_rows: int
    digest: str


class Overlap(NamedTuple):
    """``num_seen`` of ``num_checked`` test rows were training or validation rows of the run."""

    num_seen: int
    num_checked: int

    @property
    def fraction(self) -> float:
        return self.num_seen / self.num_checked if self.num_checked else 0.0


@dataclass(frozen=True)
class Fingerprint:
    """The training and validation rows of a run.

    ``sample``: their smallest hashes, sorted. ``repeated``: the fraction of training rows that are duplicates.
    """

    train: Split
    val: Split
    sample: tuple[int, ...]
    repeated: float

    def same_rows(self, other: Fingerprint) -> bool:
        return (self.train, self.val) == (other.train, other.val)

    def overlap(self, test: np.ndarray) -> Overlap:
        """The overlap of test rows, (N,) uint64, with the rows of the run."""
        sample = np.array(self.sample, np.uint64)
        if len(sample) == SAMPLE_SIZE:  # the sample contains no larger hashes
            test = test[test <= sample[-1]]
        return Overlap(int(np.isin(test, sample).sum()), len(test))

    def accepts_test(self, test: np.ndarray, *, may_repeat: bool = False) -> bool:
        """Whether a test on these rows measures generalisation to new ones.

        Args:
            test: (N,) uint64.
            may_repeat: allow the overlap that the duplicates within the training rows suggest: newly drawn rows with
                few possible values, such as ten binary digits, inevitably repeat rows that were seen.
        """
        overlap = self.overlap(test)
        expected = self.repeated if may_repeat else 0.0
        spread = 3 * (expected * (1 - expected) / max(overlap.num_checked, 1)) ** 0.5
        return overlap.fraction <= expected + MAX_OVERLAP + spread

    def to_plain(self) -> dict[str, object]:
        """Plain values for a checkpoint, the inverse of `from_plain`."""
        return dataclasses.asdict(self) | {"sample": list(self.sample)}


def of_rows(train: np.ndarray, val: np.ndarray) -> Fingerprint:
    """The fingerprint of rows given by their hashes, each (N,) uint64."""
    _, counts = np.unique(train, return_counts=True)
    repeated = float(1 - (counts == 1).sum() / len(train)) if len(train) else 0.0
    sample = np.unique(np.concatenate([train, val]))[:SAMPLE_SIZE]
    return Fingerprint(_split(train), _split(val), tuple(sample.tolist()), repeated)


def from_plain(value: object, source: object) -> Fingerprint | None:
    """The inverse of `Fingerprint.to_plain`; None for a checkpoint of an older version, which has no fingerprint.

    Raises:
        UserError: the value is not a fingerprint.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _damaged(source)
    try:
        train, val = (Split(value[name]["num_rows"], value[name]["digest"]) for name in ("train", "val"))
        sample, repeated = tuple(value["sample"]), value["repeated"]
    except (KeyError, TypeError):
        raise _damaged(source) from None
    integers = (train.num_rows, val.num_rows, *sample)
    are_uint64 = all(type(number) is int and 0 <= number < 2**64 for number in integers)
    are_text = isinstance(train.digest, str) and isinstance(val.digest, str)
    is_sample = len(sample) <= SAMPLE_SIZE and list(sample) == sorted(sample) if are_uint64 else False
    if not (is_sample and are_text and isinstance(repeated, float) and 0 <= repeated <= 1):
        raise _damaged(source)
    return Fingerprint(train, val, sample, repeated)


def hash_rows(*columns: Tensor) -> np.ndarray:
    """A hash (N,) uint64 of each row. columns: (N, …) of any numeric dtype; 60,000 MNIST images take 0.1 s."""
    parts = [c.detach().cpu().contiguous().numpy().reshape(len(c), math.prod(c.shape[1:])) for c in columns]
    parts = [np.ascontiguousarray(part).view(np.uint8) for part in parts if part.shape[1]]
    ids = np.empty(len(columns[0]), np.uint64)
    for start in range(0, len(ids), CHUNK_ROWS):
        block = np.concatenate([part[start : start + CHUNK_ROWS] for part in parts], axis=1)
        content, width = memoryview(block.tobytes()), block.shape[1]
        hashes = [_hash(content[i : i + width]) for i in range(0, len(content), width)]
        ids[start : start + CHUNK_ROWS] = _integers(hashes)
    return ids


def hash_names(names: Iterable[str]) -> np.ndarray:
    """A hash (N,) uint64 of each name."""
    return _integers([_hash(name.encode("utf-8", "surrogateescape")) for name in names])


def hash_texts(
    distinct_tokens: Sequence[str], tokens: np.ndarray, starts: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """A hash (N,) uint64 of each text with its label, independent of the numbering of its tokens.

    Args:
        tokens: (T,) indices into ``distinct_tokens``, the texts concatenated.
        starts: (N + 1,) where each text begins, and the end.
        labels: (N,) int64.
    """
    table = hash_names(distinct_tokens)
    hashes = []
    for start, end, label in zip(starts[:-1].tolist(), starts[1:].tolist(), labels.tolist(), strict=True):
        hashes.append(_hash(table[tokens[start:end]].tobytes() + label.to_bytes(8, "little", signed=True)))
    return _integers(hashes)


def hash_pieces(distinct_tokens: Sequence[str], tokens: np.ndarray) -> np.ndarray:
    """A hash (N,) uint64 of each piece of a running text, independent of its position.

    Content-defined chunking: the `WINDOW_TOKENS` tokens before a position determine whether the text is cut there, so
    inserting text moves no cuts elsewhere (A. Muthitacharoen, B. Chen, D. Mazières, "A Low-bandwidth Network File
    System", 2001).

    Args:
        tokens: (T,) indices into ``distinct_tokens``.
    """
    table, block, width = hash_names(distinct_tokens), BLOCK_TOKENS, WINDOW_TOKENS
    odd = np.array([pow(0x9E3779B97F4A7C15, k + 1, 1 << 64) for k in range(width)], np.uint64)
    cuts: list[np.ndarray] = [np.zeros(1, np.int64)]
    for start in range(0, len(tokens), block):
        hashed = table[tokens[max(start - width + 1, 0) : start + block]]
        if len(hashed) < width:
            break
        windows = np.lib.stride_tricks.sliding_window_view(hashed, width)
        mixed = sum((windows[:, k] * odd[k] for k in range(width)), np.zeros(len(windows), np.uint64))
        positions = np.flatnonzero(mixed >> np.uint64(64 - CUT_BITS) == 0)
        cuts.append(positions + max(start - width + 1, 0) + width)  # after the last token of the window
    ends = np.unique(np.append(np.concatenate(cuts), len(tokens)))
    pieces = (tokens[max(start - LEADING_TOKENS, 0) : end] for start, end in itertools.pairwise(ends))
    return _integers([_hash(table[piece].tobytes()) for piece in pieces])


def _split(ids: np.ndarray) -> Split:
    return Split(len(ids), sha256(ids.astype("<u8").tobytes()).hexdigest()[:32])


def _hash(content: bytes | memoryview) -> bytes:
    return sha256(content).digest()[:8]  # twice as fast as blake2b on processors with SHA instructions


def _integers(hashes: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(hashes), "<u8").astype(np.uint64)


def _damaged(source: object) -> UserError:
    return UserError(f"ckpt={source} is damaged: it stores no valid fingerprint of its training rows")
