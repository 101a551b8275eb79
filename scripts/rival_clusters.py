"""scikit-learn's clusterings, by the measures of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dlzoo.metrics.clustering import agreement

NUM_STARTS = 10


def purity(x: np.ndarray, test: tuple[np.ndarray, np.ndarray], model: Any) -> float:
    """Of test rows, with their classes, in the clusters of a model that is fitted to the rows x (N, F)."""
    rows, labels = test
    clusters = model.fit(x).predict(rows)
    table = np.zeros((clusters.max() + 1, labels.max() + 1))
    np.add.at(table, (clusters, labels), 1)
    return float(agreement(torch.from_numpy(table))["purity"])


def explained_variance(x: np.ndarray, test: np.ndarray, model: Any) -> float:
    """The part of the squared distances of the test rows from the training mean that the centroids leave out."""
    inertia = model.fit(x).transform(test).min(1) ** 2
    return float(1 - inertia.sum() / ((test - x.mean(0)) ** 2).sum())


def kmeans(num: int, seed: int) -> Any:
    from sklearn.cluster import KMeans

    return KMeans(num, n_init=NUM_STARTS, random_state=seed)


def gaussian_mixture(num: int, seed: int) -> Any:
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(num, n_init=NUM_STARTS, random_state=seed, reg_covar=1e-3)
