"""The overrides and the config that a checkpoint or a study stores: they may choose options of a run, nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.errors import HydraException

from dlzoo.config.allowlist import NETWORKED, Trust
from dlzoo.config.locations import LOCATION_KEYS, refusal_reason
from dlzoo.config.nested import walk
from dlzoo.config.overrides import check_stored_size, parsed, readable
from dlzoo.errors import UserError, short


def check(overrides: Sequence[str], source: str, trust: Trust, known: Sequence[str] = ()) -> list[str]:
    """The stored overrides that apply.

    Those that set a place to write to, or an address, or choose a logger that may connect to one, are dropped: the
    current command line or the default applies.

    Args:
        source: where they are stored, for messages.
        known: the top-level keys of a config, and the groups.

    Raises:
        UserError: an override that does more than set options.
    """
    check_stored_size(overrides, source)
    applied = []
    for override in overrides:
        prefix = f"{source} stores the override {short(override)}"
        key, value = _parsed(override, prefix)
        top = key.split(".")[0]
        if key in ("ckpt", "resume"):
            continue
        if top not in known or top in ("trust", "sweep", "grid", "names"):
            raise UserError(f"{prefix}, which is not an option of a run")
        if key.split(".")[-1] in LOCATION_KEYS or (key == "logger" and _is_networked(value)):
            continue
        for item_key, item in walk(value, key):
            name = item_key.rpartition(".")[2]
            if name == "_target_":
                _check_target(item, item_key, prefix, trust)
            elif re.fullmatch(r"_\w+_(\[\d+\])*", name):
                raise UserError(f"{prefix}: {name} is not an option of a part")
            if top != "expect" and (reason := refusal_reason(item_key, item)):
                raise UserError(f"{prefix}: {reason}; give {item_key} on the command line")
        applied.append(override)
    return applied


def _is_networked(chosen: object) -> bool:
    """Whether one of the chosen loggers may send results to a server."""
    return not {*NETWORKED.values()}.isdisjoint(map(str, chosen if isinstance(chosen, list) else [chosen]))


def check_no_references(node: object, key: str, source: str) -> None:
    """`UserError` if a config that is stored resolved contains a reference, in a key or in a value."""
    for item_key, value in walk(node, key):
        text = value if isinstance(value, str) else item_key
        if "${" in text:
            raise UserError(
                f"{source} contains the reference {item_key}={short(value)}; dlzoo stores no references in a checkpoint"
            )


def _parsed(override: str, prefix: str) -> tuple[str, object]:
    """The key and the value of a stored override; ``prefix`` begins messages about it."""
    no_reference = f"{prefix}: references are not allowed there; give it on the command line"
    if override.startswith("-"):
        raise UserError(f"{prefix}, which is not an option of a run")
    if "${" in override:
        raise UserError(no_reference)
    try:
        parts = parsed(readable(override))
    except HydraException:
        raise UserError(f"{prefix}, which is not a valid override") from None
    key, value = parts.key_or_group, None if parts.is_delete() else parts.value()
    if parts.is_sweep_override() or parts.package is not None or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", key):
        raise UserError(f"{prefix}, which is not an option of a run")
    for item_key, item in walk(value, key):
        if not isinstance(item, str | int | float | dict | list | None) or "${" in f"{item_key}{item}":
            raise UserError(no_reference)
    return key, value


def _check_target(target: object, key: str, prefix: str, trust: Trust) -> None:
    try:
        trust.check_target(target, key)
    except UserError as error:
        raise UserError(f"{prefix}: {error}") from None
