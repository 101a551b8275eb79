"""Digits to be reversed, sorted or added up: pairs of sequences whose rule is known."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from dlzoo.data.generated import check_size
from dlzoo.data.pairs.base import PairData, Table
from dlzoo.errors import UserError, at_least, pick

Operation = Literal["reverse", "sort", "sum"]


class DigitSequences(PairData):
    """Random sequences of digits, and the same reversed or sorted; or two numbers ``12+34`` and their sum.

    No input occurs twice. Of the test rows, half are as long as those of training, half are longer: their metrics stand
    apart, as ``test/exact_match_longer``.

    Args:
        operation: reverse, sort, or sum of two numbers with as many digits each.
        min_digits, max_digits: of a sequence, or of each number; all lengths are equally frequent as long as there are
            new ones.
        test_max_digits: the second half of the test rows has from ``max_digits`` + 1 to this many.
        num_samples: pairs for training and validation; for testing there are a tenth as many of each half.
        sample_seed: draws the pairs; independent of the run's seed, so that runs are comparable.
    """

    is_text = False

    def __init__(
        self,
        *,
        operation: Operation = "reverse",
        min_digits: int = 2,
        max_digits: int = 10,
        test_max_digits: int = 15,
        num_samples: int = 20_000,
        sample_seed: int = 0,
        batch_size: int = 64,
        eval_batch_size: int = 512,
        seed: int = 0,
        placement: Literal["auto", "device", "host"] = "auto",
    ) -> None:
        operation = pick(operation, {name: name for name in get_args(Operation)}, "data.operation")
        length = 2 * test_max_digits + 1 if operation == "sum" else test_max_digits
        super().__init__(
            level="char", max_length=max(length, 1), batch_size=batch_size, eval_batch_size=eval_batch_size, seed=seed,
            placement=placement,
        )  # fmt: skip
        at_least(1, "data", min_digits=min_digits)
        if not min_digits <= max_digits < test_max_digits:
            raise UserError(
                f"data.min_digits={min_digits}, data.max_digits={max_digits} and data.test_max_digits="
                f"{test_max_digits} must ascend, the last two strictly: longer sequences are for the test alone"
            )
        at_least(20, "data", num_samples=num_samples)
        check_size(num_samples=num_samples, test_max_digits=test_max_digits)
        self.operation = operation
        self.min_digits, self.max_digits, self.test_max_digits = min_digits, max_digits, test_max_digits
        self.num_samples = num_samples
        self.sample_seed = sample_seed

    def fingerprint(self, part: str) -> str:
        options = (self.operation, self.min_digits, self.max_digits, self.test_max_digits, self.num_samples)
        return f"digits {part} {options} {self.sample_seed}"

    def test_rows(self) -> Tensor:
        return torch.arange(self.num_samples, len(self.table().sources))

    def table(self) -> Table:
        return self._table

    @cached_property
    def _table(self) -> Table:
        draw, num_test = random.Random(self.sample_seed), self.num_samples // 10
        sources = self._drawn(draw, self.num_samples + num_test, self.min_digits, self.max_digits)
        sources += self._drawn(draw, num_test, self.max_digits + 1, self.test_max_digits)
        answer = ANSWERS[self.operation]
        return Table(sources, [answer(source) for source in sources])

    def _drawn(self, draw: random.Random, num: int, least: int, most: int) -> list[str]:
        """``num`` different inputs in random order."""
        found: dict[str, None] = {}
        for _ in range(100 * num):
            length = draw.randint(least, most)
            if self.operation == "sum":
                source = f"{_number(draw, length)}+{_number(draw, length)}"
            else:
                source = "".join(draw.choices("0123456789", k=length))
            found[source] = None
            if len(found) == num:
                return [*found]
        raise UserError(
            f"data.num_samples={self.num_samples}: there are too few different inputs of {least} to {most} digits; "
            "lower it, or raise data.max_digits"
        )


def _number(draw: random.Random, num_digits: int) -> int:
    """A number of so many digits, which does not begin with 0 unless it is 0."""
    return draw.randrange(10 ** (num_digits - 1) if num_digits > 1 else 0, 10**num_digits)


ANSWERS: dict[str, Callable[[str], str]] = {
    "reverse": lambda source: source[::-1],
    "sort": lambda source: "".join(sorted(source)),
    "sum": lambda source: str(sum(map(int, source.split("+")))),
}
"""What is to be written for an input."""
