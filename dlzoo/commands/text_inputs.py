"""Texts to predict: the lines of a file, or a column of a CSV file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dlzoo.errors import UserError, nearest

if TYPE_CHECKING:
    from dlzoo.commands.cli import Content

CSV_SUFFIXES = {".csv": ",", ".tsv": "\t"}
"""With the separator of each, if it is not given."""


class TextOptions(Protocol):
    """Options of a command that reads texts."""

    @property
    def input(self) -> str: ...
    @property
    def text(self) -> str | None: ...
    @property
    def encoding(self) -> str | None: ...


def read_texts(options: TextOptions, file: Path | Content, style: dict[str, Any], column: str | None) -> list[str]:
    """The texts of a file: of a column if it is a CSV file, or ``text`` is given; else its lines that are not blank.

    Args:
        style: of CSV files, for `read_table`; with those that were given for this command.
        column: of the texts in training, if they came from a CSV file.

    Raises:
        UserError: there is no such column, or an option of CSV files is given for another.
    """
    from dlzoo.data.text_reader import DECOMPRESSORS, read_text, with_line_feeds

    suffixes = [suffix.lower() for suffix in file.suffixes] if isinstance(file, Path) else []
    suffix = next((suffix for suffix in reversed(suffixes) if suffix not in DECOMPRESSORS), "")
    if options.text is not None or suffix in CSV_SUFFIXES:
        return _column(options, file, {"separator": CSV_SUFFIXES.get(suffix, ",")} | style, column)
    for key in ("separator", "header", "quotes"):
        if getattr(options, key, None) is not None:
            raise UserError(f"{key} applies to CSV files; give the column of the texts as well, text=<column>")
    text = read_text(file, options.encoding or "utf-8-sig", "encoding")
    return [line.strip() for line in with_line_feeds(text).split("\n") if line.strip()]


def _column(options: TextOptions, file: Path | Content, style: dict[str, Any], column: str | None) -> list[str]:
    from dlzoo.data.csv_reader import check_unique, read_table

    frame = read_table(file, **style | {"missing_marks": ()})
    names = [str(name) for name in frame.columns]
    name = options.text or column
    if name is None or (options.text is None and name not in names):
        raise UserError(f"input={options.input}: give the column of the texts, text=<column>; {nearest('', names)}")
    if name not in names:
        raise UserError(f"text={name}: {options.input} has no such column; {nearest(name, names)}")
    check_unique(names, [name], options.input)
    texts = frame[name].dropna()
    if num_empty := len(frame) - len(texts):
        rows = ", ".join(str(row + 1) for row in frame.index[frame[name].isna()][:5]) + ", …" * (num_empty > 5)
        print(f"warning: input={options.input}: {num_empty} rows without a text are skipped ({rows})", file=sys.stderr)
    return [str(text) for text in texts]
