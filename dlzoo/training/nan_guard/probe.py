"""Observes one training step, and finds the module of a net that first outputs non-finite values."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torchmetrics import Metric

from dlzoo.callbacks.base import Observer, task_of
from dlzoo.config.run_config import Node
from dlzoo.errors import UserError, short
from dlzoo.specs.batch import Batch
from dlzoo.specs.batch import tensors as tensors_of
from dlzoo.tasks.base import Task
from dlzoo.training.nan_guard.report import describe, is_finite
from dlzoo.utils.state_checks import mapping


class StepDone(Exception):
    """The step has been repeated."""


class Probe(Observer):
    """Observes the outputs of all modules of a net, and the gradients with respect to their inputs and outputs."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.first = ""
        self.open: list[str] = []
        """The modules whose forward pass is running, outermost first."""
        self.gradients: list[tuple[str, str, bool]] = []
        """(input or output, name of the layer, is finite) in the order in which they were computed."""
        self.loss_is_finite = True

    # ------------------------------------------------------------------ the step

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.check_weights(pl_module)
        for name, module in pl_module.named_modules():
            if name and not isinstance(module, Metric):
                module.register_forward_pre_hook(self.before_forward(f"{name} ({type(module).__name__})"))
                module.register_forward_hook(self.after_forward(name))
        for optimizer in trainer.optimizers if not pl_module.automatic_optimization else []:
            optimizer.register_step_pre_hook(lambda o, *_: self.before_step(pl_module, o))

    def check_weights(self, task: nn.Module) -> None:
        """Non-finite weights before the step are not the fault of a layer."""
        bad = [name for name, p in task.named_parameters() if not is_finite(p)]
        if bad:
            self.first = f"in the weights before the step: {bad[0]}" + f" and {len(bad) - 1} more" * (len(bad) > 1)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Sequence[Tensor | None], batch_idx: int
    ) -> None:
        bad = [
            name for name, part in zip(Batch._fields, batch, strict=False) if not all(map(is_finite, tensors_of(part)))
        ]
        if bad and not self.first:
            self.first = f"in the {bad[0]} of the batch"

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self.loss_is_finite &= is_finite(loss)
        if not self.loss_is_finite and not self.first:
            self.first = "in the loss: the outputs of all layers are finite"

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.check_gradients(pl_module)

    def before_step(self, task: pl.LightningModule, optimizer: torch.optim.Optimizer) -> None:
        """With manual optimization, keep the stored weights: in the failed step, no later part saw updated ones."""
        self.check_gradients(task)
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = None

    def on_train_batch_end(self, *_: object) -> None:
        raise StepDone

    # ------------------------------------------------------------------ forward

    def before_forward(self, label: str) -> Callable[[nn.Module, object], None]:
        def hook(module: nn.Module, inputs: object) -> None:
            tensors = float_tensors(inputs)
            if not self.first and not all(map(is_finite, tensors)):
                self.first = f"before the input of {label}, in " + (
                    f"the forward of {self.open[-1]}" if self.open else "the task's own computations"
                )
            self.record_gradients("input", label, tensors)
            self.open.append(label)

        return hook

    def after_forward(self, name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, outputs: object) -> None:
            self.open.pop()
            tensors = float_tensors(outputs)
            text = "; ".join(describe(t.detach()) for t in tensors)
            layer = Layer(name, type(module).__name__, output=text, is_finite=all(map(is_finite, tensors)))
            self.layers.append(layer)
            if not layer.is_finite and not self.first:
                self.first = f"in the output of {layer}"
            self.record_gradients("output", str(layer), tensors)

        return hook

    # ------------------------------------------------------------------ backward

    def record_gradients(self, kind: str, label: str, tensors: list[Tensor]) -> None:
        for t in tensors:
            if t.requires_grad:
                t.register_hook(lambda g: self.gradients.append((kind, label, g is None or is_finite(g))))

    def check_gradients(self, task: nn.Module) -> None:
        if not self.first:
            self.first = self.first_in_gradients(task)
        self.gradients.clear()

    def first_in_gradients(self, task: nn.Module) -> str:
        """Gradients flow from the loss to the input: the layer that turns finite ones into non-finite ones is named."""
        finite_outputs = {label for kind, label, finite in self.gradients if kind == "output" and finite}
        bad_inputs = [label for kind, label, finite in self.gradients if not finite and kind == "input"]
        causes = [label for label in bad_inputs if label in finite_outputs]
        if causes:  # a module and its first submodule share an input
            submodules = [label for label in causes if label.startswith(causes[0].split(" ")[0] + ".")]
            return f"in the gradient of {[causes[0], *submodules][-1]}"
        before = "the loss"
        for kind, label, finite in self.gradients:
            if not finite:
                return f"in the gradient between {before} and the {kind} of {label}"
            before = label
        bad = [name for name, p in task.named_parameters() if p.grad is not None and not is_finite(p.grad)]
        return f"in the gradient of {bad[0]}" if bad else ""

    def findings(self) -> Findings:
        return Findings(self.first, self.layers)


def run_step(
    task: Task,
    trainer_options: Node,
    content: Mapping[str, object],
    probe: Probe,
    *,
    accelerator: str = "auto",
    detect_anomaly: bool = False,
) -> None:
    """Repeat the step of a ``nonfinite.ckpt``; afterwards the task cannot be trained any more.

    Args:
        trainer_options: those of its run.
        detect_anomaly: raise an error at the function whose derivative is NaN.
    """
    task.load_state_dict(mapping(content["state_dict"], "state_dict"))
    if task.uses_optimizer:
        task.optimizer, task.scheduler = (lambda parameters, **_: torch.optim.SGD(parameters, lr=0.0)), None
    moment = mapping(content["moment"], "moment")
    carried_state, random = (mapping(moment[key], f"moment.{key}") for key in ("carried", "random"))
    options: Mapping[str, Any] = trainer_options
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=options.get("precision", "32-true"),
        max_epochs=max(options.get("max_epochs") or 1, moment["epoch"] + 1),
        callbacks=[probe, RestoreMoment(carried_state, random)],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        detect_anomaly=detect_anomaly,
    )
    task.setup_trainer(trainer)
    loop: Any = trainer.fit_loop
    loop.epoch_progress.current.processed = moment["epoch"]
    loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed = moment["step"]
    loop.epoch_loop.manual_optimization.optim_step_progress.total.completed = moment["step"]
    with contextlib.suppress(StepDone):
        trainer.fit(task, train_dataloaders=SingleBatch(moment["batch"]))


class SingleBatch:
    """A loader of one batch."""

    def __init__(self, batch: Sequence[Tensor]) -> None:
        self.batch = Batch(*batch)

    def __iter__(self) -> Iterator[Batch]:
        yield self.batch

    def __len__(self) -> int:
        return 1


class RestoreMoment(Observer):
    """Restores random states and the carried state of a stored moment when the batch begins."""

    def __init__(self, carried_state: Mapping[str, object], random: Mapping[str, Tensor]) -> None:
        self.carried_state = carried_state
        self.random = random

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        task = task_of(pl_module)
        for name, value in self.carried_state.items():
            if name not in task.carried_state:
                raise UserError(f"the stored step carries over {short(name)}, which {type(task).__name__} does not")
            setattr(task, name, move_data_to_device(value, task.device))
        torch.set_rng_state(self.random["torch"].cpu())
        if "cuda" in self.random and task.device.type == "cuda":
            torch.cuda.set_rng_state(self.random["cuda"].cpu())


def float_tensors(value: object) -> list[Tensor]:
    return [t for t in tree_leaves(value) if isinstance(t, Tensor) and t.is_floating_point()]


@dataclass
class Layer:
    """A module of the net in the observed step."""

    name: str
    kind: str
    output: str = ""
    is_finite: bool = True

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


@dataclass
class Findings:
    """Results of repeating a step."""

    first: str = ""
    """Where finite values first turned into non-finite ones; empty if they did not."""
    layers: list[Layer] = field(default_factory=list)
    """In the order in which they finished."""

    def table(self) -> str:
        width = max((len(str(layer)) for layer in self.layers), default=0)
        marks = {True: " ", False: "!"}
        return "\n".join(f"{marks[la.is_finite]} {la!s:{width}}  {la.output}" for la in self.layers)
