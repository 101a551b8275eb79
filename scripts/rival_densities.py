"""Mixture models: what binary or real pixels have for a likelihood, and samples, without a net."""

from __future__ import annotations

from typing import Any

import numpy as np

NUM_COMPONENTS = (100, 200, 400)
NUM_PASSES = 20
SMOOTHING = 0.02
"""A probability of a pixel lies so far from 0 and 1."""


def bernoulli_mixture(train: np.ndarray, val: np.ndarray, test: np.ndarray, *, binarized: bool, seed: int) -> float:
    """The mean log-likelihood of a test row (F,) in [0, 1] in nats, of a mixture of independent pixels.

    By expectation maximisation; the number of components is selected on the validation rows. With ``binarized`` rows
    are sampled, anew in each pass over the training rows.
    """
    draw = np.random.default_rng(seed)

    def sampled(x: np.ndarray) -> np.ndarray:
        return (draw.random(x.shape, np.float32) < x).astype(np.float32) if binarized else x

    val, test = sampled(val), sampled(test)
    fitted = [fit(train, num, sampled, draw) for num in NUM_COMPONENTS]
    best = max(fitted, key=lambda model: log_likelihood(val, *model).mean())
    return float(log_likelihood(test, *best).mean())


def fit(train: np.ndarray, num: int, sampled: Any, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of pixels (K, F) and log-weights (K,)."""
    start = train[draw.choice(len(train), num, replace=False)]
    means = SMOOTHING + (1 - 2 * SMOOTHING) * (0.5 * start + 0.5 * train.mean(0))
    log_weights = np.full(num, -np.log(num), np.float32)
    for _ in range(NUM_PASSES):
        x = sampled(train)
        joint = joint_of(x, means, log_weights)
        share = np.exp(joint - joint.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        counts = share.sum(0) + 1e-6
        means = np.clip((share.T @ x + SMOOTHING) / (counts + 2 * SMOOTHING)[:, None], 1e-4, 1 - 1e-4)
        log_weights = np.log(counts / counts.sum())
    return means, log_weights


def joint_of(x: np.ndarray, means: np.ndarray, log_weights: np.ndarray) -> np.ndarray:
    """log p(x, k), (N, K)."""
    return x @ (np.log(means) - np.log1p(-means)).T + np.log1p(-means).sum(1) + log_weights


def log_likelihood(x: np.ndarray, means: np.ndarray, log_weights: np.ndarray) -> np.ndarray:
    """log p(x), (N,).

    >>> one = np.array([[0.25, 0.5]])
    >>> round(float(np.exp(log_likelihood(np.array([[1.0, 0.0]]), one, np.zeros(1)))[0]), 6)
    0.125
    """
    from scipy.special import logsumexp

    return np.asarray(logsumexp(joint_of(x, means, log_weights), axis=1))


def gaussian_samples(
    train: np.ndarray, num: int, seed: int, num_components: int = 50, num_clusters: int = 50
) -> np.ndarray:
    """Rows (num, F) in [0, 1] drawn from a mixture of Gaussians of the principal components of the training rows."""
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    pca = PCA(num_components, random_state=seed)
    codes = pca.fit_transform(train)
    mixture = GaussianMixture(num_clusters, random_state=seed, max_iter=20).fit(codes)
    return np.asarray(pca.inverse_transform(mixture.sample(num)[0]).clip(0, 1), np.float32)
