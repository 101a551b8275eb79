"""Names of earlier versions, which configs, run folders and checkpoints of theirs still hold.

A ``_target_`` under an old name is read as the new one; where the user wrote it, a line says so.
"""

from __future__ import annotations

import re
from typing import Any

MODULES = {
@MODULES@
}
"""The modules of parts that were moved."""

_NAME = re.compile(r"dlzoo(?:\.\w+)+")


def current(target: str) -> str:
    """The name that a ``_target_`` has now.

    >>> current("dlzoo.nets.dice.Dice"), current("dlzoo.nets.mlp.MLP")
    ('dlzoo.nets.uniform_policy.Dice', 'dlzoo.nets.mlp.MLP')
    """
    module, _, name = target.rpartition(".")
    return f"{MODULES[module]}.{name}" if module in MODULES else target


def updated(node: Any) -> Any:
    """A nest of dicts and lists with every ``_target_`` under its present name."""
    if isinstance(node, dict):
        return {
            key: current(value) if key == "_target_" and isinstance(value, str) else updated(value)
            for key, value in node.items()
        }
    return [updated(item) for item in node] if isinstance(node, list) else node


def updated_override(override: str) -> str:
    """An override whose value may hold a ``_target_``.

    >>> updated_override("++callbacks.mine={_target_: dlzoo.callbacks.film.Film}")
    '++callbacks.mine={_target_: dlzoo.callbacks.sample_animation.Film}'
    """
    return _NAME.sub(lambda match: current(match[0]), override) if "_target_" in override else override
