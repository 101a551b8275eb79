"""Ratings: those held out are of users who are known, and a file says what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlzoo.data.tables.ratings import Ratings
from dlzoo.errors import UserError


def written(folder: Path, rows: list[str], header: str = "user,item,rating") -> str:
    path = folder / "ratings.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


ROWS = [f"u{i},film {j},{1 + (i + j) % 4}" for i in range(8) for j in range(6) if (i * j) % 5]


def test_each_rating_is_in_one_part() -> None:
    data = Ratings(num_users=50, num_items=20)
    data.setup()
    parts = data.parts
    count = sum(int((part > 0).sum()) for part in parts.values())
    assert count == len(data.known.users)
    assert not any(
        ((parts[a] > 0) & (parts[b] > 0)).any() for a, b in (("train", "val"), ("train", "test"), ("val", "test"))
    )
    assert int((parts["test"] > 0).sum()) == round(0.1 * count)
    test = data.arrays("test")
    assert torch.equal(test.x, data.arrays("train").x)
    assert torch.equal(test.y, parts["test"])
    other = Ratings(num_users=50, num_items=20, seed=1)
    assert torch.equal(other.parts["test"], parts["test"]), "the test ratings do not depend on the seed"
    assert not torch.equal(other.parts["val"], parts["val"])


def test_generated_ratings_are_of_low_rank() -> None:
    known = Ratings(num_users=200, num_items=40, rank=2, density=0.999, noise=0.0).known
    matrix = np.full((200, 40), 3.0)
    matrix[known.users, known.items] = known.levels
    values = np.linalg.svd(matrix - matrix.mean(), compute_uv=False)
    shares = values**2 / (values**2).sum()
    assert shares[:2].sum() > 0.8
    assert shares[2] < 0.1
    assert known.scale == (1, 2, 3, 4, 5)


def test_a_file_is_read(tmp_path: Path) -> None:
    data = Ratings(path=written(tmp_path, [*ROWS, ROWS[0]], "user,film,stars"), item="film", rating="stars")
    assert data.declare().scale == (1, 2, 3, 4)
    assert data.known.user_names == tuple(sorted({line.split(",")[0] for line in ROWS}))
    whole = sum(data.parts.values())
    assert int((torch.as_tensor(whole) > 0).sum()) == len(ROWS), "equal rows count once"
    for line in ROWS:
        user, item, rating = line.split(",")
        place = data.known.user_names.index(user), data.known.item_names.index(item)
        assert float(torch.as_tensor(whole)[place]) == float(rating)
    halves = [line.replace(",4", ",4.5") for line in ROWS]
    scaled = Ratings(path=written(tmp_path, halves), scale=[1, 2, 3, 4, 4.5, 5])
    assert int(scaled.known.levels.max()) == 5


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([*ROWS, "u1,film 9,6"], {"scale": [1, 2, 3, 4, 5]}, r"row \d+ has the rating 6, which is not on data\.scale"),
        ([*ROWS, "u1,film 1,4"], {}, "'u1' has rated 'film 1' in different ways; keep one"),
        ([*ROWS, "u1,film 9,good"], {}, r"has the rating 'good', which is not a number"),
        ([*ROWS, "u1,film 9,"], {}, "lacks a user, an item or a rating"),
        (ROWS, {"rating": "ratng"}, "data.rating=ratng: .* has no such column; did you mean 'rating'"),
        (ROWS, {"scale": [1, 1, 2]}, r"data.scale=\[1.0, 1.0, 2.0\] must name at least two ratings, and none twice"),
        ([f"u{i},film {j},{i + j / 9}" for i in range(9) for j in range(9)], {}, "81 different ratings; between 2"),
        ([f"u{i},one,{i % 3}" for i in range(9)], {}, "9 user and 1 item; both must be several"),
        (["a,x,1", "b,y,2", "a,y,1"], {}, "3 ratings are too few"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file(rows: list[str], options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        _ = Ratings(path=written(tmp_path, rows), **options).parts


def test_options() -> None:
    for options in ({"density": 0.0}, {"test_fraction": 1.0}, {"num_items": 1}, {"rank": 0}, {"noise": -1.0}):
        with pytest.raises(UserError, match=next(iter(options))):
            Ratings(**options)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="there is no such file"):
        _ = Ratings(path="nowhere.csv").known
