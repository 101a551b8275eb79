"""Texts of files in the form of the training data: the sources of pairs, and the words of tagged sentences."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlzoo.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from dlzoo.specs.inputs import VocabularySpec

MIN_LINES = 5
"""Lines in blocks that are taken for columns between spaces even if the tags are not known."""


def texts_of(
    file: Path | io.BytesIO, spec: VocabularySpec, cfg: DictConfig, encoding: str | None = None
) -> list[str] | None:
    """The texts of a file of pairs or of tagged words; None if it is neither, and each line is a text.

    Args:
        cfg: the config of the checkpoint: which columns were read.
        encoding: of the file; None: as in training.

    Raises:
        UserError: it cannot be read, or a line of it lacks a column.
    """
    encoding = encoding or str(cfg.data.get("encoding") or "utf-8-sig")
    if spec.target.token_sequences is not None:
        return sources(file, int(cfg.data.get("source") or 1), encoding)
    if spec.target.tags is not None and isinstance(file, Path):
        return sentences(file, cfg, encoding, spec.target.tags.names)
    return None


def sources(file: Path | io.BytesIO, column: int, encoding: str) -> list[str]:
    """The sources of pairs, one a line, separated by tabs; of a line without tabs, all of it.

    Args:
        column: of the source, from 1.

    Raises:
        UserError: a line has fewer columns.
    """
    from dlzoo.data.text_reader import read_text, with_line_feeds

    found = []
    for number, line in enumerate(with_line_feeds(read_text(file, encoding, "encoding")).split("\n"), 1):
        cells = [" ".join(cell.split()) for cell in line.split("\t")]
        if 1 < len(cells) < column:
            raise UserError(f"{file}, line {number} has {len(cells)} columns, but the source was column {column}")
        if text := cells[column - 1] if len(cells) > 1 else cells[0]:
            found.append(text)
    return found


def sentences(path: Path, cfg: DictConfig, encoding: str, tags: Sequence[str]) -> list[str] | None:
    """The sentences of a file with a word in each line, beside its tag, which does not matter; None for other files.

    Args:
        cfg: the config of the checkpoint.
        tags: of the checkpoint, by which columns between spaces are told from sentences of equal length.
    """
    from dlzoo.data.text.conll import layout_of, read_sentences
    from dlzoo.data.text_reader import read_text, with_line_feeds

    chosen = {key: cfg.data.get(key) for key in ("format", "word", "tag", "separator", "comments")}
    layout = layout_of(str(path), encoding=encoding, **chosen)
    if layout.format == "conllu":
        layout = layout_of(str(path), encoding=encoding, **chosen | {"tag": "feats"})  # which may be empty
    else:
        text = with_line_feeds(read_text(path, encoding, "encoding"))
        lines = [line for line in text.split("\n") if not layout.is_comment(line)]
        first = next(filter(str.strip, lines), "")
        if "\t" not in first and not _is_tagged(lines, layout.index(layout.tag), {*tags}):
            return None
    return [" ".join(sentence.words) for sentence in read_sentences(path, layout, "input")]


def _is_tagged(lines: Sequence[str], tag: int, tags: set[str]) -> bool:
    """Whether these are columns between spaces: most cells of one are tags, or the lines stand in blocks, a sentence
    each.

    Args:
        tag: the index of the column of tags.
        tags: those that are known; among them, those without letters may also be words that end a sentence.
    """
    from dlzoo.data.text.conll import DOCUMENT

    rows = [line.split() for line in lines]
    full = [row for row in rows if row and row[0] != DOCUMENT]
    widths = {len(row) for row in full}
    if len(widths) != 1 or widths == {1} or not -len(full[0]) <= tag < len(full[0]):
        return False
    known = [row[tag] == "_" or (row[tag] in tags and row[tag].upper() != row[tag].lower()) for row in full]
    if sum(known) >= len(known) / 2:
        return True
    num_starts = sum(bool(row) and not before for before, row in zip([[], *rows], rows, strict=False))
    return len(full) >= MIN_LINES and num_starts > 1 and len(full) >= 2 * num_starts
