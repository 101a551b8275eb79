"""Nested dicts and lists of plain values, addressed by dotted keys such as ``net.hidden[0]``."""

from __future__ import annotations

from collections.abc import Iterator


def walk(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Every value in nested dicts and lists with its dotted key, the outermost first."""
    yield key, value
    if isinstance(value, dict):
        for name, item in value.items():
            yield from walk(item, f"{key}.{name}" if key else f"{name}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from walk(item, f"{key}[{i}]")


def without_indices(key: str) -> str:
    """A dotted key without the indices at its end, in one pass: a regular expression takes quadratic time.

    >>> without_indices("net.hidden[0][1]"), without_indices("net.hidden[0].a"), without_indices("a[x]")
    ('net.hidden', 'net.hidden[0].a', 'a[x]')
    """
    end = len(key)
    while end and key[end - 1] == "]":
        start = key.rfind("[", 0, end)
        if start < 0 or not key[start + 1 : end - 1].isdecimal():
            break
        end = start
    return key[:end]


def flatten(node: object, prefix: str = "") -> dict[str, object]:
    """Nested dicts as one dict with dotted keys; lists are kept as values.

    >>> flatten({"net": {"hidden": [8], "_target_": "dlzoo.nets.mlp.MLP"}})
    {'net.hidden': [8], 'net._target_': 'dlzoo.nets.mlp.MLP'}
    """
    if not isinstance(node, dict) or not node:
        return {prefix: node}
    flat: dict[str, object] = {}
    for key, value in node.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def targets(node: object, key: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Every dict with a ``_target_`` in a node, with its dotted key."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield key, node
        for name, value in node.items():
            yield from targets(value, f"{key}.{name}")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from targets(value, f"{key}[{i}]")
