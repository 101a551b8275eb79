"""Checks values against type annotations, and describes annotations in plain words."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping, Sequence

from dlzoo.errors import UserError, nearest, short


def check_value(value: object, hint: object, key: str) -> None:
    """Raise `UserError` if the value of a key does not have the annotated type."""
    if not has_type(value, hint):
        raise UserError(f"{key}={short(value)} {mismatch(value, hint)}")


def has_type(value: object, hint: object) -> bool:
    """Whether a value, with every item in it, is of a type.

    Unlike in Python, true and false are no numbers.

    >>> has_type([8, 8], Sequence[int]), has_type([8, "a"], Sequence[int]), has_type(True, int)
    (True, False, False)
    """
    import typeguard

    try:
        typeguard.check_type(value, hint, collection_check_strategy=typeguard.CollectionCheckStrategy.ALL_ITEMS)
    except typeguard.TypeCheckError:
        return False
    return not (_has_bool(value) and _leaves(hint) <= NUMBERS_AND_TEXTS)


NUMBERS_AND_TEXTS = {int, float, str, type(None)}


def _has_bool(value: object) -> bool:
    """Whether a value, or an item in it, is true or false."""
    if isinstance(value, Mapping):
        return any(map(_has_bool, value.values()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return any(map(_has_bool, value))
    return isinstance(value, bool)


def _leaves(hint: object) -> set[object]:
    """The types without arguments in an annotation; of a choice of values, the values' types."""
    if typing.get_origin(hint) is typing.Literal:
        return {type(value) for value in typing.get_args(hint)}
    args = [arg for arg in typing.get_args(hint) if arg is not Ellipsis]
    return {leaf for arg in args for leaf in _leaves(arg)} if args else {hint}


def mismatch(value: object, hint: object) -> str:
    """What is wrong with a value that does not have a type, as the predicate of a sentence.

    >>> mismatch("a", int)
    'must be an integer'
    """
    choices = _choices(hint)
    if choices and isinstance(value, str):
        return f"is unknown; {nearest(value, choices)}"
    return f"must be {readable(hint)}"


def _choices(hint: object) -> list[str]:
    if typing.get_origin(hint) is typing.Literal:
        return [str(v) for v in typing.get_args(hint)]
    return list(dict.fromkeys(choice for part in typing.get_args(hint) for choice in _choices(part)))


def readable(hint: object) -> str:
    """An annotation in words: ``float | None`` is 'a number or null'.

    >>> readable(float | None), readable(typing.Literal["a", "b"])
    ('a number or null', "one of 'a', 'b'")
    """
    names = {int: "an integer", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    if isinstance(hint, type) and hint in names:
        return names[hint]
    args, origin = typing.get_args(hint), typing.get_origin(hint)
    if origin is typing.Literal:
        choices = ", ".join(dict.fromkeys(repr(a) for a in args))
        return choices if len(args) == 1 else f"one of {choices}"
    if origin is not None and inspect.isclass(origin) and issubclass(origin, Sequence):
        return f"a list, each {readable(args[0])}" if args else "a list"
    if (args and not inspect.isclass(origin)) or str(origin) == "<class 'types.UnionType'>":
        return " or ".join(readable(a) for a in args)
    return getattr(hint, "__name__", str(hint))
