"""The default data, embedded: scikit-learn's handwritten digits, 1,797 real 8x8 scans in ten classes.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998 (the test part).
There is no official split, so a fixed fifth is the test set, independent of the run's seed.
"""

from __future__ import annotations

from typing import Literal, Unpack

import torch

from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.data.options import InMemoryOptions
from dlzoo.data.splits import holdout
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes


class Digits(InMemoryData):
    """8x8 greyscale digits, shipped with scikit-learn: no download.

    Args:
        test_fraction: fraction of the rows held out for testing, stratified by class.
        test_seed: selects these rows; independent of the run's seed, so that runs are comparable.
    """

    def __init__(self, *, test_fraction: float = 0.2, test_seed: int = 0, **common: Unpack[InMemoryOptions]) -> None:
        super().__init__(**common)
        self.test_fraction = test_fraction
        self.test_seed = test_seed

    def declare(self) -> ImageSpec:
        return ImageSpec(1, 8, 8, Classes(tuple("0123456789")))

    def load(self, split: Literal["train", "test"]) -> Arrays:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        x = torch.from_numpy(images * (255 / 16)).round().to(torch.uint8).view(-1, 1, 8, 8)
        rows = Arrays(x, torch.from_numpy(labels).long())
        train, test = holdout(rows, self.declare().target, self.test_fraction, seed=self.test_seed)
        return rows.take(train if split == "train" else test)
