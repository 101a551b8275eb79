"""Baselines for texts: their test results become the metrics ``baseline/<metric>_<method>``."""

from __future__ import annotations

import lightning.pytorch as pl

from dlzoo.callbacks.base import Report, data_of
from dlzoo.data.text.base import TextData
from dlzoo.data.text.stream import StreamData
from dlzoo.errors import UserError
from dlzoo.metrics.ngram import Trigram
from dlzoo.tasks.base import Task


class NgramBaseline(Report):
    """``baseline/accuracy_ngrams``: logistic regression on the tf-idf of words and pairs of neighbouring words.

    Fitted on the raw training texts; the strength of regularisation is selected on the validation texts.

    Args:
        min_df: words and pairs in fewer training texts are ignored.
        strengths: candidates for scikit-learn's C.
    """

    needs_data = True

    def __init__(self, *, min_df: int = 2, strengths: tuple[float, ...] = (1.0, 10.0)) -> None:
        self.min_df = min_df
        self.strengths = tuple(strengths)

    def applies_to(self, task: Task) -> bool:
        if task.spec.texts is None or task.spec.target.classes is None:
            raise UserError(
                f"callbacks.ngrams is a baseline for text classification, but the data gives {task.spec.describe()} "
                f"with {task.spec.target.what}; remove it from callbacks"
            )
        return True

    def measure(self, trainer: pl.Trainer, task: Task) -> None:
        data = data_of(trainer)
        assert isinstance(data, TextData)
        task.log("baseline/accuracy_ngrams", self.accuracy(data))

    def accuracy(self, data: TextData) -> float:
        """On the test texts."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=self.min_df, sublinear_tf=True)
        x, y = vectorizer.fit_transform(data.texts("train")), data.arrays("train").y.numpy()
        models = [LogisticRegression(C=c, max_iter=1000).fit(x, y) for c in self.strengths]
        x, y = vectorizer.transform(data.texts("val")), data.arrays("val").y.numpy()
        best = max(models, key=lambda model: model.score(x, y))
        return float(best.score(vectorizer.transform(data.texts("test")), data.arrays("test").y.numpy()))


class TrigramBaseline(Report):
    """``baseline/perplexity_trigram``: of an interpolated Kneser-Ney trigram model, fitted on the training tokens."""

    needs_data = True

    def applies_to(self, task: Task) -> bool:
        if task.as_language_model() is None:
            raise UserError(
                f"callbacks.trigram is a baseline for language models, but {type(task).__name__} learns "
                f"{task.spec.target.what}; remove it from callbacks"
            )
        return True

    def measure(self, trainer: pl.Trainer, task: Task) -> None:
        spec, data = task.spec.texts, data_of(trainer)
        assert spec is not None
        assert isinstance(data, StreamData)
        model = Trigram(data.arrays("train").tolist(), spec.num_tokens)
        task.log("baseline/perplexity_trigram", model.perplexity(data.arrays("test").tolist()))
