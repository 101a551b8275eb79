"""Reading the cells of a CSV file as text, for tables, labelled texts and series."""

from __future__ import annotations

import contextlib
import csv
import io
import lzma
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from dlzoo.data import csv_shape, typed_tables
from dlzoo.data.categories import SWAP_SEPARATORS
from dlzoo.data.numbers import parse_number, parse_numbers
from dlzoo.data.text_reader import DECOMPRESSORS, read_text, with_line_feeds
from dlzoo.errors import UserError
from dlzoo.utils.files import open_regular

if TYPE_CHECKING:
    import pandas as pd

MISSING_MARKS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")


MAX_HEADER_BYTES = 16 << 20
"""Of the start of a file, decompressed, that is read for its header."""


class CsvFormat(TypedDict, total=False):
    """Keyword arguments of `read_table`."""

    separator: str
    decimal: Literal[".", ","]
    encoding: str
    missing_marks: Sequence[str]
    header: bool
    quotes: bool | None


def read_table(
    path: Path | str | io.BytesIO,
    *,
    separator: str = ",",
    decimal: Literal[".", ","] = ".",
    encoding: str = "utf-8-sig",
    missing_marks: Sequence[str] = MISSING_MARKS,
    header: bool = True,
    quotes: bool | None = None,
) -> pd.DataFrame:
    """The cells of a CSV file as text, for `encode`: numbers with a decimal point, missing values as NaN.

    Columns may have no name or the same name: see `check_unique`.

    Args:
        header: whether the first line names the columns; otherwise they are named column_1, column_2, ….
        quotes: whether quotation marks enclose cells; None: they do, unless that joins lines that are rows without it,
            which is an error.

    Raises:
        UserError: the file is not CSV, has no rows, or rows of different lengths.
    """
    import pandas as pd

    if isinstance(path, Path) and typed_tables.is_typed(path):
        return typed_tables.read(path)
    separator = separator.replace("\\t", "\t")
    if len(separator) != 1 or separator in (decimal, '"', "\r", "\n"):
        raise UserError(
            f"data.separator={separator!r} must be one character, and not data.decimal={decimal!r} or a quote"
        )
    text = with_line_feeds(read_text(path, encoding))
    csv_shape.check_shape(text, separator, path, quotes=quotes)
    quoting = csv_shape.quoting(quotes)
    try:
        cells = pd.read_csv(
            io.StringIO(text), sep=separator, header=None, dtype=str, keep_default_na=False, quoting=quoting
        )
    except pd.errors.ParserError as error:
        reason = f"{error}".strip().rpartition("C error: ")[2]
        hint = "; missing closing quotation mark" * ("EOF inside string" in reason)
        raise UserError(f"{path} cannot be read as CSV: {reason}{hint}") from None
    cells = cells.apply(lambda column: column.str.strip())
    names = [str(name) for name in cells.iloc[0]] if header else numbered_names(cells.shape[1])
    frame = cells.iloc[1:].reset_index(drop=True) if header else cells
    if frame.empty:
        raise UserError(f"{path} has a header but no rows")
    frame = frame.mask(frame.isin(["", *missing_marks]))
    if decimal == ",":
        frame = pd.DataFrame({i: _with_point(frame[i], name) for i, name in enumerate(names)})
    return frame.set_axis(names, axis=1)


def numbered_names(num_columns: int) -> list[str]:
    """The names of the columns of a file without a header."""
    return [f"column_{i + 1}" for i in range(num_columns)]


def check_unique(names: Iterable[object], used: Iterable[str], source: object) -> None:
    """Raise `UserError` if several columns have the name of one that is used."""
    counts = Counter(map(str, names))
    if twice := sorted({name for name in used if counts[name] > 1}):
        raise UserError(f"{source}: several columns have the name {', '.join(map(repr, twice))}; rename them")


def missing_header_hint(names: Sequence[str]) -> str:
    """The end of an error message if names look like cells, since the file may have no header."""
    return "; if the file has no header, set data.header=false" if any(map(parse_number, names)) else ""


def read_header(path: Path, options: CsvFormat) -> list[str]:
    """The column names, from the first line alone, for a file whose rows must not be read yet.

    Raises:
        UserError: the file cannot be read, or its first line is not a header.
    """
    if typed_tables.is_typed(path):
        return [str(name) for name in typed_tables.read(path).columns]
    separator, encoding = options.get("separator", ",").replace("\\t", "\t"), options.get("encoding", "utf-8-sig")
    try:
        with (
            open_regular(path) as packed,
            DECOMPRESSORS.get(path.suffix.lower(), contextlib.nullcontext)(packed) as binary,
            io.TextIOWrapper(io.BytesIO(binary.read(MAX_HEADER_BYTES)), encoding=encoding, newline="") as file,
        ):
            lines = csv.reader(file, delimiter=separator, quoting=csv_shape.quoting(options.get("quotes")))
            first = next((row for row in lines if len(row) > 1 or "".join(row).strip()), [])
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"{path} cannot be read: {reason}") from None
    except LookupError:
        raise UserError(f"data.encoding={encoding}: unknown to Python; common encodings are utf-8, latin-1") from None
    except (ValueError, csv.Error) as error:  # UnicodeError is a ValueError
        raise UserError(f"{path} does not begin with a header in {encoding}: {error}") from None
    if not first:
        raise UserError(f"{path} is empty")
    return [name.strip() for name in first] if options.get("header", True) else numbered_names(len(first))


def _with_point(values: pd.Series, name: str) -> pd.Series:
    """Numbers with a decimal comma, such as 1.200,5, as numbers with a decimal point: 1,200.5.

    Raises:
        UserError: some numbers of the column have a decimal point.
    """
    present = values.dropna()
    numbers = parse_numbers(present, ",").values
    if numbers.notna().all():
        return values.str.translate(SWAP_SEPARATORS)
    pointed = present[numbers.isna() & parse_numbers(present).values.notna()]
    if len(pointed) and (numbers.notna() | present.index.isin(pointed.index)).all():
        raise UserError(
            f"column {name} contains {pointed.iloc[0]!r}, but data.decimal=',': write all numbers alike, or set "
            "data.decimal=."
        )
    return values.str.replace(r"^([+-]?\d*),(\d+(?:[eE][+-]?\d+)?)$", r"\1.\2", regex=True)
