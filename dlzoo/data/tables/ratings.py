"""Ratings of items by users: generated ones whose rank is known, or the user's own file.

A row is a user. Validation and test hold out ratings, not users: a model sees the training ratings of a user, and is
asked for others of the same user.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.base import InMemoryData
from dlzoo.data.csv_reader import read_table
from dlzoo.data.generated import check_size
from dlzoo.data.loaders import Arrays
from dlzoo.data.numbers import parse_numbers
from dlzoo.errors import UserError, at_least, between, nearest, short
from dlzoo.specs.base import Spec
from dlzoo.specs.ratings import ItemRatings, RatingsSpec
from dlzoo.utils.files import existing_file

if TYPE_CHECKING:
    import pandas as pd

MAX_LEVELS = 20
"""Different ratings, that are found in a file without a scale."""
MAX_CELLS = 200_000_000
"""Users times items: 0.8 GB."""


class Known(NamedTuple):
    """All ratings, one for each pair of user and item."""

    users: np.ndarray
    """(N,) numbers of rows."""
    items: np.ndarray
    """(N,) numbers of columns."""
    levels: np.ndarray
    """(N,) numbers of levels on the scale, from 1."""
    user_names: tuple[str, ...]
    item_names: tuple[str, ...]
    scale: tuple[float, ...]


class Ratings(InMemoryData):
    """Ratings of a CSV file of user, item and rating, or generated ones: each user and item has ``rank`` factors, whose
    product, with noise, is rounded to a rating from 1 to 5.

    Args:
        path: the file, with a line for each rating; None: ratings are generated.
        user: its column of users.
        item: its column of items.
        rating: its column of ratings.
        scale: the ratings that there are, such as [1,2,3,4,5]; None: those in the file.
        separator: between its cells; ``\\t`` is a tab.
        test_fraction: fraction of the ratings held out for testing.
        test_seed: selects these; independent of the run's seed, so that runs are comparable.
        val_fraction: fraction of the other ratings held out for validation.
        num_users: of the generated ratings, as are all that follow.
        num_items: their number.
        rank: number of factors.
        density: fraction of the items that a user has rated.
        noise: standard deviation that is added to a rating before it is rounded.
        sample_seed: draws them.
    """

    kind: ClassVar[type[Spec]] = RatingsSpec

    def __init__(
        self,
        *,
        path: str | None = None,
        user: str = "user",
        item: str = "item",
        rating: str = "rating",
        scale: Sequence[float] | None = None,
        separator: str = ",",
        test_fraction: float = 0.1,
        test_seed: int = 0,
        val_fraction: float = 0.1,
        num_users: int = 1000,
        num_items: int = 100,
        rank: int = 3,
        density: float = 0.3,
        noise: float = 0.3,
        sample_seed: int = 0,
        batch_size: int = 32,
        eval_batch_size: int = 512,
        seed: int = 0,
        placement: Literal["auto", "device", "host"] = "auto",
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            seed=seed,
            val_fraction=val_fraction,
            placement=placement,
        )
        between(0, 1, "data", test_fraction=test_fraction, density=density, exclusive=True)
        between(2, 1_000_000, "data", num_users=num_users, num_items=num_items)
        between(1, 1000, "data", rank=rank)
        check_size(num_users=num_users, num_items=num_items)
        at_least(0, "data", noise=noise)
        self.path = None if path is None else Path(path).expanduser()
        self.columns = {"user": user, "item": item, "rating": rating}
        self.scale = None if scale is None else tuple(sorted(map(float, scale)))
        if self.scale is not None and len({*self.scale}) < max(2, len(self.scale)):
            raise UserError(f"data.scale={list(self.scale)} must name at least two ratings, and none twice")
        self.separator = separator
        self.test_fraction, self.test_seed = test_fraction, test_seed
        self.num_users, self.num_items, self.rank = num_users, num_items, rank
        self.density, self.noise, self.sample_seed = density, noise, sample_seed

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        generated = (self.path is None, "generated ratings: data.path=null")
        own = (self.path is not None, "a file of your own: data.path=…")
        names = ("num_users", "num_items", "rank", "density", "noise", "sample_seed")
        return dict.fromkeys(names, generated) | dict.fromkeys(("user", "item", "rating", "scale", "separator"), own)

    def declare(self) -> RatingsSpec:
        return RatingsSpec(ItemRatings(self.known.item_names), self.known.scale)

    @cached_property
    def known(self) -> Known:
        return self._generated() if self.path is None else self._read(self.path)

    @cached_property
    def parts(self) -> dict[str, Tensor]:
        """The levels of training, validation and test, each (U, M); 0: not among them."""
        known = self.known
        num, shape = len(known.users), (len(known.user_names), len(known.item_names))
        num_test = round(self.test_fraction * num)
        num_val = round(self.val_fraction * (num - num_test))
        if min(num_test, num_val, num - num_test - num_val) < 1:
            raise UserError(
                f"data.path={self.path}: {num} ratings are too few to hold some out for validation and test; give "
                "more, or raise data.val_fraction and data.test_fraction"
            )
        order = np.random.default_rng(self.test_seed).permutation(num)
        rest = np.random.default_rng(self.seed).permutation(order[num_test:])
        rows = {"test": order[:num_test], "val": rest[:num_val], "train": rest[num_val:]}
        parts = {}
        for split, chosen in rows.items():
            parts[split] = torch.zeros(shape)
            parts[split][known.users[chosen], known.items[chosen]] = torch.from_numpy(known.levels[chosen]).float()
        return parts

    def load(self, split: Literal["train", "test"]) -> Arrays:
        return Arrays(self.parts["train"], self.parts[split])

    def fit_rows(self) -> dict[str, Arrays]:
        return {"train": self.load("train"), "val": Arrays(self.parts["train"], self.parts["val"])}

    def _generated(self) -> Known:
        draw = np.random.default_rng(self.sample_seed)
        factors = [draw.standard_normal((n, self.rank)) for n in (self.num_users, self.num_items)]
        levels = 3 + 1.2 * (factors[0] @ factors[1].T) / self.rank**0.5
        levels = np.clip(np.rint(levels + self.noise * draw.standard_normal(levels.shape)), 1, 5)
        users, items = np.nonzero(draw.random(levels.shape) < self.density)
        names = [tuple(f"{what} {i}" for i in range(n)) for what, n in zip(("user", "item"), levels.shape, strict=True)]
        return Known(users, items, levels[users, items], names[0], names[1], (1.0, 2.0, 3.0, 4.0, 5.0))

    # ------------------------------------------------------------------ the user's file

    def _read(self, path: Path) -> Known:
        table = read_table(existing_file(str(path), "data.path"), separator=self.separator)
        for key, column in self.columns.items():
            if column not in table.columns:
                raise UserError(f"data.{key}={column}: {path} has no such column; {nearest(column, [*table.columns])}")
        table = table[[*self.columns.values()]].set_axis([*self.columns], axis=1)
        missing = table.isna().any(axis=1).to_numpy().nonzero()[0]
        if len(missing):
            raise UserError(
                f"data.path={path}: row {missing[0] + 1} lacks a user, an item or a rating: remove or fill it"
            )
        numbers = parse_numbers(table["rating"]).values.to_numpy()
        wrong = (~np.isfinite(numbers)).nonzero()[0]
        if len(wrong):
            cell = short(str(table["rating"].iloc[wrong[0]]))
            raise UserError(f"data.path={path}: row {wrong[0] + 1} has the rating {cell!r}, which is not a number")
        scale = self._scale(numbers)
        user_names, item_names = (tuple(sorted(table[key].unique())) for key in ("user", "item"))
        if min(len(user_names), len(item_names)) < 2:
            raise UserError(
                f"data.path={path}: {len(user_names)} user and {len(item_names)} item; both must be several"
            )
        if (cells := len(user_names) * len(item_names)) > MAX_CELLS:
            raise UserError(
                f"data.path={path}: {len(user_names):,} users times {len(item_names):,} items are {cells:,} cells, "
                f"more than the {MAX_CELLS:,} that fit into memory; keep the most frequent ones"
            )
        table["level"] = np.searchsorted(scale, numbers) + 1
        table = self._without_duplicates(table)
        users, items = (
            np.searchsorted(names, table[key].to_numpy(str))
            for key, names in (("user", user_names), ("item", item_names))
        )
        return Known(users, items, table["level"].to_numpy(), user_names, item_names, scale)

    def _scale(self, numbers: np.ndarray) -> tuple[float, ...]:
        found = np.unique(numbers)
        if self.scale is None:
            if not 2 <= len(found) <= MAX_LEVELS:
                raise UserError(
                    f"data.path={self.path}: column {self.columns['rating']} has {len(found)} different ratings; "
                    f"between 2 and {MAX_LEVELS} are a scale: round them, or name those that there are in data.scale"
                )
            return tuple(found.tolist())
        outside = (~np.isin(numbers, self.scale)).nonzero()[0]
        if len(outside):
            raise UserError(
                f"data.path={self.path}: row {outside[0] + 1} has the rating {numbers[outside[0]]:g}, which is not on "
                f"data.scale={[*self.scale]} ({len(outside)} such rows): correct or remove them, or change the scale"
            )
        return self.scale

    def _without_duplicates(self, table: pd.DataFrame) -> pd.DataFrame:
        """Equal rows count once."""
        table = table.drop_duplicates(["user", "item", "level"])
        twice = table.duplicated(["user", "item"], keep=False)
        if twice.any():
            first = table[twice].iloc[0]
            raise UserError(
                f"data.path={self.path}: {first['user']!r} has rated {first['item']!r} in different ways; keep one of "
                f"the ratings ({int(twice.sum())} such rows)"
            )
        return table
