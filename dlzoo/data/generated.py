"""The size of data that are generated, which a few digits in a config determine."""

from __future__ import annotations

import math

from dlzoo.errors import UserError

MAX_NUMBERS = 50_000_000
"""Of generated data: a few copies of them, in double precision, take less than 2 GB."""


def check_size(each: int = 1, **sizes: int) -> None:
    """`UserError` if data of these sizes, options of the data that are multiplied, would be too large.

    Args:
        each: numbers of a row, if no option is their number.

    >>> check_size(num_samples=1000, num_features=10)
    >>> check_size(num_users=10**6, num_items=10**6)
    Traceback (most recent call last):
    dlzoo.errors.UserError: data.num_users=1000000 and data.num_items=1000000 are too large: generated data have at \
most 50,000,000 numbers, but these would have 1,000,000,000,000
    """
    total = each * math.prod(sizes.values())
    if total > MAX_NUMBERS:
        given = " and ".join(f"data.{key}={value}" for key, value in sizes.items())
        raise UserError(
            f"{given} {'are' if len(sizes) > 1 else 'is'} too large: generated data have at most {MAX_NUMBERS:,} "
            f"numbers, but these would have {total:,}"
        )
