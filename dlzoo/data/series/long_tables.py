"""Tables that hold several series below one another, with a column that says which one a row belongs to."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlzoo.data.categories import plain_spelling
from dlzoo.errors import UserError, nearest, short

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

MAX_SERIES = 1_000


def side_by_side(
    frame: pd.DataFrame,
    source: object,
    *,
    id: str,
    time: str,
    values: Sequence[str],
    marks: str | None = None,
    known: Sequence[str] = (),
) -> tuple[pd.DataFrame, list[str]]:
    """A row for each time that all series have, and the names of the columns of values: the name of each series, with
    that of the column behind it if there are several.

    A step has a mark if it has one in any of the series. Columns known ahead must be alike in all of them.

    Raises:
        UserError: a series has two rows of one time, a row has no series, or the series have no time in common.
    """
    import pandas as pd

    if frame[id].isna().any():
        row = int(frame[id].isna().to_numpy().argmax())
        raise UserError(f"{source}, row {row + 1}: {id} is missing, which says which series the row belongs to")
    parts = {str(name): part.set_index(time) for name, part in frame.groupby(id, sort=False)}
    if len(parts) > MAX_SERIES:
        raise UserError(
            f"data.id={id}: {source} has {len(parts):,} different ones in {len(frame):,} rows, of at most "
            f"{MAX_SERIES:,}; is it the column that names the series?"
        )
    for name, part in parts.items():
        if part.index.has_duplicates:
            again = part.index[part.index.duplicated()][0]
            raise UserError(f"{source}: {id}={name} has two rows of {time}={short(again)}; keep one")
    common = _common_times(parts, source, id)
    aligned = {name: part.loc[common] for name, part in parts.items()}
    single = len(values) == 1
    columns = {
        str(name) if single else f"{name} {value}": part[value] for name, part in aligned.items() for value in values
    }
    if marks is not None:
        columns[marks] = pd.concat([part[marks].fillna("") for part in aligned.values()], axis=1).apply(_mark, axis=1)
    first_name, first = next(iter(aligned.items()))
    for column in known:
        for name, part in aligned.items():
            differs = (part[column].fillna("") != first[column].fillna("")).to_numpy()
            if differs.any():
                where = common[int(differs.argmax())]
                raise UserError(
                    f"data.known_ahead={column}: {id}={name} and {first_name} differ at {where}; only columns that are "
                    "alike for all series can be known ahead"
                )
        columns[column] = first[column]
    names = [name for name in columns if name != marks and name not in known]
    if len(names) < len(aligned) * len(values) or time in columns:
        shown = short(", ".join(columns))
        raise UserError(f"{source}: a series of {id} has the name of another column ({shown}); rename it in the file")
    return pd.DataFrame(columns).rename_axis(time).reset_index(), names


def _common_times(parts: dict[str, pd.DataFrame], source: object, id: str) -> pd.Index:
    """The times that all series have, in the order of the first."""
    first = next(iter(parts.values())).index
    is_common = first.isin(first)
    for part in parts.values():
        is_common &= first.isin(part.index)
    common = first[is_common]
    if not len(common):
        raise UserError(
            f"data.id={id}: the {len(parts)} series of {source} have no time in common; forecast them one at a time"
        )
    longest = max(parts, key=lambda name: len(parts[name]))
    if len(parts[longest]) > len(common):
        log.warning(
            "%s: the %d series have %d rows in common, and only these are used; %s=%s has %d",
            source, len(parts), len(common), id, longest, len(parts[longest]),
        )  # fmt: skip
    return common


def _mark(cells: pd.Series) -> str:
    """The first that is not a no."""
    return next((str(cell) for cell in cells if plain_spelling(str(cell)).lower() not in ("", "0", "no", "false")), "0")


def chosen(names: Sequence[str], only: Sequence[str], source: object, id: str) -> list[str]:
    """The columns of the series of a trained model; `UserError` if one is not there."""
    for name in only:
        if name not in names:
            raise UserError(f"{source} lacks the series {name!r} of {id}; {nearest(name, names)}")
    return [*only]
