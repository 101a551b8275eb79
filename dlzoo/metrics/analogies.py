"""Accuracy on analogies such as "Athens Greece Baghdad Iraq".

The questions and their file, questions-words.txt, are those of T. Mikolov et al., "Efficient Estimation of Word
Representations in Vector Space", 2013. A question counts if all of its words are among the most frequent ones; it is
right if the word nearest to b - a + c, other than these, is d.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from dlzoo.errors import UserError

MAX_QUESTIONS = 1_000_000
BATCH = 256


class Section(NamedTuple):
    """The questions of one kind."""

    name: str
    questions: list[tuple[str, str, str, str]]


class Score(NamedTuple):
    """Right answers among the questions of a section whose words are all known."""

    name: str
    right: int
    known: int
    total: int


def read_questions(path: Path) -> list[Section]:
    """The sections of a file: lines ": name", and of four words each."""
    from dlzoo.data.text_reader import read_text

    sections: list[Section] = []
    for number, line in enumerate(read_text(path, key="encoding").splitlines()[:MAX_QUESTIONS], 1):
        words = line.split()
        if line.startswith(":"):
            sections.append(Section(line[1:].strip(), []))
        elif len(words) == 4 and sections:
            sections[-1].questions.append((words[0], words[1], words[2], words[3]))
        elif words:
            raise UserError(f'{path}, line {number}: expected ": section" or four words')
    return sections


def scores(
    sections: list[Section], words: list[str], units: Tensor, *, most: int = 30_000, lower: bool = False
) -> Iterator[Score]:
    """The score of each section.

    Args:
        words: in order of frequency.
        units: (V, D), their vectors of length one.
        most: words that are asked about and answered with, the most frequent ones.
        lower: whether questions are lower-cased.
    """
    numbers = {word: i for i, word in enumerate(words[:most])}
    units = units[:most]
    for name, questions in sections:
        asked = [[numbers.get(word.lower() if lower else word, -1) for word in question] for question in questions]
        known = torch.tensor([row for row in asked if min(row) >= 0], dtype=torch.long).view(-1, 4)
        right = 0
        for rows in known.split(BATCH):
            a, b, c, d = rows.T
            similarity = (units[b] - units[a] + units[c]) @ units.T
            similarity.scatter_(1, rows[:, :3], -torch.inf)
            right += int((similarity.argmax(1) == d).sum())
        yield Score(name, right, len(known), len(questions))
