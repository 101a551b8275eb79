"""dlzoo: classic deep-learning systems that run, composed from YAML by Hydra and trained by Lightning."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlzoo.api.catalog import datasets, experiments, models
    from dlzoo.api.comparison import compare
    from dlzoo.api.images import Images
    from dlzoo.api.model import Model, load, pretrained
    from dlzoo.api.run import Run
    from dlzoo.api.runs import runs
    from dlzoo.api.sweep import Sweep
    from dlzoo.api.training import search, train
    from dlzoo.errors import RunFailed, UserError

# Threads that wait for work may spin for microseconds, not for milliseconds as GNU OpenMP lets them: beside another
# busy process that made small nets up to 80 times slower. Not spinning at all (OMP_WAIT_POLICY=PASSIVE) costs them a
# factor of 2.5 on a quiet machine; this costs nothing there. Read when torch is imported, so it stands here.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

__version__ = "0.1.0"

PUBLIC = {
    "train": "dlzoo.api.training",
    "search": "dlzoo.api.training",
    "load": "dlzoo.api.model",
    "pretrained": "dlzoo.api.model",
    "compare": "dlzoo.api.comparison",
    "runs": "dlzoo.api.runs",
    "models": "dlzoo.api.catalog",
    "datasets": "dlzoo.api.catalog",
    "experiments": "dlzoo.api.catalog",
    "Run": "dlzoo.api.run",
    "Model": "dlzoo.api.model",
    "Sweep": "dlzoo.api.sweep",
    "Images": "dlzoo.api.images",
    "UserError": "dlzoo.errors",
    "RunFailed": "dlzoo.errors",
}
"""The Python API, and the module of each name: they are imported when they are used, so ``import dlzoo`` is quick."""

__all__ = [  # noqa: RUF022  # the order of the documentation
    "train", "search", "load", "pretrained", "compare", "runs", "models", "datasets", "experiments", "Run", "Model",
    "Sweep", "Images", "UserError", "RunFailed", "__version__",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'dlzoo' has no attribute {name!r}")
    return getattr(importlib.import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
