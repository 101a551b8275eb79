"""Ratings: for each user the items that they rated, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from dlzoo.specs.base import Difference, Port, Spec, Target, listed
from dlzoo.specs.checks import check_range


@dataclass(frozen=True)
class ItemRatings(Target):
    """Target: the ratings of items that the inputs do not show, (B, M) float32: the number of the level on the scale,
    from 1, and 0 where nothing is asked."""

    what: ClassVar[str] = "ratings of items"
    units: ClassVar[tuple[str, ...]] = ()

    names: tuple[str, ...]

    def check(self) -> None:
        check_range(1, self, names=len(self.names))

    @property
    def num_outputs(self) -> int:
        return len(self.names)

    def example(self, n: int) -> Tensor:
        return (torch.arange(n)[:, None] + torch.arange(self.num_outputs)) % 2 * 1.0

    def ports(self) -> tuple[Port, ...]:
        return (Port("ratings", "float32", ("batch", self.num_outputs), "the expected rating of each item"),)

    def metadata(self) -> dict[str, object]:
        return {"items": list(self.names)}


@dataclass(frozen=True)
class RatingsSpec(Spec):
    """Users: (B, M) float32, for each of M items the number of the level on the scale, from 1; 0: not rated.

    ``scale`` are the ratings that there are, in ascending order.
    """

    what: ClassVar[str] = "ratings"
    mean: ClassVar[tuple[float, ...]] = ()
    std: ClassVar[tuple[float, ...]] = ()

    target: ItemRatings
    scale: tuple[float, ...]

    def check(self) -> None:
        check_range(2, self, scale=len(self.scale))

    @property
    def num_features(self) -> int:
        return self.target.num_outputs

    @property
    def shape(self) -> tuple[int]:
        return (self.num_features,)

    @property
    def ratings(self) -> RatingsSpec:
        return self

    def describe(self) -> str:
        return f"ratings of {self.num_features:,} items from {self.scale[0]:g} to {self.scale[-1]:g}"

    def ports(self) -> tuple[Port, ...]:
        levels = listed(tuple(f"{value:g}" for value in self.scale))
        return (
            Port("levels", "float32", ("batch", *self.shape), f"1 to {len(self.scale)} for {levels}; 0: not rated"),
        )

    def metadata(self) -> dict[str, object]:
        return super().metadata() | {"scale": list(self.scale)}

    def input_difference(self, other: Self) -> Difference:
        if self.scale != other.scale:
            return self.describe(), other.describe()
        return super().input_difference(other)

    def example(self, n: int) -> tuple[Tensor, Tensor]:
        draw = torch.Generator().manual_seed(0)
        x = torch.randint(0, len(self.scale) + 1, (n, self.num_features), generator=draw).float()
        return x, self.target.example(n)
