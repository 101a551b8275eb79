"""The cells of a CSV file as text: what the tables, the labelled texts and the series of a user are read from."""

from __future__ import annotations

import csv
import io
import lzma
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dlzoo.data.text_reader import OPEN, read_text
from dlzoo.errors import UserError, short

if TYPE_CHECKING:
    import pandas as pd

MISSING_MARKS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")
MOST_COLUMNS = 10_000
"""More are hardly a table: reading would take minutes."""

csv.field_size_limit(2**31 - 1)  # a cell may be a whole book


def read_table(
    path: Path | str | io.BytesIO,
    *,
    separator: str = ",",
    decimal: Literal[".", ","] = ".",
    encoding: str = "utf-8-sig",
    missing_marks: Sequence[str] = MISSING_MARKS,
) -> pd.DataFrame:
    """The cells of a CSV file as text, for `encode`: numbers with a decimal point, missing values as NaN.

    Raises:
        UserError: the file is no CSV, has no rows, rows of unlike length, or two columns of one name.
    """
    import pandas as pd

    separator = separator.replace("\\t", "\t")
    if len(separator) != 1 or separator in (decimal, '"', "\r", "\n"):
        raise UserError(f"data.separator={separator!r} must be one sign, and not data.decimal={decimal!r} or a quote")
    text = read_text(path, encoding)
    _check_shape(text, separator, path)
    try:
        cells = pd.read_csv(io.StringIO(text), sep=separator, header=None, dtype=str, keep_default_na=False)
    except pd.errors.ParserError as error:
        reason = f"{error}".strip().rpartition("C error: ")[2]
        hint = "; a quotation mark is not closed" * ("EOF inside string" in reason)
        raise UserError(f"{path} cannot be read as CSV: {reason}{hint}") from None
    cells = cells.apply(lambda column: column.str.strip())
    names = [str(name) for name in cells.iloc[0]]
    twice = sorted({name for name in names if names.count(name) > 1}) if len({*names}) < len(names) else []
    if twice:
        raise UserError(f"{path}: several columns have the name {', '.join(map(repr, twice))}; rename them")
    frame = cells.iloc[1:].set_axis(names, axis=1).reset_index(drop=True)
    if frame.empty:
        raise UserError(f"{path} has a header and no rows")
    frame = frame.mask(frame.isin(["", *missing_marks]))
    return frame if decimal == "." else frame.apply(_with_point)


def read_header(path: Path, *, separator: str = ",", encoding: str = "utf-8-sig") -> list[str]:
    """The names of the columns: the first line alone is looked at, for a file whose rows are not to be read yet.

    Raises:
        UserError: the file cannot be read, or its first line is no header.
    """
    separator = separator.replace("\\t", "\t")
    try:
        with OPEN.get(path.suffix.lower(), open)(path, "rt", encoding=encoding, newline="") as file:
            lines = csv.reader(file, delimiter=separator)
            header = next((row for row in lines if len(row) > 1 or "".join(row).strip()), [])
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"{path} cannot be read: {reason}") from None
    except LookupError:
        raise UserError(f"data.encoding={encoding}: Python knows no such encoding; common are utf-8, latin-1") from None
    except (ValueError, csv.Error) as error:  # UnicodeError is a ValueError
        raise UserError(f"{path} does not begin with a line of {encoding} text that is a header: {error}") from None
    if not header:
        raise UserError(f"{path} is empty")
    return [name.strip() for name in header]


def _check_shape(text: str, separator: str, path: object) -> None:
    """Refuse an empty file, and rows with more or fewer cells than the header; pandas would fill the short ones up."""
    lines = csv.reader(io.StringIO(text, newline=None), delimiter=separator)
    rows = ((lines.line_num, row) for row in lines if len(row) > 1 or "".join(row).strip())
    try:
        _, header = next(rows, (0, None))
        if header is None:
            raise UserError(f"{path} is empty")
        if len(header) > MOST_COLUMNS:
            raise UserError(f"{path}: its first line has {len(header):,} cells, more than {MOST_COLUMNS:,}")
        wrong = next(((line, row) for line, row in rows if len(row) != len(header)), None)
    except csv.Error as error:
        raise UserError(f"{path} cannot be read as CSV: {error}") from None
    if wrong is not None:
        line, row = wrong
        raise UserError(
            f"{path}, line {line} ({short(separator.join(row))}) has {_cells(row)}, but the first line has "
            f"{_cells(header)} ({short(separator.join(header))}): mend this line{_other(header, separator)}"
        )


def _cells(row: Sequence[str]) -> str:
    return f"{len(row):,} cell{'s' * (len(row) != 1)}"


def _other(header: Sequence[str], separator: str) -> str:
    """The separator to try, where the header knows nothing of the one that was taken."""
    if len(header) > 1:
        return ""
    found = [sign for sign in (",", ";", "\t", "|") if sign != separator and sign in header[0]]
    best = max(found, key=header[0].count, default=None)
    return f", or set data.separator={best!r}" if best else ""


def _with_point(values: pd.Series) -> pd.Series:
    """Numbers such as 1,5 as 1.5. A number with a point would be read wrongly in silence, so it is an error."""
    pointed = values[values.str.fullmatch(r"[+-]?\d+\.[\d.,]+").eq(True)]
    if len(pointed):
        raise UserError(
            f"column {values.name} holds {pointed.iloc[0]!r}, but data.decimal=',': remove the points that group "
            "thousands, or set data.decimal=."
        )
    return values.str.replace(r"^([+-]?\d*),(\d+(?:[eE][+-]?\d+)?)$", r"\1.\2", regex=True)
