"""Simpler methods beside a net: their test figures become the metrics ``baseline/<quantity>_<method>``."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from dlzoo.callbacks.base import Observer
from dlzoo.callbacks.sinks import spec_of
from dlzoo.errors import UserError
from dlzoo.metrics.ngram import Trigram
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import Classes, NextTokens


class NgramBaseline(Observer):
    """``baseline/accuracy_ngrams``: logistic regression on the tf-idf of words and pairs of neighbouring words.

    Fitted on the training texts as they are written; of two strengths of regularisation the one that is better on the
    validation texts.

    Args:
        min_df: words and pairs in fewer training texts are left out.
        strengths: scikit-learn's C, to choose from.
    """

    def __init__(self, *, min_df: int = 2, strengths: tuple[float, ...] = (1.0, 10.0)) -> None:
        self.min_df = min_df
        self.strengths = tuple(strengths)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        spec, data = spec_of(pl_module), trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(spec, TextSpec) or not isinstance(spec.target, Classes):
            raise UserError("callbacks.ngrams: this baseline is for texts with classes")
        pl_module.log("baseline/accuracy_ngrams", self.accuracy(data))

    def accuracy(self, data: Any) -> float:
        """On the test texts."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=self.min_df, sublinear_tf=True)
        x, y = vectorizer.fit_transform(data.texts("train")), data.arrays("train").y.numpy()
        models = [LogisticRegression(C=c, max_iter=1000).fit(x, y) for c in self.strengths]
        x, y = vectorizer.transform(data.texts("val")), data.arrays("val").y.numpy()
        best = max(models, key=lambda model: model.score(x, y))
        return float(best.score(vectorizer.transform(data.texts("test")), data.arrays("test").y.numpy()))


class TrigramBaseline(Observer):
    """``baseline/perplexity_trigram``: of an interpolated Kneser-Ney trigram model, fitted on the training tokens."""

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        spec, data = spec_of(pl_module), trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(spec, TextSpec) or not isinstance(spec.target, NextTokens):
            raise UserError("callbacks.trigram: this baseline is for language models")
        model = Trigram(data.arrays("train").tolist(), spec.num_tokens)
        pl_module.log("baseline/perplexity_trigram", model.perplexity(data.arrays("test").tolist()))
