"""Seeded tables with known ground truth, against which a trained net can be checked.

``friedman`` is J. Friedman, "Multivariate Adaptive Regression Splines", 1991, eq. 61; ``spiral`` has the arms of
Stanford's CS231n course notes; ``boxcar`` is a step up and down, which two sigmoid units can represent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Unpack

import numpy as np
import torch

from dlzoo.data.generated import check_size
from dlzoo.data.loaders import Arrays
from dlzoo.data.options import TableOptions
from dlzoo.data.tables.base import TableData
from dlzoo.errors import UserError, between, pick
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.targets import Classes, Values

SyntheticKind = Literal["line", "sine", "boxcar", "friedman", "blobs", "moons", "circles", "spiral"]
Rows = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class _Function:
    """Values y = truth(x) + noise; x: (N, F), uniform between low and high."""

    truth: Callable[[np.ndarray], np.ndarray]
    low: float
    high: float
    num_features: int = 1
    min_features: int | None = None
    """None if the number of features is fixed."""


@dataclass(frozen=True)
class _Clouds:
    """Classes: draw(num_samples, num_features, num_classes, noise, seed) -> x: (N, F), labels: (N,)."""

    draw: Callable[[int, int, int, float, int], Rows]
    num_classes: int = 2
    any_num_classes: bool = False
    num_features: int = 2
    min_features: int | None = None


def _line(x: np.ndarray) -> np.ndarray:
    return x @ np.arange(2.0, 2 + x.shape[1]) - 1


def _friedman(x: np.ndarray) -> np.ndarray:
    return 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]


def _blobs(n: int, num_features: int, num_classes: int, noise: float, seed: int) -> Rows:
    from sklearn.datasets import make_blobs

    return make_blobs(n, num_features, centers=num_classes, cluster_std=noise, center_box=(-1, 1), random_state=seed)


def _moons(n: int, num_features: int, num_classes: int, noise: float, seed: int) -> Rows:
    from sklearn.datasets import make_moons

    return make_moons(n, noise=noise, random_state=seed)


def _circles(n: int, num_features: int, num_classes: int, noise: float, seed: int) -> Rows:
    from sklearn.datasets import make_circles

    return make_circles(n, noise=noise, factor=0.5, random_state=seed)


def _spiral(n: int, num_features: int, num_classes: int, noise: float, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % num_classes
    radius = rng.uniform(0, 1, n)
    angle = 2 * np.pi * labels / num_classes + 4 * radius
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return x + noise * rng.standard_normal(x.shape), labels


KINDS: dict[str, _Function | _Clouds] = {
    "line": _Function(_line, -1, 1, min_features=1),
    "sine": _Function(lambda x: np.sin(2 * np.pi * x[:, 0]), -1, 1),
    "boxcar": _Function(lambda x: (np.abs(x[:, 0]) < 0.5) * 1.0, -1, 1),
    "friedman": _Function(_friedman, 0, 1, num_features=10, min_features=5),
    "blobs": _Clouds(_blobs, num_classes=3, any_num_classes=True, min_features=1),
    "moons": _Clouds(_moons),
    "circles": _Clouds(_circles),
    "spiral": _Clouds(_spiral, num_classes=3, any_num_classes=True),
}


class Synthetic(TableData):
    """Points sampled from a known function or distribution.

    Args:
        kind: values: ``line`` (y = 2 x0 + 3 x1 + ... - 1), ``sine`` (two periods), ``boxcar`` (1 for |x| < 0.5, else
            0), ``friedman`` (with five relevant features); classes: ``blobs``, ``moons``, ``circles``, ``spiral``.
        num_samples: total number of rows, including test and validation rows.
        noise: standard deviation of the values, or of the points of a class.
        num_features: for line, friedman and blobs; None is 1, 10 and 2.
        num_classes: for blobs and spiral; None is 3.
        sample_seed: draws the points; independent of the run's seed, so that runs are comparable.
    """

    def __init__(
        self,
        *,
        kind: SyntheticKind = "moons",
        num_samples: int = 1000,
        noise: float = 0.1,
        num_features: int | None = None,
        num_classes: int | None = None,
        sample_seed: int = 0,
        **common: Unpack[TableOptions],
    ) -> None:
        super().__init__(**common)
        self.generator = pick(kind, KINDS, "data.kind")
        generator, min_features = self.generator, self.generator.min_features
        any_num_classes = isinstance(generator, _Clouds) and generator.any_num_classes
        if num_features is not None and (min_features is None or num_features < min_features):
            allowed = (
                f"it needs at least {min_features}" if min_features else f"it has {generator.num_features}: omit it"
            )
            raise UserError(f"data.num_features={num_features} does not fit data.kind={kind}: {allowed}")
        if num_classes is not None and (not any_num_classes or num_classes < 2):
            allowed = "it needs at least 2" if any_num_classes else "their number is fixed: omit it"
            raise UserError(f"data.num_classes={num_classes} does not fit data.kind={kind}: {allowed}")
        if num_samples < 10 or noise < 0:
            raise UserError(f"data.num_samples={num_samples} must be at least 10, and data.noise={noise} at least 0")
        between(2, 10_000, "data", num_classes=num_classes)
        check_size(num_samples=num_samples, num_features=num_features or generator.num_features)
        self.num_samples = num_samples
        self.noise = noise
        self.num_features = num_features or generator.num_features
        self.num_classes = (num_classes or generator.num_classes) if isinstance(generator, _Clouds) else 0
        self.sample_seed = sample_seed

    def declare(self) -> TableSpec:
        columns = tuple(Column(f"x{i}") for i in range(self.num_features))
        if not self.num_classes:
            return TableSpec(columns, Values(("y",)))
        return TableSpec(columns, Classes(tuple(map(str, range(self.num_classes)))))

    def truth(self, x: torch.Tensor) -> torch.Tensor:
        """The noise-free values (N, 1) at x: (N, F), for kinds whose target is a value."""
        if not isinstance(self.generator, _Function):
            raise UserError("only line, sine, boxcar and friedman have a value at each point")
        return torch.from_numpy(self.generator.truth(x.double().numpy())).float()[:, None]

    def table(self) -> Arrays:
        if isinstance(self.generator, _Clouds):
            x, y = self.generator.draw(
                self.num_samples, self.num_features, self.num_classes, self.noise, self.sample_seed
            )
            return Arrays(torch.from_numpy(x).float(), torch.from_numpy(y).long())
        rng = np.random.default_rng(self.sample_seed)
        x = rng.uniform(self.generator.low, self.generator.high, (self.num_samples, self.num_features))
        y = self.generator.truth(x) + self.noise * rng.standard_normal(self.num_samples)
        return Arrays(torch.from_numpy(x).float(), torch.from_numpy(y).float()[:, None])
