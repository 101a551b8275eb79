"""Sequences in a table: a row for each step (long), or a row for each sequence (wide)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dlzoo.data.csv_reader import check_unique
from dlzoo.data.numbers import as_numbers, parse_number, parse_numbers
from dlzoo.errors import UserError, nearest, short

if TYPE_CHECKING:
    import pandas as pd


MAX_PADDED = 100_000_000
"""Values of all sequences, padding included, or 50 times those of the file if more: 400 MB."""


class Sequences(NamedTuple):
    """values: N tensors (T, D) float32; ``keys`` name the sequences, ``labels`` are None where no column holds them."""

    names: tuple[str, ...]
    values: list[Tensor]
    keys: list[str]
    labels: list[str] | None

    def padded(self, length: int | None = None) -> Tensor:
        """(N, T, D), NaN behind each sequence's end.

        Args:
            length: T; None: that of the longest.
        """
        x = pad_sequence(self.values, batch_first=True, padding_value=torch.nan)
        missing = 0 if length is None else length - x.shape[1]
        return torch.nn.functional.pad(x, (0, 0, 0, missing), value=torch.nan) if missing > 0 else x


class Source(NamedTuple):
    """Where cells come from, for messages."""

    name: object
    num_header_lines: int

    def line(self, row: int) -> str:
        return f"{self.name}, line {row + 1 + self.num_header_lines}"


def read_wide(frame: pd.DataFrame, source: Source, *, target: str | None, values: Sequence[str] | None) -> Sequences:
    """A row for each sequence: the columns of its steps, in their order; empty cells at the end make it shorter.

    Raises:
        UserError: a cell is no number, one is missing between others, or a row has none.
    """
    columns = [str(name) for name in frame.columns]
    steps = _selected(columns, [target], values, source)
    if source.num_header_lines and values is None:
        check_header(steps, source)
    cells = np.stack([numbers_of(frame[name], source) for name in steps], axis=1)
    known = ~np.isnan(cells)
    lengths = known.sum(1)
    for row in np.flatnonzero((known[:, 1:] & ~known[:, :-1]).any(1) | (lengths == 0))[:1]:
        gap = int(np.flatnonzero(~known[row])[0])
        raise UserError(
            f"{source.line(row)}: {steps[gap]} is empty" + (", but later steps are not; fill it in" if lengths[row] else
            ", and so are all steps; remove the row")
        )  # fmt: skip
    sequences = [torch.from_numpy(row[:n, None]).float() for row, n in zip(cells, lengths, strict=True)]
    labels = None if target is None else _labels(frame[target], source)
    return Sequences(("value",), sequences, [str(i + 1) for i in range(len(frame))], labels)


def check_header(steps: Sequence[str], source: Source, key: str = "data.header") -> None:
    """`UserError` if the names of the steps are values: numbers that do not rise, as those of steps or times would.

    Args:
        key: the option that says whether there is a header.
    """
    numbers = [number[0] for name in steps if (number := parse_number(name)) is not None]
    if len(numbers) == len(steps) and any(a >= b for a, b in itertools.pairwise(numbers)):
        raise UserError(
            f"{source.name}: its first line ({short(', '.join(steps))}) does not name the columns; if the file has no "
            f"header, set {key}=false"
        )


def read_long(
    frame: pd.DataFrame, source: Source, *, key: str, time: str | None, target: str | None, values: Sequence[str] | None
) -> Sequences:
    """A row for each step: sequences in the order of their first rows, steps in that of ``time`` or of the rows.

    Raises:
        UserError: a cell is missing or no number, a sequence has several labels, or two steps the same time.
    """
    import pandas as pd

    columns = [str(name) for name in frame.columns]
    names = _selected(columns, [key, time, target], values, source)
    _refuse_missing(frame[key], source)
    codes, keys = pd.factorize(frame[key])
    cells = np.stack([numbers_of(frame[name], source, may_miss=False) for name in names], axis=1)
    order = np.argsort(codes, kind="stable")
    if time is not None:
        times = times_of(frame[time], source)
        order = np.lexsort((times, codes))
        same = (np.diff(codes[order]) == 0) & (np.diff(times[order]) == 0)
        for i in np.flatnonzero(same)[:1]:
            row = order[i + 1]
            raise UserError(
                f"{source.line(row)}: {key}={frame[key].iloc[row]} has a second step with {time}="
                f"{frame[time].iloc[row]}; remove one, or choose another column with data.time"
            )
    _check_padding(np.bincount(codes), cells, source)
    labels = None
    if target is not None:
        each = np.array(_labels(frame[target], source), dtype=object)
        first = each[np.unique(codes, return_index=True)[1]]
        for row in np.flatnonzero(each != first[codes])[:1]:
            raise UserError(
                f"{source.line(row)}: {key}={frame[key].iloc[row]} has the label {short(each[row])!r}, but "
                f"{short(first[codes[row]])!r} in an earlier row; a sequence has one label in data.target={target}"
            )
        labels = [str(label) for label in first]
    starts = np.searchsorted(codes[order], np.arange(len(keys) + 1))
    ordered = torch.from_numpy(cells[order]).float()
    sequences = [ordered[a:b] for a, b in itertools.pairwise(starts)]
    return Sequences(tuple(names), sequences, [str(key) for key in keys], labels)


def _check_padding(lengths: np.ndarray, cells: np.ndarray, source: Source) -> None:
    """`UserError` if one sequence is so much longer than the others that they would be little but padding."""
    num = len(lengths) * int(lengths.max()) * cells.shape[1]
    if num > max(MAX_PADDED, 50 * cells.size):
        raise UserError(
            f"{source.name}: {len(lengths):,} sequences, all as long as the longest one, which has {lengths.max():,} "
            f"steps, are {num:,} values, but the file has {cells.size:,}: cut the longest sequences, or leave them out"
        )


def numbers_of(cells: pd.Series, source: Source, *, may_miss: bool = True) -> np.ndarray:
    """(N,) float64, NaN where a cell is empty; `UserError` for the first that is not a finite number."""
    if not may_miss:
        _refuse_missing(cells, source)
    numbers = as_numbers(cells, parse_numbers(cells.dropna()).unit).to_numpy(dtype=np.float64)
    for row in np.flatnonzero(~np.isfinite(numbers) & cells.notna().to_numpy())[:1]:
        raise UserError(
            f"{source.line(row)}: {short(cells.iloc[row])!r} in {cells.name} is not a finite number; fix it, or select "
            "other columns with data.values"
        )
    return numbers


def times_of(cells: pd.Series, source: Source) -> np.ndarray:
    """Numbers or dates as numbers that are in the same order."""
    import pandas as pd

    _refuse_missing(cells, source)
    numbers = parse_numbers(cells).values
    if numbers.notna().all():
        return numbers_of(cells, source)
    try:
        times = pd.to_datetime(cells, errors="coerce", format="ISO8601")
    except ValueError:  # dates of several time zones, or with and without one
        times = pd.to_datetime(cells, errors="coerce", format="ISO8601", utc=True)
    for row in np.flatnonzero(times.isna().to_numpy() & (numbers.isna().to_numpy() | times.notna().to_numpy().any()))[
        :1
    ]:
        raise UserError(
            f"{source.line(row)}: {short(cells.iloc[row])!r} in {cells.name} is neither a number nor a date such as "
            "2024-01-31 18:00"
        )
    return times.astype("int64").to_numpy()


def _labels(cells: pd.Series, source: Source) -> list[str]:
    _refuse_missing(cells, source)
    return [str(cell) for cell in cells]


def _refuse_missing(cells: pd.Series, source: Source) -> None:
    for row in np.flatnonzero(cells.isna())[:1]:
        raise UserError(f"{source.line(row)}: {cells.name} is empty; fill it in, or remove the row")


def _selected(
    columns: list[str], taken: Sequence[str | None], values: Sequence[str] | None, source: Source
) -> list[str]:
    """The columns of values: those given, or all that are not taken."""
    others = [name for name in taken if name is not None]
    selected = [name for name in columns if name not in others] if values is None else [*values]
    keys = dict.fromkeys(others, "data.id, data.time or data.target") | dict.fromkeys(selected, "data.values")
    for name, option in keys.items():
        if name not in columns:
            raise UserError(f"{source.name} has no column {name} ({option}); {nearest(name, columns)}")
    if not selected or len({*selected}) < len(selected) or {*selected} & {*others} or len({*others}) < len(others):
        raise UserError(
            f"{source.name}: data.values={selected} must name at least one column, each once, and none that data.id, "
            "data.time or data.target names"
        )
    check_unique(columns, [*others, *selected], source.name)
    return selected
