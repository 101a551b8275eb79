"""Simple methods for tables, which a net should beat: a constant, a linear model, gradient boosting."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dlzoo.errors import first_line

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

MAX_TRAIN = 50_000
"""Rows that the models are fitted on, so that they take seconds."""


class Rows(NamedTuple):
    """x: (N, F); y: (N,) classes or (N, D) values; weight: (N,) or None."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Rows:
        return Rows(self.x[rows], self.y[rows], None if self.weight is None else self.weight[rows])


def classifiers() -> dict[str, BaseEstimator]:
    """By method: the most frequent class, logistic regression on standardised features, gradient-boosted trees."""
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "majority": DummyClassifier(strategy="most_frequent"),
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "boosting": HistGradientBoostingClassifier(random_state=0),
    }


def regressors() -> dict[str, BaseEstimator]:
    """By method: the mean, linear regression, gradient-boosted trees."""
    from sklearn.dummy import DummyRegressor
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "mean": DummyRegressor(),
        "linear": make_pipeline(StandardScaler(), LinearRegression()),
        "boosting": HistGradientBoostingRegressor(random_state=0),
    }


def fit_predict(
    model: BaseEstimator, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, test_x: np.ndarray
) -> np.ndarray:
    """What a model predicts of the test rows.

    Args:
        x: (N, F) training features.
        y: (N,) classes or values.
        weight: (N,) of the training rows, or None.
        test_x: (M, F).

    Returns:
        (M,) classes or values.

    Raises:
        ValueError: scikit-learn cannot fit the model to these rows, such as rows of one class.
    """
    from sklearn.exceptions import ConvergenceWarning

    options = {}
    if weight is not None:
        steps = getattr(model, "steps", None)  # of a pipeline
        options[f"{steps[-1][0]}__sample_weight" if steps else "sample_weight"] = weight
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)  # of enormous values
        return model.fit(x, y, **options).predict(test_x)


def class_metrics(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Accuracy and macro F1 of classes (N,), as a classification task reports them."""
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(true, predicted)),
        "f1": float(f1_score(true, predicted, average="macro", zero_division=0)),
    }


def value_metrics(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Root mean squared error, mean absolute error and R2 of values (N, D); R2 is the mean over the columns."""
    from sklearn.metrics import mean_absolute_error, r2_score

    return {
        "rmse": float(np.sqrt(np.mean((predicted - true) ** 2))),
        "mae": float(mean_absolute_error(true, predicted)),
        "r2": float(r2_score(true, predicted)) if len(true) > 1 else float("nan"),
    }


def baselines(train: Rows, test: Rows) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """What each method reaches on the test rows, and why others cannot be fitted, both by method.

    Of more than `MAX_TRAIN` training rows a random sample of as many is used.
    """
    if len(train.x) > MAX_TRAIN:
        train = train.take(np.random.default_rng(0).choice(len(train.x), MAX_TRAIN, replace=False))
    is_classes = train.y.ndim == 1
    results, failures = {}, {}
    for name, model in (classifiers() if is_classes else regressors()).items():
        try:
            columns = [
                fit_predict(model, train.x, column, train.weight, test.x)
                for column in ([train.y] if is_classes else train.y.T)
            ]
        except ValueError as error:
            failures[name] = first_line(error)
        else:
            results[name] = (
                class_metrics(columns[0], test.y) if is_classes else value_metrics(np.stack(columns, axis=1), test.y)
            )
    return results, failures
