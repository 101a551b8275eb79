"""Files of tagged sentences: a line for each word, whose columns are the word, its tag and others; a blank line ends a
sentence.

CoNLL-U, of the Universal Dependencies (https://universaldependencies.org/format.html), has ten columns between tabs,
and lines of more than a word (1-2) or less than one (8.1), which are not read; files as in the CoNLL-2003 shared task
(E. F. Tjong Kim Sang, F. De Meulder, 2003) have any columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from dlzoo.data.text_reader import read_text, with_line_feeds
from dlzoo.errors import UserError, nearest, short
from dlzoo.utils.files import existing_file

SeparatorName = Literal["tab", "whitespace"]
FormatName = Literal["conllu", "columns"]
CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
"""The columns of CoNLL-U."""
OFTEN_EMPTY = ("feats", "deps", "misc")
"""Columns in which _ says that there is nothing to say, not that somebody left it out."""
NO_WORDS = re.compile(r"[0-9]+-[0-9]+|[0-9]+\.[0-9]+")
"""Ids of lines of CoNLL-U that are no words."""
DOCUMENT = "-DOCSTART-"
"""The word of a line that begins a document of CoNLL-2003."""
MAX_WORD_LENGTH, MAX_SENTENCE_LENGTH = 1_000, 5_000


class Sentence(NamedTuple):
    """A sentence, and where its words stand in the file."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    lines: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How a file is read.

    ``word`` and ``tag`` are columns by number from 1, from the end by negative numbers, or by their names in CoNLL-U.
    """

    format: FormatName
    word: int | str
    tag: int | str
    separator: SeparatorName | None = None
    comments: str | None = None
    """What lines to skip start with."""
    encoding: str = "utf-8-sig"

    def __post_init__(self) -> None:
        for key, column in {"word": self.word, "tag": self.tag}.items():
            if isinstance(column, str) and self.format != "conllu":
                raise UserError(f"data.{key}={column}: the columns of this file have no names; give a number, from 1")
            if isinstance(column, str) and column not in CONLLU:
                raise UserError(f"data.{key}={column}: CoNLL-U has no such column; {nearest(column, CONLLU)}")
            if isinstance(column, bool) or column == 0:
                raise UserError(f"data.{key}={column}: columns are numbered from 1, or from the end by -1, -2, …")
        if self.comments == "":
            raise UserError("data.comments is empty, so every line would be a comment; omit it")

    def index(self, column: int | str) -> int:
        """A column's index, from 0 or by a negative number from the end."""
        number = CONLLU.index(column) + 1 if isinstance(column, str) else column
        return number - 1 if number > 0 else number

    def with_separator_of(self, text: str) -> Layout:
        """With the separator that a file uses, if none is given: tabs if there are any in its first line of a word."""
        if self.separator is not None:
            return self
        first = next((line for line in text.split("\n") if line.strip(" \t") and not self.is_comment(line)), "")
        found: SeparatorName = "tab" if self.format == "conllu" or "\t" in first.strip("\t") else "whitespace"
        return Layout(self.format, self.word, self.tag, found, self.comments, self.encoding)

    def is_comment(self, line: str) -> bool:
        return self.comments is not None and line.startswith(self.comments)

    def split(self, line: str) -> list[str]:
        """The columns of a line; only spaces and tabs separate them, not other characters that look like spaces."""
        if self.separator == "tab":
            return [column.strip(" ") for column in line.split("\t")]
        return re.split(r"[ \t]+", line.strip(" \t"))


def layout_of(
    path: str,
    *,
    format: FormatName | None,
    word: int | str | None,
    tag: int | str | None,
    separator: SeparatorName | None,
    comments: str | None,
    encoding: str,
) -> Layout:
    """The layout of a file, by default that of CoNLL-U if its name ends in .conllu, and else of CoNLL-2003: words in
    the first column, tags in the last one."""
    chosen = format or ("conllu" if re.search(r"\.conllu(\.(gz|bz2|xz))?$", path.lower()) else "columns")
    defaults: tuple[int | str, int | str] = ("form", "upos") if chosen == "conllu" else (1, -1)
    marks = comments or ("#" if chosen == "conllu" else comments)
    return Layout(
        chosen, defaults[0] if word is None else word, defaults[1] if tag is None else tag, separator, marks, encoding
    )


def read_sentences(file: str | Path, layout: Layout, key: str) -> list[Sentence]:
    """All sentences of a file.

    Args:
        key: the option that names the file.

    Raises:
        UserError: it cannot be read, or a line of it does not have these columns: file and line.
    """
    path = existing_file(str(file), key)
    text = with_line_feeds(read_text(path, layout.encoding))
    layout = layout.with_separator_of(text)
    sentences = [*_sentences(path, text.split("\n"), layout)]
    if not sentences:
        raise UserError(f"{key}={file} contains no sentences: a line for each word, a blank line after each sentence")
    return sentences


def _sentences(path: Path, lines: list[str], layout: Layout) -> Iterator[Sentence]:
    rows: list[tuple[str, str, int]] = []
    first: tuple[int, int] | None = None
    for number, line in enumerate([*lines, ""], 1):
        if not line.strip(" \t"):
            if rows and rows[0][0] != DOCUMENT:
                words, tags, places = zip(*rows, strict=True)
                yield Sentence(words, tags, places)
            rows = []
            continue
        if layout.is_comment(line):
            continue
        columns = layout.split(line)
        where = f"{path}, line {number}"
        first = first or (number, len(columns))
        _check_columns(columns, layout, first, line, where, is_last=number >= len(lines) - 1)
        if layout.format == "conllu" and NO_WORDS.fullmatch(columns[0]):
            continue
        rows.append((*_word_and_tag(columns, layout, where), number))
        if len(rows) > MAX_SENTENCE_LENGTH:
            raise UserError(
                f"{where}: a sentence has more than {MAX_SENTENCE_LENGTH:,} words; end each by a blank line"
            )


def _check_columns(
    columns: list[str], layout: Layout, first: tuple[int, int], line: str, where: str, *, is_last: bool
) -> None:
    """`UserError` unless a line has the columns of its format, or as many as the first line of a word."""
    found = f"{where}: {len(columns)} column{'s' * (len(columns) != 1)}"
    cut = "; is the file cut off?" if is_last else ""
    hint = f"; if it is a comment, set data.comments={line[0]}" if layout.comments is None and line[0] in "#%" else cut
    if layout.format == "conllu":
        if len(columns) != len(CONLLU):
            other = "; if spaces separate them, set data.separator=whitespace" if "\t" not in line else cut
            raise UserError(f"{found}, but CoNLL-U has {len(CONLLU)}{other}")
        if not NO_WORDS.fullmatch(columns[0]) and not columns[0].isdecimal():
            raise UserError(f"{where}: {short(columns[0])!r} is not a word's number, which CoNLL-U begins a line with")
    elif len(columns) != first[1]:
        raise UserError(f"{found}, but line {first[0]} has {first[1]}{hint}")
    for key, column in {"word": layout.word, "tag": layout.tag}.items():
        if not -len(columns) <= layout.index(column) < len(columns):
            raise UserError(f"{found}, but data.{key}={column}{hint}")


def _word_and_tag(columns: list[str], layout: Layout, where: str) -> tuple[str, str]:
    word, tag = columns[layout.index(layout.word)], columns[layout.index(layout.tag)]
    if len(columns) > 1 and layout.index(layout.word) % len(columns) == layout.index(layout.tag) % len(columns):
        raise UserError(f"data.word={layout.word} and data.tag={layout.tag} are the same column")
    if len(columns) == 1:
        raise UserError(f"{where}: 1 column, but a word and its tag are two; change data.separator")
    is_missing = tag == "_" and layout.format == "conllu" and CONLLU[layout.index(layout.tag)] not in OFTEN_EMPTY
    for what, value, is_absent in (("word", word, not word), ("tag", tag, not tag or is_missing)):
        if is_absent:
            raise UserError(
                f"{where}: there is no {what} ({short(' '.join(columns))!r}); add it, or choose data.{what}"
            )
        if len(value) > MAX_WORD_LENGTH:
            raise UserError(f"{where}: a {what} of {len(value):,} characters; is data.separator right?")
    return word, tag


def with_begins(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Tags of spans where each begins with B-, as in IOB2; in IOB1 only one that touches another of its kind does.

    >>> with_begins(("I-PER", "I-PER", "O", "I-LOC", "B-LOC", "I-ORG"))
    ('B-PER', 'I-PER', 'O', 'B-LOC', 'B-LOC', 'B-ORG')
    """
    before, changed = "O", []
    for tag in tags:
        goes_on = before[1:] == tag[1:]
        changed.append(f"B{tag[1:]}" if tag.startswith("I-") and not goes_on else tag)
        before = tag
    return tuple(changed)
