"""The net's graph, for TensorBoard's GRAPHS tab."""

from __future__ import annotations

import contextlib
import io
import warnings

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.seed import isolate_rng

from dlzoo.callbacks.base import Observer
from dlzoo.callbacks.sinks import spec_of, tensorboard


class ModelGraph(Observer):
    """Traces the net once, when the fit ends: about five forward passes, which the first step need not wait for.

    TensorBoard's writer traces with the deprecated torch.jit.trace, for want of another way. A net that it cannot
    follow gives one line on the terminal.
    """

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        writer, spec, net = tensorboard(trainer), spec_of(pl_module), getattr(pl_module, "net", None)
        if writer is None or spec is None or net is None or not trainer.is_global_zero:
            return
        x = spec.example(1)[0].to(pl_module.device)
        modes = {module: module.training for module in net.modules()}
        net.eval()
        try:
            with torch.no_grad(), isolate_rng(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                writer.add_graph(net, x)
        except Exception as error:  # tracing runs any code of the net, and fails in as many ways
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            print(f"no graph in TensorBoard: {type(net).__name__} cannot be traced ({reason})")
        finally:
            for module, training in modes.items():  # add_graph would switch frozen parts to training, too
                module.training = training
