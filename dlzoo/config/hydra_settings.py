"""Hydra's own settings, from which it builds plugins and loggers before any check of a run's config."""

from __future__ import annotations

from collections.abc import Iterator

from dlzoo.config.allowlist import import_name
from dlzoo.errors import UserError, short

BASES = ("hydra.plugins.plugin.Plugin", "hydra.experimental.callback.Callback")
"""Base classes of what Hydra may build."""
LOGGING = (
    "logging.StreamHandler", "logging.FileHandler", "logging.NullHandler", "logging.Formatter",
    "logging.handlers.RotatingFileHandler", "colorlog.ColoredFormatter",
)  # fmt: skip
"""Classes that its logging may use."""
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")


def check(node: object, key: str = "hydra") -> None:
    """Check that Hydra's settings build only its plugins and callbacks, and log only through standard loggers.

    Args:
        node: unresolved: what is built must be named literally.
        key: dotted.

    Raises:
        UserError: they do more.
    """
    for name, value in _items(node):
        item_key = f"{key}.{name}"
        prefix = f"{item_key}={short(value)} is not allowed"
        is_logging = "_logging" in key
        if name == "_target_":
            if not _is_plugin(str(value)):
                raise UserError(f"{prefix}: it is not a plugin or callback of Hydra")
        elif is_logging and name in ("()", "class") and value not in LOGGING:
            raise UserError(f"{prefix}: only these logging classes are: {', '.join(LOGGING)}")
        elif is_logging and isinstance(value, str) and "://" in value and value not in STREAMS:
            raise UserError(f"{prefix}: a logger's stream must be one of {', '.join(STREAMS)}")
        elif isinstance(value, str) and value.startswith("${") and (is_logging or key == "hydra.callbacks"):
            raise UserError(f"{prefix}: a reference cannot be used here")
        check(value, item_key)


def _is_plugin(target: str) -> bool:
    if not target.startswith(("hydra.", "hydra_plugins.", "dlzoo.config.run_dir.")):
        return False
    located = import_name(target)
    bases = tuple(base for base in map(import_name, BASES) if isinstance(base, type))
    return isinstance(located, type) and issubclass(located, bases)


def _items(node: object) -> Iterator[tuple[object, object]]:
    if isinstance(node, dict):
        yield from node.items()
    elif isinstance(node, list):
        yield from enumerate(node)
