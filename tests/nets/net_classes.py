"""The nets of dlzoo/nets, discovered by import, by how they learn."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar

import dlzoo.nets
import dlzoo.tasks
from dlzoo.nets.backbone import Backbone
from dlzoo.nets.base import (
    ConditionalNet,
    EncoderDecoder,
    LatentGenerator,
    MapNet,
    Net,
    SampleNet,
    TransducerNet,
    WordNet,
)
from dlzoo.nets.uniform_policy import UniformPolicy
from dlzoo.specs.inputs import SeriesSpec
from dlzoo.tasks.base import Task

T = TypeVar("T")


def classes_in(package: ModuleType, kind: type[T]) -> list[type[T]]:
    """The classes of that kind that the modules of a package define, by name."""
    modules = [importlib.import_module(m.name) for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return sorted(
        {
            cls
            for module in modules
            for _, cls in inspect.getmembers(module, inspect.isclass)
            if cls.__module__ == module.__name__ and issubclass(cls, kind)
        },
        key=lambda cls: cls.__name__,
    )


ALL = [cls for cls in classes_in(dlzoo.nets, Net) if cls.accepts]
FITTED_KINDS = tuple(
    {task.net_type for task in classes_in(dlzoo.tasks, Task) if not task.uses_optimizer and task.net_type is not Net}
)
"""The kinds of net that tasks without an optimizer require: closed forms set their weights, no gradient."""

OF_WINDOWS = [cls for cls in ALL if issubclass(cls, EncoderDecoder) and SeriesSpec in cls.accepts]
"""Reconstruct windows of series; they are tested in test_anomaly.py."""
GENERATIVE = [cls for cls in ALL if issubclass(cls, EncoderDecoder | LatentGenerator) and cls not in OF_WINDOWS]
"""Encode inputs to latents or make inputs of latents, by backpropagation."""
PREDICTORS = [
    cls
    for cls in ALL
    if not issubclass(cls, ConditionalNet | Backbone | MapNet | WordNet | SampleNet | TransducerNet)
    and cls is not UniformPolicy  # which has no weights
]
"""Their output is a prediction of the target; nets that write token sequences are tested in test_transducers.py."""
OTHER_RULES = [
    cls
    for cls in ALL
    if issubclass(cls, FITTED_KINDS) or (issubclass(cls, ConditionalNet) and cls not in (*GENERATIVE, *OF_WINDOWS))
]
"""Learn, at least at first, by a closed form or by a rule that does not differentiate their output."""
