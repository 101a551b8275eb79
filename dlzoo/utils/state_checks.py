"""Checks that a stored state has the type, shape and size that the run expects."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeGuard

import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor

from dlzoo.errors import UserError, one_line, short
from dlzoo.utils.memory import is_out_of_memory

MAX_COUNT = 2**53
"""Limit of a counter: more steps than any run takes, and exact as a float."""


FAILURES = (
    TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError, AssertionError, OSError,
    ImportError, MisconfigurationException,
)  # fmt: skip
"""The errors that restoring a state of the wrong form can raise."""


@contextlib.contextmanager
def restoring(path: object) -> Iterator[None]:
    """Turn errors while restoring the state in ``path`` into a `UserError`; nothing else may stand in the block."""
    try:
        yield
    except UserError as error:
        if path is None or str(error).startswith("ckpt="):
            raise
        raise UserError(f"ckpt={path}: {error}") from None
    except FAILURES as error:
        if path is None or (isinstance(error, OSError) and error.errno is not None) or is_out_of_memory(error):
            raise
        reason = f"{type(error).__name__}: {one_line(error, 200)}"
        raise UserError(f"ckpt={path} does not match this run: {reason}") from None


ABSENT = object()


def fits(value: object, like: object, place: str, *, unlimited: bool = False) -> None:
    """Check that a stored value can replace ``like``, the value in a new object.

    Args:
        unlimited: a number may be infinite, like the best value before the first epoch.
    """
    if isinstance(like, Tensor):
        if isinstance(value, Tensor):
            check_tensor(value, like, place)
        elif like.ndim or not is_number(value):
            refuse(place, describe(value), describe(like))
    elif isinstance(value, Tensor) and is_number(like):
        check_tensor(value, torch.zeros((), dtype=value.dtype), place)
        fits(value.item(), like, place, unlimited=unlimited)
    elif isinstance(like, dict):
        stored = mapping(value, place)
        if stored.keys() != like.keys():
            refuse(place, f"with {short(', '.join(map(str, stored)))}", f"with {', '.join(map(str, like))}")
        for name, part in like.items():
            fits(stored[name], part, f"{place}.{name}", unlimited=unlimited)
    elif isinstance(like, list | tuple):
        for i, (part, expected) in enumerate(zip(sequence(value, place, len(like)), like, strict=True)):
            fits(part, expected, f"{place}[{i}]", unlimited=unlimited)
    elif isinstance(like, bool) or isinstance(value, bool):
        if not (isinstance(value, bool) and isinstance(like, bool | None)):
            refuse(place, describe(value), describe(like))
    elif like is None:
        if value is not None and not is_number(value) and not isinstance(value, str):
            refuse(place, describe(value), "nothing")
    elif is_number(like):
        given = number(value, place)
        if math.isfinite(like) and not unlimited and not abs(given) < MAX_COUNT:
            refuse(place, describe(value), "a finite number")
    elif type(value) is not type(like):
        refuse(place, describe(value), describe(like))


def check_tensor(value: Tensor, like: Tensor, place: str) -> None:
    """Check shape, kind of dtype and a dense memory layout, which an optimizer's kernels rely on."""
    is_plain = is_in_memory(value) and not value.is_quantized
    same_kind = value.is_floating_point() == like.is_floating_point() and value.is_complex() == like.is_complex()
    if (
        not is_plain
        or value.shape != like.shape
        or not same_kind
        or (value.dtype == torch.bool) != (like.dtype == torch.bool)
    ):
        refuse(place, describe(value), describe(like))
    if not is_dense(value):
        refuse(place, f"{describe(value)} with elements that share memory", describe(like))


def is_in_memory(value: Tensor) -> bool:
    """Whether the elements are in memory as they are: few kernels read a view that negates or conjugates them.

    >>> is_in_memory(torch.zeros(3)), is_in_memory(torch._neg_view(torch.zeros(3)))
    (True, False)
    """
    return value.layout == torch.strided and value.device.type != "meta" and not value.is_neg() and not value.is_conj()


def is_dense(value: Tensor) -> bool:
    """Whether the elements fill memory without overlaps or gaps.

    >>> is_dense(torch.zeros(3, 2).mT), is_dense(torch.zeros(1).expand(3))
    (True, False)
    """
    expected_stride = 1
    for stride, size in sorted(zip(value.stride(), value.shape, strict=True)):
        if size > 1 and stride != expected_stride:
            return False
        expected_stride *= size
    return True


def tensors(value: object, place: str) -> None:
    """Check that a value is None, a floating-point tensor, or a tuple of these."""
    if isinstance(value, list | tuple):
        for i, part in enumerate(value):
            tensors(part, f"{place}[{i}]")
    elif value is not None and not (isinstance(value, Tensor) and value.is_floating_point()):
        refuse(place, describe(value), "a tensor")
    elif isinstance(value, Tensor) and not is_in_memory(value):
        refuse(place, describe(value), "a dense tensor")
    elif isinstance(value, Tensor) and torch.finfo(value.dtype).bits < 16:
        refuse(place, describe(value), "a tensor of a kind that can be added to others")


def score(value: object, place: str) -> None:
    """Check that a value is a metric's value or None."""
    if isinstance(value, Tensor):
        check_tensor(value, torch.zeros(()), place)
    elif value is not None:
        number(value, place)


def counter(value: object, place: str) -> int:
    """The value, if it is a count; `UserError` otherwise."""
    if type(value) is not int or not 0 <= value < MAX_COUNT:
        refuse(place, describe(value), "an integer, 0 or more")
    return value


def number(value: object, place: str) -> int | float:
    """The value, if it is a number; `UserError` otherwise."""
    if not is_number(value):
        refuse(place, describe(value), "a number")
    return value


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def mapping(value: object, place: str) -> Mapping[Any, Any]:
    """The value, if it is a mapping; `UserError` otherwise."""
    if not isinstance(value, Mapping):
        refuse(place, describe(value), "a mapping")
    return value


def sequence(value: object, place: str, length: int | None = None) -> Sequence[Any]:
    """The value, if it is a list or tuple, of this length; `UserError` otherwise."""
    if not isinstance(value, list | tuple) or (length is not None and len(value) != length):
        refuse(place, describe(value), f"a list{'' if length is None else f' of {length}'}")
    return value


def describe(value: object) -> str:
    if isinstance(value, Tensor):
        kind = "" if value.layout == torch.strided else f"{str(value.layout).removeprefix('torch.')} "
        kind = "negated " if value.is_neg() else "conjugated " if value.is_conj() else kind
        return f"a {kind}tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    if value is None:
        return "nothing"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return "a mapping"
    return f"{type(value).__name__} {short(value)}"


def refuse(place: str, given: str, wanted: str) -> NoReturn:
    raise UserError(f"its {place} does not match this run: it is {given}, but must be {wanted}")
