"""Checks that losses and gradients are finite; otherwise it stops the run or skips the step before weights change.

The check is the kernel of loss scaling: a single pass over the loss and all gradients, which sets a flag on the device.
On a CPU the flag is read at once. On a GPU, reading it waits for all work queued before it, so flags are read every
`LAG` steps, and before anything is saved or validated; each flag belongs to a step, so the right one is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from dlzoo.callbacks.base import Observer, task_of
from dlzoo.distributed import collectives as gathering
from dlzoo.errors import NonFinite, UserError
from dlzoo.specs.batch import tensors
from dlzoo.tasks.base import Task
from dlzoo.training.nan_guard.report import ELSEWHERE, Moment, is_finite, report
from dlzoo.training.nan_guard.skip import SkippedSteps

OnNan = Literal["stop", "skip"]
T = TypeVar("T")

LAG = 20
"""Steps after which a GPU's flags are read."""
MAX_BYTES = 64 * 2**20
"""Maximum size of the batches that are kept until their flags are read."""


class Flag(NamedTuple):
    """Whether a moment had non-finite values, still on the device."""

    moment: int
    value: Tensor


class FiniteWatch(Observer):
    """Stops a run at the first step with a non-finite loss or gradients, or skips such steps.

    With float16, the loss scaler judges gradients: it skips steps until its scale fits. The run stops only if more than
    ``limit`` steps in a row are skipped.

    Args:
        mode: stop, or skip.
        limit: with mode skip, more skipped steps in a row than this stop the run as well.
        manifest: of the run's checkpoints, for the file from which the step can be repeated.
    """

    def __init__(self, *, mode: OnNan = "stop", limit: int = 20, manifest: Mapping[str, object] | None = None) -> None:
        self.mode = mode
        self.limit = limit
        self.manifest = manifest
        self.every = 1
        self.skipped = SkippedSteps()
        self.moments: list[Moment] = []
        self.flags: list[Flag] = []
        self.losses: list[Tensor] = []
        self.weights_before: dict[str, Tensor] | None = None
        """The weights when flags were last read, if they are read with a lag."""
        self.carried_state: dict[str, object] = {}
        self.step: int | None = None
        self.hooks: dict[str, Callable[..., object]] = {}
        self.handles: list[RemovableHandle] = []

    # ------------------------------------------------------------------ start and end

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        task = task_of(pl_module)
        self.trainer, self.task, self.device = trainer, task, trainer.strategy.root_device
        self.parameters = [*task.parameters()]
        self.is_uniform = len({(p.dtype, p.device) for p in self.parameters}) == 1
        self.buffers = [*task.net.buffers()]
        self.saved_buffers = [b.clone() for b in self.buffers]
        self.flag, self.one = torch.zeros((), device=self.device), torch.ones((), device=self.device)
        self.moments, self.flags, self.losses = [], [], []
        self.num_overflows = [0] * len(trainer.optimizers)
        self.is_scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        waits = self.mode == "skip" or self.is_scaled or trainer.world_size > 1 or self.device.type == "cpu"
        self.lag = self.every = 1 if waits else LAG
        self.weights_before = None
        self.on_train_batch_end = self.on_before_optimizer_step = None  # type: ignore[assignment,method-assign]
        self.install_hooks(trainer, task)
        if self.mode == "skip":
            self.enable_skipping(trainer, task)

    def install_hooks(self, trainer: pl.Trainer, task: Task) -> None:
        """Lightning calls the task's own hooks at each step anyway, so extending them costs nothing extra."""
        self.hooks = {"on_train_batch_start": self.begin_batch, "on_before_backward": self.losses.append}
        if self.is_scaled:
            self.on_before_optimizer_step = self.check_scaled  # type: ignore[method-assign]
        elif task.automatic_optimization:
            self.hooks["on_after_backward"] = self.check_gradients
        else:
            self.hooks["check_finite"] = self.check_values
            self.handles = [o.register_step_pre_hook(lambda o, *_: self.check_optimizer(o)) for o in trainer.optimizers]
        for name, hook in self.hooks.items():
            setattr(task, name, chain(getattr(task, name), hook))

    def enable_skipping(self, trainer: pl.Trainer, task: Task) -> None:
        if not task.resumes_mid_epoch:
            raise UserError("on_nan=skip: what an agent has observed stays in its replay memory; use on_nan=stop")
        if any(isinstance(o, torch.optim.LBFGS) for o in trainer.optimizers):
            raise UserError("on_nan=skip: lbfgs evaluates a batch several times per step; use on_nan=stop")
        self.on_train_batch_end = self.end_batch  # type: ignore[method-assign]
        if task.automatic_optimization and not self.is_scaled:
            self.on_before_optimizer_step = self.skip_step  # type: ignore[method-assign]

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.remove_hooks(pl_module)
        self.read_flags()
        self.skipped.print_total(trainer, task_of(pl_module))

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.remove_hooks(pl_module)

    def remove_hooks(self, task: pl.LightningModule) -> None:
        for handle in self.handles:
            handle.remove()
        for name in self.hooks:
            delattr(task, name)
        self.handles, self.hooks = [], {}

    # ------------------------------------------------------------------ each batch

    def begin_batch(self, batch: object, batch_idx: int) -> None:
        if self.saved_buffers and self.every == 1:
            torch._foreach_copy_(self.saved_buffers, self.buffers)
        self.begun = batch, batch_idx, torch.get_rng_state()
        task = self.task
        if task.carried_state or self.mode == "skip" or not task.automatic_optimization:
            self.carried_state = {name: getattr(task, name) for name in task.carried_state}
            self.step = task.global_step
        if self.mode == "skip":
            self.skipped.begin_batch(self.trainer, task)
        if self.lag > 1:
            self.save_moment(batch)

    def moment(self) -> Moment:
        """The moment when the current batch began."""
        task, (batch, batch_idx, state) = self.task, self.begun
        random = {"torch": state}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state()
        step = task.global_step if self.step is None else self.step
        return Moment(batch, batch_idx, step, task.current_epoch, random, self.carried_state)

    def save_moment(self, batch: object) -> None:
        """With a lag, keep the weights before the steps until flags are read, and the moment of each batch."""
        if not self.moments:
            state = self.trainer.strategy.lightning_module_state_dict()
            self.weights_before = {k: v.clone() for k, v in state.items()}
            num_bytes = sum(t.nbytes for t in tensors(batch))
            self.every = max(2, min(self.lag, MAX_BYTES // max(num_bytes, 1)))
        self.moments.append(self.moment())

    def check_gradients(self) -> None:
        """With one optimizer, after each backward pass, so that each of several batches of a step is reported."""
        self.check(gradients_of(self.parameters))

    def check_values(self, values: Sequence[Tensor]) -> None:
        """With manual optimization: the values that a task without gradients updates its parameters with."""
        self.check([*values])
        self.skipped.is_counted |= self.skipped.is_skipping

    def check_optimizer(self, optimizer: Optimizer) -> None:
        """With manual optimization, before an optimizer's step."""
        self.check(gradients_of(p for group in optimizer.param_groups for p in group["params"]))
        if self.skipped.is_skipping:
            self.skipped.clear_gradients(self.trainer, optimizer)

    def check_scaled(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer) -> None:
        """With loss scaling, before an optimizer's step: the loss must be finite, gradients only after some steps."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        i = trainer.optimizers.index(getattr(optimizer, "optimizer", optimizer))
        losses = [*self.losses]
        self.losses.clear()
        self.num_overflows[i] = 0 if self.is_finite(gradients_of(parameters)) else self.num_overflows[i] + 1
        if self.num_overflows[i] > self.limit or not self.are_finite(losses):
            self.losses += losses
            self.handle_nonfinite()
        self.losses.clear()

    def are_finite(self, losses: list[Tensor]) -> bool:
        """Whether the losses of all ranks are."""
        return not gathering.all_reduce_max(self.one * (not all(map(is_finite, losses)))).item()

    def check(self, values: list[Tensor]) -> None:
        if self.every > 1:
            self.update_flag(values)
            self.flags.append(Flag(len(self.moments) - 1, self.flag.clone()))
            if len(self.flags) >= self.every:
                self.read_flags()
        elif not self.is_finite(values):
            self.handle_nonfinite()
        self.losses.clear()

    def is_finite(self, values: list[Tensor]) -> bool:
        self.update_flag(values)
        if self.trainer.world_size > 1 and not self.has_mean_gradients:  # all ranks must decide the same
            gathering.all_reduce_max(self.flag)
        if not self.flag.item():
            return True
        self.flag = torch.zeros_like(self.one)
        return False

    @property
    def has_mean_gradients(self) -> bool:
        """Whether gradients are means over all ranks, so that all see the same. If a loss is not finite, they are NaN
        (dlzoo/tasks/base.py)."""
        model: nn.Module | None = self.trainer.strategy.model
        return isinstance(model, DistributedDataParallel) and model.require_backward_grad_sync

    def update_flag(self, values: list[Tensor]) -> None:
        """Set the flag if a loss or a value is not finite. The kernel multiplies by one, which changes no bit."""
        losses = [loss.detach() for loss in self.losses]
        groups: Iterable[list[Tensor]]
        if self.is_uniform and all(value.dtype == self.one.dtype for value in (*losses, *values[:1])):
            values = [*values, *losses]
            groups = (values,) if values else ()
        else:
            groups = by_dtype_and_device([*values, *losses])
        for group in groups:
            torch._amp_foreach_non_finite_check_and_unscale_(group, self.flag, self.one)

    # ------------------------------------------------------------------ non-finite values

    def read_flags(self) -> None:
        """Read the flags that are still on the device."""
        if not self.flags:
            return
        values = torch.stack([flag.value for flag in self.flags]).tolist()
        flags, moments = self.flags, self.moments
        self.flags, self.moments = [], []
        for flag, value in zip(flags, values, strict=True):
            if value:
                self.fail(moments[flag.moment], behind=flag.moment)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.read_flags()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, object]
    ) -> None:
        self.read_flags()

    def handle_nonfinite(self) -> None:
        if self.mode == "stop":
            self.fail(self.moment())
        self.skipped.mark_batch(self.task, self.losses)
        if self.skipped.in_a_row > self.limit:
            self.fail(self.moment())
        for p in self.parameters if not self.is_scaled else ():
            p.grad = None  # the optimizer must do nothing, and later gradients of the step must not be added to these

    def skip_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer) -> None:
        if self.skipped.is_skipping:
            self.skipped.clear_gradients(trainer, optimizer)

    def end_batch(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        if self.skipped.is_bad_batch and self.saved_buffers:
            torch._foreach_copy_(self.buffers, self.saved_buffers)
        self.skipped.end_batch(trainer, task_of(pl_module), self.moment())

    def fail(self, moment: Moment, behind: int = 0) -> None:
        """Save the step and stop the run."""
        trainer, task = self.trainer, self.task
        loss = self.losses[-1].detach() if self.losses else None
        if trainer.world_size > 1 and not self.is_reporting_rank(loss):
            raise NonFinite(ELSEWHERE)
        state = self.weights_before or self.current_weights()
        in_a_row = self.skipped.in_a_row if self.skipped.in_a_row > self.limit else 0
        raise report(trainer, task, moment, loss, state, self.manifest, behind=behind, in_a_row=in_a_row)

    def current_weights(self) -> dict[str, Tensor]:
        """The weights before the step: they have not changed yet, except for buffers updated in the forward pass."""
        if self.saved_buffers:
            torch._foreach_copy_(self.buffers, self.saved_buffers)
        return self.trainer.strategy.lightning_module_state_dict()

    def is_reporting_rank(self, loss: Tensor | None) -> bool:
        """Whether this rank reports the step: its own loss is not finite, or all losses are and it is rank zero."""
        is_bad = loss is not None and not is_finite(loss)
        any_bad = gathering.all_reduce_max(self.one * is_bad)
        return is_bad or (self.trainer.is_global_zero and not bool(any_bad))


def chain(method: Callable[..., T], hook: Callable[..., object]) -> Callable[..., T]:
    """A method that then calls a hook with the same arguments, and returns its own result."""

    def both(*args: object) -> T:
        result = method(*args)
        hook(*args)
        return result

    return both


def gradients_of(parameters: Iterable[Tensor]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def by_dtype_and_device(values: list[Tensor]) -> list[list[Tensor]]:
    """Tensors grouped by dtype and device."""
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for value in values:
        groups.setdefault((value.dtype, value.device), []).append(value)
    return [*groups.values()]
