"""What a config may build.

A ``_target_`` is called with what stands beside it, so one that names ``os.system`` is a command. A config is passed on
from hand to hand, as a file or inside a checkpoint: whatever its author wrote, it builds parts of a run and nothing
else. The user's own parts are as good as ours, if they are parts.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from dlzoo.errors import UserError, short

PARTS = {
    "net": "torch.nn.Module",
    "task": "dlzoo.tasks.base.Task",
    "data": "dlzoo.data.base.DataModule",
    "optimizer": "torch.optim.Optimizer",
    "trainer": "lightning.pytorch.Trainer",
    "callbacks": "lightning.pytorch.Callback",
    "logger": "lightning.pytorch.loggers.Logger",
}
"""What the ``_target_`` of each node must be a subclass of; a scheduler is a function that takes a plan."""

FAMILIES = ("dlzoo.", "torch.", "lightning.", "torchmetrics.", "kornia.")
"""Where what is built inside of a part comes from, or one of its base classes."""

HYDRA_PARTS = ("hydra.plugins.plugin.Plugin", "hydra.experimental.callback.Callback")
LOGGING = ("logging.", "colorlog.")
STORED = ("dlzoo.", "torch.optim.", "lightning.pytorch.")
"""The ``_target_``s that the words stored in a checkpoint may name."""


def check_part(found: Any, target: str, node: str, where: str) -> None:
    """`UserError` if what a ``_target_`` names is no such part of a run; ``where`` it stands below ``node``."""
    if where.count(".") > (node in ("callbacks", "logger")) or "[" in where:
        bases = [f"{base.__module__}." for base in inspect.getmro(found)] if isinstance(found, type) else []
        if not any(base.startswith(FAMILIES) for base in bases):
            raise UserError(f"{where}._target_={target} is not built: it is no class of {', '.join(FAMILIES)[:-1]}")
        return
    if node == "scheduler":
        if not (inspect.isfunction(found) and "plan" in inspect.signature(found).parameters):
            raise UserError(f"{where}._target_={target} is not called: a scheduler is a function of optimizer and plan")
        return
    kind = _class(PARTS[node])
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise UserError(f"{where}._target_={target} is not built: it is no {PARTS[node]}")
    promise = {"net": "accepts", "task": "targets"}.get(node)
    if promise and not hasattr(found, promise):
        raise UserError(
            f"{where}._target_={target} does not say with what data it fits: give the class {promise} = (…), "
            "kinds of dlzoo.specs"
        )


def check_hydra(node: Any, where: str = "hydra") -> None:
    """`UserError` if Hydra's own settings would build more than its plug-ins, or log with more than loggers."""
    for key, value in _items(node):
        place = f"{where}.{key}"
        if key == "_target_":
            found = _class(str(value))
            if not (isinstance(found, type) and issubclass(found, tuple(_class(part) for part in HYDRA_PARTS))):
                raise UserError(f"{place}={short(value)} is not built: it is no plug-in and no callback of Hydra")
        elif "_logging" in where and key in ("()", "class") and not f"{value}".startswith(LOGGING):
            raise UserError(f"{place}={short(value)} is not built: only classes of {', '.join(LOGGING)} are")
        check_hydra(value, place)


def check_stored(words: Sequence[Any], ckpt: str) -> None:
    """`UserError` if the words that a checkpoint brings along do more than choose options of a run."""
    for word in words:
        key, _, value = str(word).partition("=")
        is_target = "_target_" in str(word)
        if key.startswith("-") or key.lstrip("+~").startswith("hydra") or "@" in key:
            raise UserError(f"ckpt={ckpt} brings the word {short(word)}, which is no option of a run")
        if is_target and not (key.endswith("._target_") and value.strip("'\"").startswith(STORED)):
            raise UserError(
                f"ckpt={ckpt} brings the word {short(word)}, which builds something of somebody's own: where you trust "
                "it, give this word yourself"
            )


def _items(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, dict):
        yield from node.items()
    elif isinstance(node, list):
        yield from enumerate(node)


def _class(path: str) -> Any:
    """What a dotted name of ours stands for; None where there is nothing."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):
        return None
