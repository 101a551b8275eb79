"""What simple methods predict of ratings: means, and matrix factorisation.

Matrices are (U, M) in double precision, of users and items, with NaN where there is no rating.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

RANKS = (1, 2, 3, 5, 8)
PENALTIES = (1.0, 3.0, 10.0)
NUM_ROUNDS = 15
DAMPING = 5.0
"""Ratings of the mean that a mean of few ratings is drawn to."""


def rmse(predicted: Tensor, truth: Tensor) -> float:
    """Over the entries of the truth that there are."""
    return float((predicted - truth)[~truth.isnan()].square().mean().sqrt())


def item_means(train: Tensor) -> Tensor:
    """The mean rating of each item, for all users; without any, that of all ratings."""
    mean = train.nanmean(0)
    return torch.where(mean.isnan(), train.nanmean(), mean).expand_as(train)


def biases(train: Tensor) -> Tensor:
    """The mean of all ratings, plus how far the ratings of the item, and of the user, lie from it on average."""
    known = (~train.isnan()).double()
    overall = train.nanmean()
    rest = (train - overall).nan_to_num()
    of_items = rest.sum(0) / (known.sum(0) + DAMPING)
    rest = (rest - of_items) * known
    of_users = rest.sum(1, keepdim=True) / (known.sum(1, keepdim=True) + DAMPING)
    return overall + of_items + of_users


def factorization(train: Tensor, val: Tensor) -> tuple[Tensor, int]:
    """Biases plus the product of factors of users and items, by alternating least squares with weight decay (Y. Koren,
    R. Bell, C. Volinsky, "Matrix Factorization Techniques for Recommender Systems", Computer 42, 2009); the number of
    factors and the decay are those with the smallest error on the validation ratings. Also returns the number."""
    tried = {
        (rank, penalty): biases(train) + low_rank(train - biases(train), rank, penalty)
        for rank, penalty in itertools.product(RANKS, PENALTIES)
        if rank < min(train.shape)
    }
    best = min(tried, key=lambda setting: rmse(tried[setting], val))
    return tried[best], best[0]


def low_rank(matrix: Tensor, rank: int, penalty: float) -> Tensor:
    """The product of factors, (U, M), that fits the entries which are there."""
    known, values = (~matrix.isnan()).double(), matrix.nan_to_num()
    draw = torch.Generator().manual_seed(0)
    items = torch.randn(matrix.shape[1], rank, generator=draw, dtype=torch.float64) / rank**0.5
    users = torch.zeros(matrix.shape[0], rank, dtype=torch.float64)
    for _ in range(NUM_ROUNDS):
        users = solved(values, known, items, penalty)
        items = solved(values.T, known.T, users, penalty)
    return users @ items.T


def solved(values: Tensor, known: Tensor, factors: Tensor, penalty: float) -> Tensor:
    """The factors of each row, given those of the columns (M, rank)."""
    rank = factors.shape[1]
    products = (factors[:, :, None] * factors[:, None]).flatten(1)
    gram = (known @ products).view(-1, rank, rank) + penalty * torch.eye(rank, dtype=values.dtype)
    return torch.linalg.solve(gram, values @ factors)
