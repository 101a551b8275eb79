"""Tables for a terminal or a notebook, whose names may come from somebody else's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlzoo.errors import visible

if TYPE_CHECKING:
    import pandas as pd


def printable(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with control characters in its text escaped: pandas prints them as they are.

    >>> import pandas as pd
    >>> printable(pd.DataFrame({"a": ["b" + chr(27), 1]}, index=["c", "d"])).a.tolist() == ["b" + "\\\\x1b", 1]
    True
    """
    from pandas.api.types import is_numeric_dtype

    shown = frame.rename(columns=_printable, index=_printable)
    for i in range(shown.shape[1]):
        if not is_numeric_dtype(shown.iloc[:, i]):
            shown.isetitem(i, shown.iloc[:, i].map(_printable).array)
    return shown


def _printable(cell: object) -> object:
    if isinstance(cell, list):
        return [_printable(part) for part in cell]
    return visible(cell) if isinstance(cell, str) else cell
