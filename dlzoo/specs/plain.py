"""Specs as plain data, for checkpoints and JSON."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

from dlzoo.errors import UserError
from dlzoo.specs.base import REGISTRY, Spec, Target
from dlzoo.specs.targets import Answer
from dlzoo.utils.type_checks import check_value

BASES = (Spec, Target, Answer)
"""Classes that describe nothing by themselves."""


def to_plain(value: object) -> object:
    """A spec as dicts, lists, strings and numbers, for a checkpoint or JSON; `from_plain` inverts it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    return [to_plain(v) for v in value] if isinstance(value, tuple) else value


def from_plain(value: object) -> Any:
    """The spec that `to_plain` wrote. `UserError` if it names a type or a field that this version does not know."""
    if isinstance(value, dict):
        fields = {k: from_plain(v) for k, v in value.items() if k != "type"}
        try:
            kind = REGISTRY[value["type"]]
            if kind in BASES:
                raise UserError(f"the stored spec has a part of no kind: {kind.__name__} is only the base of others")
            part = kind(**fields)
        except (KeyError, TypeError) as error:
            raise UserError(f"the stored spec has a part that this version of dlzoo does not know: {error}") from None
        hints = get_type_hints(kind)
        for name, given in fields.items():
            check_value(given, hints[name], f"the stored spec, {kind.__name__}.{name}")
            if hints[name] == tuple[str, ...] and not all(isinstance(text, str) for text in given):
                raise UserError(f"the stored spec, {kind.__name__}.{name}: these must be texts")
        part.check()
        return part
    return tuple(from_plain(v) for v in value) if isinstance(value, list) else value


def spec_from_plain(value: object) -> Spec:
    """As `from_plain`, for a whole spec.

    Raises:
        UserError: it is missing, is something else, or is unknown to this version.
    """
    spec = from_plain(value)
    if not isinstance(spec, Spec):
        raise UserError("the checkpoint is damaged: it does not say what data it was trained on")
    return spec
