"""The graph of the net, for TensorBoard's GRAPHS tab."""

from __future__ import annotations

import contextlib
import io
import warnings

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.seed import isolate_rng

from dlzoo.callbacks.base import Report
from dlzoo.callbacks.sinks import tensorboard
from dlzoo.errors import first_line
from dlzoo.specs.batch import first_tensor
from dlzoo.tasks.base import Task


class ModelGraph(Report):
    """Traces the net once, when the fit ends, so that the first step is not delayed by about five forward passes.

    TensorBoard's writer uses the deprecated torch.jit.trace; there is no alternative. A net that cannot be traced gives
    one line on the terminal. Nets with several named inputs are not traced.
    """

    def applies_to(self, task: Task) -> bool:
        return task.spec.named is None

    def write_fit(self, trainer: pl.Trainer, task: Task) -> None:
        writer, net = tensorboard(trainer), task.net
        if writer is None:
            return
        x = task.standardize(first_tensor(task.spec.of_net.example(1)[0]).to(task.device))
        modes = {module: module.training for module in net.modules()}
        net.eval()
        try:
            with torch.no_grad(), isolate_rng(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                writer.add_graph(net, x, use_strict_trace=False)  # strictly, it may not return a dict
        except Exception as error:  # tracing runs arbitrary code of the net
            print(f"no graph for TensorBoard: {type(net).__name__} cannot be traced ({first_line(error)})")
        finally:
            for module, training in modes.items():  # add_graph would also switch frozen parts to training mode
                module.training = training
