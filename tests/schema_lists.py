"""JSON Schemas compared without the order of their lists, which Python's types do not keep."""

from __future__ import annotations


def in_any_order(schema: object) -> object:
    """A schema whose lists are sorted: Python takes ``int | str`` for ``str | int``, and gives one for the other."""
    if isinstance(schema, dict):
        return {key: in_any_order(value) for key, value in schema.items()}
    return sorted(map(in_any_order, schema), key=repr) if isinstance(schema, list) else schema
