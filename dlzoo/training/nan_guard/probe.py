"""One training step under watch: which part of a net first gives numbers that are not finite."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

# moved
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torchmetrics import Metric

from dlzoo.callbacks.base import Observer
from dlzoo.errors import UserError, short
from dlzoo.specs.batch import Batch
from dlzoo.specs.batch import tensors as parts_of
from dlzoo.tasks.base import Task
from dlzoo.training.nan_guard.report import describe, is_finite

if TYPE_CHECKING:
    pass


class Taken(Exception):
    """The step is done."""


class Probe(Observer):
    """Watches the outputs of all parts of a net, and the gradients that come back to them."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.first = ""
        self.open: list[str] = []
        """The parts whose forward is under way, outermost first."""
        self.gradients: list[tuple[str, str, bool]] = []
        """(input or output, of which layer, finite) in the order in which they came back."""
        self.loss_is_finite = True

    # ------------------------------------------------------------------ the step

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.check_start(pl_module)
        for name, module in pl_module.named_modules():
            if name and not isinstance(module, Metric):
                module.register_forward_pre_hook(self.enters(f"{name} ({type(module).__name__})"))
                module.register_forward_hook(self.leaves(name))
        for optimizer in trainer.optimizers if not pl_module.automatic_optimization else []:
            optimizer.register_step_pre_hook(lambda o, *_: self.before_step(pl_module, o))

    def check_start(self, task: nn.Module) -> None:
        """What was spoilt before is no layer's fault."""
        lost = [name for name, p in task.named_parameters() if not is_finite(p)]
        if lost:
            self.first = f"in the weights before the step: {lost[0]}" + f" and {len(lost) - 1} more" * (len(lost) > 1)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        named = zip(Batch._fields, Batch(*batch), strict=True)
        lost = [name for name, part in named if not all(map(is_finite, parts_of(part)))]
        if lost and not self.first:
            self.first = f"in the {lost[0]} of the batch"

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self.loss_is_finite &= is_finite(loss)
        if not self.loss_is_finite and not self.first:
            self.first = "in the loss: the outputs of all layers are finite"

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.judge_gradients(pl_module)

    def before_step(self, task: pl.LightningModule, optimizer: torch.optim.Optimizer) -> None:
        """A task that steps by itself must not move: what comes later in the step met the weights of the file."""
        self.judge_gradients(task)
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = None

    def on_train_batch_end(self, *_: Any) -> None:
        raise Taken

    # ------------------------------------------------------------------ forward

    def enters(self, label: str) -> Any:
        def hook(module: nn.Module, inputs: Any) -> None:
            tensors = floats(inputs)
            if not self.first and not all(map(is_finite, tensors)):
                self.first = f"before the input of {label}, in " + (
                    f"the forward of {self.open[-1]}" if self.open else "the task's own computations"
                )
            self.watch_gradients("input", label, tensors)
            self.open.append(label)

        return hook

    def leaves(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, outputs: Any) -> None:
            self.open.pop()
            tensors = floats(outputs)
            layer = Layer(name, type(module).__name__, output=told(tensors), is_finite=all(map(is_finite, tensors)))
            self.layers.append(layer)
            if not layer.is_finite and not self.first:
                self.first = f"in the output of {layer}"
            self.watch_gradients("output", str(layer), tensors)

        return hook

    # ------------------------------------------------------------------ backward

    def watch_gradients(self, kind: str, label: str, tensors: list[Tensor]) -> None:
        for t in tensors:
            if t.requires_grad:
                t.register_hook(lambda g: self.gradients.append((kind, label, g is None or is_finite(g))))

    def judge_gradients(self, task: nn.Module) -> None:
        if not self.first:
            self.first = self.first_in_gradients(task)
        self.gradients.clear()

    def first_in_gradients(self, task: nn.Module) -> str:
        """Gradients come from the loss back to the input: who got finite ones and passed on others is to blame."""
        finite_outputs = {label for kind, label, finite in self.gradients if kind == "output" and finite}
        guilty = [label for kind, label, finite in self.gradients if not finite and kind == "input"]
        guilty = [label for label in guilty if label in finite_outputs]
        if guilty:  # a part and the first of its own parts share an input
            inner = [label for label in guilty if label.startswith(guilty[0].split(" ")[0] + ".")]
            return f"in the gradient of {[guilty[0], *inner][-1]}"
        before = "the loss"
        for kind, label, finite in self.gradients:
            if not finite:
                return f"in the gradient between {before} and the {kind} of {label}"
            before = label
        lost = [name for name, p in task.named_parameters() if p.grad is not None and not is_finite(p.grad)]
        return f"in the gradient of {lost[0]}" if lost else ""

    def findings(self) -> Findings:
        return Findings(self.first, self.layers)


def take(
    task: Task, cfg: DictConfig, content: dict[str, Any], probe: Probe, *, accelerator: str = "auto", **options: Any
) -> None:
    """Take the step of a ``nonfinite.ckpt``; the task is not fit for anything else afterwards."""
    task.load_state_dict(content["state_dict"])
    if task.uses_optimizer:
        task.optimizer, task.scheduler = (lambda parameters, **_: torch.optim.SGD(parameters, lr=0.0)), None
    moment = content["moment"]
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=cfg.trainer.get("precision", "32-true"),
        max_epochs=max(cfg.trainer.get("max_epochs") or 1, moment["epoch"] + 1),
        callbacks=[probe, Begin(moment)],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        **options,
    )
    task.setup_trainer(trainer)
    loop: Any = trainer.fit_loop
    loop.epoch_progress.current.processed = moment["epoch"]
    loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed = moment["step"]
    loop.epoch_loop.manual_optimization.optim_step_progress.total.completed = moment["step"]
    with contextlib.suppress(Taken):
        trainer.fit(task, train_dataloaders=Once(moment["batch"]))


class Once:
    """A loader of one batch."""

    def __init__(self, batch: Sequence[Tensor]) -> None:
        self.batch = Batch(*batch)

    def __iter__(self) -> Iterator[Batch]:
        yield self.batch

    def __len__(self) -> int:
        return 1


class Begin(Observer):
    """The random numbers, and what the batch before handed on."""

    def __init__(self, moment: dict[str, Any]) -> None:
        self.moment = moment

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        for name, value in self.moment["carried"].items():
            if name not in type(pl_module).carried_state:  # type: ignore[attr-defined]
                raise UserError(f"its moment carries {short(name)}, which {type(pl_module).__name__} does not")
            setattr(pl_module, name, move_data_to_device(value, pl_module.device))
        torch.set_rng_state(self.moment["random"]["torch"].cpu())
        if "cuda" in self.moment["random"] and pl_module.device.type == "cuda":
            torch.cuda.set_rng_state(self.moment["random"]["cuda"].cpu())


def floats(value: Any) -> list[Tensor]:
    return [t for t in tree_leaves(value) if isinstance(t, Tensor) and t.is_floating_point()]


def told(tensors: list[Tensor]) -> str:
    return "; ".join(describe(t.detach()) for t in tensors)


@dataclass
class Layer:
    """A part of the net as a step passed it."""

    name: str
    kind: str
    output: str = ""
    is_finite: bool = True

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


@dataclass
class Findings:
    """What a step showed."""

    first: str = ""
    """Where finite numbers turned into others; empty if that did not happen."""
    layers: list[Layer] = field(default_factory=list)
    """In the order in which they finished."""

    def table(self) -> str:
        width = max((len(str(layer)) for layer in self.layers), default=0)
        marks = {True: " ", False: "!"}
        return "\n".join(f"{marks[la.is_finite]} {la!s:{width}}  {la.output}" for la in self.layers)
