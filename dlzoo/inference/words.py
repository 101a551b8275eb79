"""Questions to word vectors: neighbours, analogies, the odd one out, distances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.errors import UserError, at_least, closest, pick, short
from dlzoo.specs.tokenizer import UNKNOWN
from dlzoo.tasks.interfaces import WordVectors
from dlzoo.utils import word_vectors

Method = Literal["add", "mul"]
EPSILON = 1e-3
"""Of 3CosMul, against a division by zero, as in the paper."""
MAX_SUGGESTIONS = 50_000
"""Words that an unknown one is compared with, the most frequent ones."""


class Words:
    """Words and their vectors, in order of frequency.

    Args:
        vectors: (V, D).
        lower: whether all words are lower-case, so that given ones are lower-cased too.
    """

    def __init__(self, words: Sequence[str], vectors: Tensor, *, lower: bool = False) -> None:
        self.words = list(words)
        self.vectors = vectors
        self.lower = lower
        self.units = F.normalize(vectors, dim=1)
        self._numbers = {word: i for i, word in enumerate(self.words)}

    @classmethod
    def of_task(cls, task: WordVectors) -> Words:
        """Without ``<pad>`` and ``<unk>``."""
        first = UNKNOWN + 1
        vectors = task.vectors[first:].float().cpu()
        return cls(task.spec.vocabulary[first:], vectors, lower=task.spec.tokenizer.lower)

    @classmethod
    def read(cls, path: Path, key: str) -> Words:
        """A file in word2vec's text or binary format, or in GloVe's; of a repeated word, the first vector counts."""
        import numpy as np

        words: dict[str, None] = {}
        values = bytearray()
        dimension = 0
        for word, vector, where in word_vectors.read(path, key, lambda word: True):
            dimension = dimension or len(vector)
            if len(vector) != dimension:
                raise UserError(f"{where}: it has {len(vector)} values, but the first word has {dimension}")
            if word not in words:
                words[word] = None
                values += vector.tobytes()
        if not words:
            raise UserError(f"{key}={path} contains no vectors")
        return cls(list(words), torch.from_numpy(np.frombuffer(values, np.float32).reshape(len(words), dimension)))

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return self._normalized(word) in self._numbers

    def number(self, word: str) -> int:
        """Of a known word.

        Raises:
            UserError: it is unknown; names the most similarly spelt one.
        """
        number = self._numbers.get(self._normalized(word))
        if number is None:
            close = closest(self._normalized(word), self.words[:MAX_SUGGESTIONS])
            hint = f"; did you mean '{short(close)}'?" if close else ""
            raise UserError(f"'{short(word)}' is not among the {len(self):,} words{hint}")
        return number

    def vector(self, word: str) -> Tensor:
        """(D,)"""
        return self.vectors[self.number(word)]

    def similarity(self, a: str, b: str) -> float:
        """The cosine of the angle between two vectors."""
        return float(self.units[self.number(a)] @ self.units[self.number(b)])

    def distance(self, a: str, b: str) -> float:
        """1 - `similarity`."""
        return 1 - self.similarity(a, b)

    def most_similar(self, word: str, top_k: int = 10) -> list[tuple[str, float]]:
        """The words with the highest similarity."""
        return self.analogy([word], top_k=top_k)

    def analogy(
        self, plus: Sequence[str], minus: Sequence[str] = (), *, method: Method = "add", top_k: int = 10
    ) -> list[tuple[str, float]]:
        """The words that are most similar to some and least to others, which are themselves left out.

        ``add`` is the similarity to the mean of the unit vectors, those of ``minus`` negated (3CosAdd); ``mul`` the
        product of the similarities, shifted to [0, 1], divided by those of ``minus`` (3CosMul: O. Levy, Y. Goldberg,
        "Linguistic Regularities in Sparse and Explicit Word Representations", 2014).

        >>> vectors = torch.tensor([[1.0, 0, 1], [0, 1, 1], [1, 0, 3], [0, 1, 3]])
        >>> words = Words(["man", "woman", "king", "queen"], vectors)
        >>> words.analogy(["king", "woman"], ["man"])[0][0]
        'queen'
        """
        pick(method, {"add": 0, "mul": 0}, "method")
        at_least(1, top_k=top_k)
        if not plus:
            raise UserError("an analogy needs at least one word without a minus sign")
        positive, negative = [self.number(w) for w in plus], [self.number(w) for w in minus]
        if method == "add":
            mean = self.units[positive].sum(0) - self.units[negative].sum(0)
            scores = self.units @ F.normalize(mean, dim=0)
        else:
            shifted = (1 + self.units @ self.units[[*positive, *negative]].T) / 2
            scores = shifted[:, : len(positive)].prod(1) / (shifted[:, len(positive) :] + EPSILON).prod(1)
        scores[[*positive, *negative]] = -torch.inf
        best = scores.topk(min(top_k, len(scores)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [(self.words[i], score) for i, score in pairs if score > -torch.inf]

    def odd_one_out(self, words: Sequence[str]) -> str:
        """The word whose vector is least similar to the mean of all."""
        if len(words) < 3:
            raise UserError(f"the odd one of {len(words)} cannot be told: give at least three words")
        units = self.units[[self.number(word) for word in words]]
        return words[int((units @ units.mean(0)).argmin())]

    def save(self, path: Path) -> None:
        """Write word2vec's text format, or its binary one if the extension is .bin."""
        word_vectors.save(path, self.words, self.vectors.numpy())

    def _normalized(self, word: str) -> str:
        return word.lower() if self.lower else word
