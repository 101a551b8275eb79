"""Names of the rows of a table without a target, such as those of colours, which pictures show."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class RowNames:
    """Numbers names in the order in which they first occur.

    >>> names = RowNames()
    >>> names.numbers(["red", "blue", "red"]), names.numbers(["blue", "gold"]), names.known
    (tensor([0, 1, 0]), tensor([1, 2]), ('red', 'blue', 'gold'))
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def known(self) -> tuple[str, ...]:
        """By number."""
        return tuple(self._numbers)

    def numbers(self, names: Iterable[object]) -> Tensor:
        """(N,) int64."""
        return torch.tensor(
            [self._numbers.setdefault(str(name).strip(), len(self._numbers)) for name in names], dtype=torch.long
        )
