"""Linear prediction of sound, as a baseline of nets that predict it sample by sample.

B. S. Atal, M. R. Schroeder, "Adaptive Predictive Coding of Speech Signals", 1970: each sample is a weighted sum of
those before it, by least squares, and what remains is coded. Here it is coded as one of the 256 mu-law levels: the
probability of a level is that of its interval under a logistic or Laplace distribution around the prediction, whose
scale is the most likely one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlzoo.layers import mu_law

UNIFORM = 1e-3
"""Weight of the uniform distribution in the mixture, so that no level is impossible."""
MAX_FITTED = 500_000
"""Training samples, chosen at random, by which scales are fitted and methods compared."""
BLOCK = 1_000_000


def _logistic(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(z / 2))


def _laplace(z: np.ndarray) -> np.ndarray:
    return np.where(z < 0, 0.5 * np.exp(np.minimum(z, 0)), 1 - 0.5 * np.exp(-np.maximum(z, 0)))


CUMULATIVE: dict[str, Callable[[np.ndarray], np.ndarray]] = {"logistic": _logistic, "laplace": _laplace}


class LinearPredictor:
    """Fitted to recordings: in amplitude or in mu-law's logarithmic scale, with the distribution that fits better.

    Args:
        recordings: (N, 1, L), filled up with zeros behind their ends.
        order: samples that the prediction is made from.
    """

    def __init__(self, recordings: Tensor, order: int = 2) -> None:
        self.order = order
        found = []
        for is_compressed in (False, True):
            self.is_compressed = is_compressed
            past, value, level = self._rows(recordings)
            self.weights = np.linalg.lstsq(past.T @ past, past.T @ value, rcond=None)[0]
            draw = np.random.default_rng(0)
            rows = draw.choice(len(value), min(MAX_FITTED, len(value)), replace=False)
            mean, level = past[rows] @ self.weights, level[rows]
            for name in CUMULATIVE:
                self.name, self.scale = name, self._best_scale(name, mean, level)
                found.append((self._bits(mean, level).mean(), is_compressed, self.weights, name, self.scale))
        _, self.is_compressed, self.weights, self.name, self.scale = min(found, key=lambda each: each[0])

    def bits_per_sample(self, recordings: Tensor) -> float:
        """The mean of minus the logarithm to base 2 of the probabilities of the samples' levels."""
        past, _, level = self._rows(recordings)
        parts = range(0, len(level), BLOCK)
        total = sum(self._bits(past[i : i + BLOCK] @ self.weights, level[i : i + BLOCK]).sum() for i in parts)
        return float(total / len(level))

    def _rows(self, recordings: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The samples before each sample (M, order), the sample, and its level, (M,) each."""
        lengths = mu_law.lengths(recordings)
        samples = mu_law.compress(recordings[:, 0]) if self.is_compressed else recordings[:, 0]
        is_sample = torch.arange(samples.shape[1]) < lengths[:, None]
        padded = torch.nn.functional.pad(samples, (self.order, 0))
        past = [padded[:, self.order - k : padded.shape[1] - k][is_sample] for k in range(1, self.order + 1)]
        level = mu_law.encode(recordings[:, 0])[is_sample]
        return torch.stack(past, 1).double().numpy(), samples[is_sample].double().numpy(), level.numpy()

    def _bits(self, mean: np.ndarray, level: np.ndarray) -> np.ndarray:
        lower, upper = self._edges()
        cumulative = CUMULATIVE[self.name]
        inside = cumulative((upper[level] - mean) / self.scale) - cumulative((lower[level] - mean) / self.scale)
        return -np.log2((1 - UNIFORM) * inside.clip(min=0) + UNIFORM / mu_law.NUM_LEVELS)

    def _edges(self) -> tuple[np.ndarray, np.ndarray]:
        """The ends of each level's interval, (256,) each; the outermost reach to infinity."""
        edges = (torch.arange(1, mu_law.NUM_LEVELS).double() - 0.5) * (2 / mu_law.MU) - 1
        inner = (edges if self.is_compressed else mu_law.expand(edges)).numpy()
        return np.concatenate([[-np.inf], inner]), np.concatenate([inner, [np.inf]])

    def _best_scale(self, name: str, mean: np.ndarray, level: np.ndarray) -> float:
        from scipy.optimize import minimize_scalar

        def bits(log_scale: float) -> float:
            self.name, self.scale = name, math.exp(log_scale)
            return float(self._bits(mean, level).mean())

        found: Any = minimize_scalar(bits, bounds=(math.log(1e-5), 0.0), method="bounded", options={"xatol": 0.01})
        return math.exp(found.x)
