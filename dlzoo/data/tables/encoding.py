"""Raw columns of tables become features.

`encode` converts raw rows to features, for training and for predictions on new rows alike: the categories and fill
values it needs are in the columns of the spec, fitted on the training rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.categories import category_indices
from dlzoo.data.csv_reader import check_unique
from dlzoo.data.numbers import as_numbers, finite_float32
from dlzoo.errors import UserError, nearest, short
from dlzoo.specs.base import Spec
from dlzoo.specs.inputs import Column, TableSpec

if TYPE_CHECKING:
    import pandas as pd


def encode(frame: pd.DataFrame, columns: Sequence[Column]) -> Tensor:
    """The features (B, F) float32 of raw rows; columns unknown to the model are ignored.

    A category that does not occur in the training rows is encoded as zeros, with a warning.

    Raises:
        UserError: a column is missing, a missing value has no fill value, or a value is not a finite number.
    """
    absent = [c.name for c in columns if c.name not in frame.columns]
    if absent:
        hints = ", ".join(f"{name} ({nearest(name, map(str, frame.columns))})" for name in absent)
        raise UserError(f"the table lacks {hints}")
    check_unique(frame.columns, [c.name for c in columns], "the table")
    features = [_one_hot(frame[c.name], c) if c.categories else _number(frame[c.name], c) for c in columns]
    return torch.from_numpy(np.concatenate(features, axis=1, dtype=np.float32))


def encode_inputs(frame: pd.DataFrame, spec: Spec) -> Tensor | dict[str, Tensor]:
    """The inputs of a net with this spec: the features of a table, or of several tables by name."""
    inputs = {name: encode(frame, table.columns) for name, table in tables_by_name(spec).items()}
    return inputs if spec.named is not None else inputs[""]


def tables_by_name(spec: Spec) -> dict[str, TableSpec]:
    """The tables of a spec by name, or a single one under the empty name; empty if some input is not a table.

    >>> from dlzoo.specs.targets import Values
    >>> tables_by_name(TableSpec((Column("a"),), Values(("y",)))).keys()
    dict_keys([''])
    """
    tables = {name: part.table for name, part in spec.by_name.items()}
    return {name: table for name, table in tables.items() if table is not None} if all(tables.values()) else {}


def as_text(values: pd.Series) -> pd.Series:
    """Values as in a CSV file, with integers as '3' rather than '3.0'; missing ones stay missing."""
    return values.astype(object).map(_text, na_action="ignore")


def _text(value: object) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _fill(values: pd.Series, column: Column) -> pd.Series:
    if values.isna().any() and column.fill is None:
        raise UserError(
            f"column {column.name} has {values.isna().sum()} missing values, and the model has no fill value: "
            "complete these rows, or train with data.missing=impute"
        )
    return values if column.fill is None else values.fillna(column.fill)


def _number(values: pd.Series, column: Column) -> np.ndarray:
    """(B, 1) float32."""
    numbers = as_numbers(values, column.unit)
    unreadable = numbers.isna() & values.notna()
    if unreadable.any():
        kind = f"has numbers in {column.unit}" if column.unit else "is numeric"
        raise UserError(
            f"column {column.name} {kind} in training rows, but {short(values[unreadable].iloc[0])!r} is not"
            f"{' one' if column.unit else ' a number'}: if it marks a missing value, add it to data.missing_marks; if "
            f"the column is categorical, set data.categorical=[{column.name}]"
        )
    filled = finite_float32(_fill(numbers, column))
    if not np.isfinite(filled).all():
        first = values.iloc[int(np.flatnonzero(~np.isfinite(filled))[0])]
        raise UserError(f"column {column.name} contains {first}, which is not finite as a 32-bit number: fix this row")
    return filled[:, None]


def _one_hot(values: pd.Series, column: Column) -> np.ndarray:
    """(B, number of categories) float32."""
    text = _fill(as_text(values), column)
    indices = category_indices(text, column.categories)
    if (indices < 0).any():
        unseen = sorted(set(text[indices < 0]))
        warnings.warn(
            f"column {column.name}: {', '.join(map(repr, unseen[:5]))} not in the training rows; {(indices < 0).sum()} "
            f"of {len(indices)} rows are encoded as zeros",
            stacklevel=4,
        )
    return (indices[:, None] == np.arange(len(column.categories))).astype(np.float32)
