"""Taggers without a net: logistic regression on the word, its ending and its neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dlzoo.data.text.conll import Sentence
from dlzoo.data.text.tagged import Split, TaggedData

STRENGTHS = (1e-6, 1e-5)
"""Candidates for the strength of regularisation."""


def features(words: tuple[str, ...], place: int) -> dict[str, Any]:
    """Of one word: itself, its endings and shape, and the two words on each side (A. Ratnaparkhi, "A Maximum Entropy
    Model for Part-of-Speech Tagging", 1996, without the tags before)."""
    word = words[place]
    found: dict[str, Any] = {
        "word": word.lower(),
        "capital": word[:1].isupper(),
        "capitals": word.isupper(),
        "digit": any(character.isdigit() for character in word),
        "hyphen": "-" in word,
        "first": place == 0,
    }
    found |= {f"start {n}": word[:n].lower() for n in (1, 2, 3)} | {f"end {n}": word[-n:].lower() for n in (1, 2, 3, 4)}
    for offset in (-2, -1, 1, 2):
        at = place + offset
        found[f"word {offset}"] = words[at].lower() if 0 <= at < len(words) else ""
    return found


def rows(sentences: list[Sentence]) -> Iterator[dict[str, Any]]:
    for sentence in sentences:
        yield from (features(sentence.words, place) for place in range(len(sentence.words)))


def logistic(data: TaggedData, seed: int) -> float:
    """Test accuracy of logistic regression by stochastic gradient descent; validation selects its regularisation."""
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import SGDClassifier

    hasher = FeatureHasher(1 << 20)

    def read(split: Split) -> tuple[Any, list[str]]:
        sentences = data.sentences(split)
        texts = ({f"{k}={v}": 1 for k, v in row.items()} for row in rows(sentences))
        return hasher.transform(texts), [tag for sentence in sentences for tag in sentence.tags]

    train, val, test = read("train"), read("val"), read("test")
    models = [
        SGDClassifier(loss="log_loss", alpha=alpha, max_iter=20, random_state=seed).fit(*train) for alpha in STRENGTHS
    ]
    return float(max(models, key=lambda model: model.score(*val)).score(*test))
