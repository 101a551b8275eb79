"""Training with weights in half precision, ``trainer.precision=bf16-true`` or ``16-true``.

Lightning's plugin casts everything: also metrics, whose sums then stop growing at a few hundred rows, and targets,
which are rounded to three digits. Here only the net has half precision; inputs are standardised before they are cast,
and losses, metrics and targets stay in single precision. Each layer casts what it receives, since tasks and reports
call parts of a net: an encoder, a decoder, a discriminator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.precision import HalfPrecision
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from dlzoo.layers.basic import Standardize

if TYPE_CHECKING:
    from dlzoo.tasks.base import Task


T = TypeVar("T")
HALF = ("bf16-true", "16-true")


class HalfPrecisionNet(HalfPrecision):
    """Casts the net of a task, and runs its steps under autocast, for layers that use weights of other layers."""

    def __init__(self, task: Task, precision: Literal["bf16-true", "16-true"]) -> None:
        super().__init__(precision)
        self.task = task
        self.has_hooks = False

    def convert_module(self, module: nn.Module) -> nn.Module:
        dtype, net = self._desired_input_dtype, self.task.net.to(self._desired_input_dtype)
        if not self.has_hooks:  # this is called before the fit and before the test
            self.has_hooks = True
            for layer in net.modules():
                if next(layer.parameters(recurse=False), None) is not None:
                    layer.register_forward_pre_hook(lambda _, inputs: cast(dtype, inputs))
        for part in self.task.standardize.modules():
            if isinstance(part, Standardize):
                part.dtype = dtype
        return module

    def convert_input(self, data: T) -> T:
        return data

    def forward_context(self) -> torch.autocast:  # type: ignore[override]
        return torch.autocast(self.task.device.type, self._desired_input_dtype)


def cast(dtype: torch.dtype, value: object) -> object:
    """Floating-point tensors, also those in tuples such as the state of an LSTM, in this precision."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, PackedSequence):
        return value.to(dtype)
    return tuple(cast(dtype, part) for part in value) if isinstance(value, tuple) else value


def keep_metrics_in_single_precision(task: Task, trainer: pl.Trainer) -> None:
    """Replace Lightning's plugin for half precision, if the trainer has it, by `HalfPrecisionNet`."""
    if trainer.precision in HALF:
        plugin = trainer.strategy.precision_plugin
        if isinstance(plugin, HalfPrecision):  # not that of FSDP
            trainer.strategy.precision_plugin = HalfPrecisionNet(task, plugin.precision)
