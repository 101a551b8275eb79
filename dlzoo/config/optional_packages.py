"""Which optional packages the parts of a run need: they are looked for before anything that takes seconds to import."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from dlzoo.utils import extras
from dlzoo.utils.files import is_path

ENVIRONMENTS = {"ALE/": "ale_py", "LunarLander": "Box2D", "BipedalWalker": "Box2D", "CarRacing": "Box2D"}
"""The packages behind Gymnasium's environments, by the beginning of their ids."""


TRACKERS = {"Wandb": ("wandb",), "MLflow": ("mlflow", "sqlalchemy", "alembic"), "Trackio": ("trackio",)}
"""The packages behind the loggers of `dlzoo.callbacks.trackers`."""


def check(net: object, data: object, logger: object = None) -> None:
    """`UserError` on how to install a package that a part of a run needs and that is missing.

    Args:
        net: the node of the config, which has not been checked yet.
        data: likewise.
        logger: likewise.
    """
    for key, package in (*_needed(net, data), *_of_loggers(logger)):
        extras.require(key, package)


def _needed(net: object, data: object) -> Iterator[tuple[str, str]]:
    """Pairs of the option and the package that it needs."""
    net, data = (node if isinstance(node, Mapping) else {} for node in (net, data))
    if net.get("_target_") == "dlzoo.nets.timm_net.TimmNet":
        yield f"net.name={net.get('name', '???')}", "timm"
    if data.get("level") == "bpe":
        yield "data.level=bpe", "tokenizers"
    if str(data.get("path")).endswith((".parquet", ".pq")) or _is_saved(data.get("path")):
        yield f"data.path={data['path']}", "pyarrow"
    if data.get("_target_") == "dlzoo.data.environments.Gym":
        for start, package in ENVIRONMENTS.items():
            if str(data.get("id")).startswith(start):
                yield f"data.id={data['id']}", package


def _of_loggers(node: object) -> Iterator[tuple[str, str]]:
    """As `_needed`, of the loggers by name."""
    for name, logger in (node if isinstance(node, Mapping) else {}).items():
        target = str(logger.get("_target_")) if isinstance(logger, Mapping) else ""
        for package in TRACKERS.get(target.removeprefix("dlzoo.callbacks.trackers."), ()):
            yield f"logger={name}", package


def _is_saved(path: object) -> bool:
    """Whether an option names a folder that ``save_to_disk`` of the library `datasets` has written."""
    if not isinstance(path, str) or not is_path(path) or not os.path.isdir(folder := os.path.expanduser(path)):
        return False
    from dlzoo.data.arrow_tables import is_saved  # with NumPy

    return is_saved(Path(folder))
