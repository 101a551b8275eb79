"""Pairs of sentences from files with a pair in each line, separated by a tab."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from functools import cached_property
from typing import Literal, Unpack

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.options import PairFileOptions, PairOptions
from dlzoo.data.pairs.base import TOGETHER, PairData, Table
from dlzoo.data.splits import holdout_groups
from dlzoo.data.text_reader import content_of, decode, with_line_feeds
from dlzoo.errors import UserError, at_least, between, short
from dlzoo.utils import files as paths


class PairFile(PairData):
    """Pairs of sentences, split so that no sentence of either side stands in two splits.

    Pairs that share a sentence, apart from case and punctuation, stay together.

    Args:
        test_fraction: fraction of the pairs in the test set.
        test_seed: selects the test pairs; independent of the run's seed, so that runs are comparable.
    """

    def __init__(self, *, test_fraction: float = 0.1, test_seed: int = 0, **common: Unpack[PairOptions]) -> None:
        super().__init__(**common)
        between(0, 1, "data", test_fraction=test_fraction, exclusive=True)
        self.test_fraction = test_fraction
        self.test_seed = test_seed

    @abstractmethod
    def read_table(self) -> Table:
        """All pairs."""

    def table(self) -> Table:
        return self._table

    @cached_property
    def _table(self) -> Table:
        return self.read_table()

    def fingerprint(self, part: str) -> str:
        texts = self.read_texts(part)[0]
        return hashlib.blake2b("\n".join(texts).encode(), digest_size=16).hexdigest()

    def groups(self) -> Tensor:
        return self._groups

    @cached_property
    def _groups(self) -> Tensor:
        return connected(self.table())

    def test_rows(self) -> Tensor:
        return holdout_groups(self._groups, self.test_fraction, seed=self.test_seed, rule=TOGETHER)[1]


class TextPairs(PairFile):
    """Your own pairs of sentences: a text file with a pair in each line, separated by a tab; blank lines are skipped.

    Args:
        path: the file, which may be compressed as .gz, .bz2 or .xz.
        source, target: numbers of the columns, from 1; there may be others.
        encoding: Python's name of the file's encoding, such as latin-1.
        missing: refuse lines without a sentence on one side, or drop them.
    """

    def __init__(
        self,
        *,
        path: str,
        source: int = 1,
        target: int = 2,
        encoding: str = "utf-8-sig",
        missing: Literal["refuse", "drop"] = "refuse",
        **common: Unpack[PairFileOptions],
    ) -> None:
        super().__init__(**common)
        at_least(1, "data", source=source, target=target)
        if source == target:
            raise UserError(f"data.source={source} and data.target={target} must be different columns")
        self.path = path
        self.columns = (source, target)
        self.encoding = encoding
        self.missing = missing

    def read_table(self) -> Table:
        path = paths.existing_file(self.path, "data.path")
        text = with_line_feeds(decode(content_of(path), self.encoding, path))
        table, num_dropped = parse(text, self.columns, str(path), drop=self.missing == "drop")
        if num_dropped:
            self._notes.append(f"{path.name}: {num_dropped:,} lines without a sentence on one side are dropped")
        return table


def parse(text: str, columns: tuple[int, int], source: str, *, drop: bool = False) -> tuple[Table, int]:
    """The pairs of a text, and the number of lines that were dropped.

    Args:
        columns: of source and target, from 1.
        source: of the text, for messages.
        drop: lines without a sentence on one side, instead of refusing them.

    Raises:
        UserError: names the first line that is no pair.
    """
    table, num_dropped, width, first = Table([], []), 0, 0, 0
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        cells = [" ".join(cell.split()) for cell in line.split("\t")]
        where = f"{source}, line {number}"
        if not width:
            width, first = len(cells), number
            _check_width(width, columns, where, line)
        if len(cells) != width:
            raise UserError(
                f"{where} has {len(cells)} columns, but line {first} has {width}: '{short(line)}'; one pair a line, "
                "separated by a tab, and no tab within a sentence"
            )
        pair = tuple(cells[column - 1] for column in columns)
        if all(pair):
            table.sources.append(pair[0])
            table.targets.append(pair[1])
        elif drop:
            num_dropped += 1
        else:
            side = "target" if pair[0] else "source"
            raise UserError(
                f"{where}: the {side} is empty: '{short(line)}'; complete the line, or set data.missing=drop"
            )
    if not table.sources:
        raise UserError(f"{source} contains no pair of sentences")
    return table, num_dropped


def _check_width(width: int, columns: tuple[int, int], where: str, line: str) -> None:
    if width == 1:
        raise UserError(f"{where} has no tab between the two sentences: '{short(line)}'; write one pair a line")
    for key, column in zip(("source", "target"), columns, strict=True):
        if column > width:
            raise UserError(f"data.{key}={column}: {where} has only {width} columns")


def connected(table: Table) -> Tensor:
    """(N,) the group of each pair: two pairs that share a sentence are in the same group, directly or by others."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    numbers: dict[tuple[int, str], int] = {}
    ends = [
        np.array([numbers.setdefault((side, sentence_key(text)), len(numbers)) for text in texts])
        for side, texts in enumerate(table)
    ]
    links = coo_matrix((np.ones(len(ends[0])), (ends[0], ends[1])), shape=(len(numbers), len(numbers)))
    _, labels = connected_components(links, directed=False)
    return torch.from_numpy(labels[ends[0]].astype(np.int64))


def sentence_key(text: str) -> str:
    """What two spellings of the same sentence have in common.

    >>> sentence_key("Don't go!") == sentence_key("don't  go.")
    True
    """
    return " ".join(re.findall(r"\w+", text.casefold())) or text
