"""Watches that losses and gradients are finite, and ends the run, or leaves the step out, before a weight is spoilt.

The check is the kernel that loss scaling has for this: one pass over the loss and all gradients, which leaves a flag
on the device. On a CPU the flag is read at once. On a GPU reading waits for all the work that lies before it, so flags
are read every `LAG` steps, and before anything is saved or validated; the step that was wrong is known by its flag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from dlzoo.callbacks.base import Observer
from dlzoo.distributed import collectives as gathering
from dlzoo.errors import NonFinite, UserError
from dlzoo.specs.batch import tensors
from dlzoo.training.nan_guard.report import ELSEWHERE, Moment, is_finite, report
from dlzoo.training.nan_guard.skip import Skipped

OnNan = Literal["stop", "skip"]

LAG = 20
"""Steps between two looks at a GPU's flags."""
MOST_BYTES = 64 * 2**20
"""Of batches that are kept until their flags are read."""


class Flag(NamedTuple):
    """Whether what belongs to a moment was not finite, still on the device."""

    moment: int
    found: Tensor


class FiniteWatch(Observer):
    """Ends a run at the first step whose loss or gradients are not finite, or leaves such steps out.

    With float16 the gradients are the loss scaler's to judge: it leaves steps out until its scale fits. Only if it
    does so ``limit`` times on end, the run ends.

    Args:
        mode: stop, or skip.
        limit: so many steps left out on end stop the run all the same.
        card: of the run's checkpoints, for the file that shows the step again.
    """

    def __init__(self, *, mode: OnNan = "stop", limit: int = 20, card: dict[str, Any] | None = None) -> None:
        self.mode = mode
        self.limit = limit
        self.card = card
        self.every = 1
        self.skipped = Skipped()
        self.moments: list[Moment] = []
        self.flags: list[Flag] = []
        self.losses: list[Tensor] = []
        self.before: dict[str, Any] | None = None
        """The weights when flags were last read, if reading lags."""
        self.carried: dict[str, Any] = {}
        self.step: int | None = None
        self.hooks: dict[str, Any] = {}
        self.handles: list[Any] = []

    # ------------------------------------------------------------------ beginning and end

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        task: Any = pl_module
        self.trainer, self.task, self.device = trainer, task, trainer.strategy.root_device
        self.parameters = [*task.parameters()]
        self.is_uniform = len({(p.dtype, p.device) for p in self.parameters}) == 1
        self.buffers = [b for b in task.net.buffers() if b.is_floating_point()]
        self.kept = [b.clone() for b in self.buffers]
        self.found, self.one = torch.zeros((), device=self.device), torch.ones((), device=self.device)
        self.moments, self.flags, self.losses = [], [], []
        self.scaled_away = [0] * len(trainer.optimizers)
        self.is_scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        waits = self.mode == "skip" or self.is_scaled or trainer.world_size > 1 or self.device.type == "cpu"
        self.lag = self.every = 1 if waits else LAG
        self.before = None
        self.on_train_batch_end = self.on_before_optimizer_step = None  # type: ignore[assignment,method-assign]
        self.listen(trainer, task)
        if self.mode == "skip":
            self.begin_to_skip(trainer, task)

    def listen(self, trainer: pl.Trainer, task: Any) -> None:
        """Lightning calls the task's own hooks at each step in any case: there it costs nothing more to hear them."""
        self.hooks = {"on_train_batch_start": self.begin_batch, "on_before_backward": self.losses.append}
        if self.is_scaled:
            self.on_before_optimizer_step = self.judge_scaler  # type: ignore[method-assign]
        elif task.automatic_optimization:
            self.hooks["on_after_backward"] = self.check_all
        else:
            self.hooks["check_finite"] = self.check_values
            self.handles = [o.register_step_pre_hook(lambda o, *_: self.check_own(o)) for o in trainer.optimizers]
        for name, hook in self.hooks.items():
            setattr(task, name, after(getattr(task, name), hook))

    def begin_to_skip(self, trainer: pl.Trainer, task: Any) -> None:
        if not task.goes_on_within_epochs:
            raise UserError("on_nan=skip: what agents have seen stays in their memory; take on_nan=stop")
        if any(isinstance(o, torch.optim.LBFGS) for o in trainer.optimizers):
            raise UserError("on_nan=skip: lbfgs looks at a batch several times in a step; take on_nan=stop")
        self.on_train_batch_end = self.end_batch  # type: ignore[method-assign]
        if task.automatic_optimization and not self.is_scaled:
            self.on_before_optimizer_step = self.leave_out  # type: ignore[method-assign]

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.leave(pl_module)
        self.read()
        self.skipped.tell(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.leave(pl_module)

    def leave(self, task: Any) -> None:
        for handle in self.handles:
            handle.remove()
        for name in self.hooks:
            delattr(task, name)
        self.handles, self.hooks = [], {}

    # ------------------------------------------------------------------ each batch

    def begin_batch(self, batch: Any, batch_idx: int) -> None:
        if self.kept and self.every == 1:
            torch._foreach_copy_(self.kept, self.buffers)
        self.begun = batch, batch_idx, torch.get_rng_state()
        task = self.task
        if task.carried_state or self.mode == "skip" or not task.automatic_optimization:
            self.carried, self.step = {name: getattr(task, name) for name in task.carried_state}, task.global_step
        if self.mode == "skip":
            self.skipped.begin(self.trainer, task)
        if self.lag > 1:
            self.begin_lagging(batch)

    def moment(self) -> Moment:
        """When the batch under way began."""
        task, (batch, batch_idx, state) = self.task, self.begun
        random = {"torch": state}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state()
        step = task.global_step if self.step is None else self.step
        return Moment(batch, batch_idx, step, task.current_epoch, random, self.carried)

    def begin_lagging(self, batch: Any) -> None:
        """A GPU's flags come late: keep the weights that the steps until then begin with, and when they began."""
        if not self.moments:
            self.before = {k: v.clone() for k, v in self.trainer.strategy.lightning_module_state_dict().items()}
            taken = sum(t.nbytes for t in tensors(batch))
            self.every = max(2, min(self.lag, MOST_BYTES // max(taken, 1)))
        self.moments.append(self.moment())

    def check_all(self) -> None:
        """After each backward pass of a task with one optimizer, so that of several batches in a step each is named."""
        self.check(gradients_of(self.parameters))

    def check_values(self, values: Sequence[Tensor]) -> None:
        """What a task that moves its parameters by itself uses in place of gradients."""
        self.check([*values])
        self.skipped.is_counted |= self.skipped.now

    def check_own(self, optimizer: Optimizer) -> None:
        """Before an optimizer's step in a task that steps by itself."""
        self.check(gradients_of(p for group in optimizer.param_groups for p in group["params"]))
        if self.skipped.now:
            self.skipped.leave_out(self.trainer, optimizer)

    def judge_scaler(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer) -> None:
        """With loss scaling: the loss must be finite, gradients sooner or later."""
        own = [p for group in optimizer.param_groups for p in group["params"]]
        which = trainer.optimizers.index(getattr(optimizer, "optimizer", optimizer))
        losses = [*self.losses]
        self.losses.clear()
        self.scaled_away[which] = 0 if self.is_finite(gradients_of(own)) else self.scaled_away[which] + 1
        if self.scaled_away[which] > self.limit or not self.are_finite(losses):
            self.losses += losses
            self.react()
        self.losses.clear()

    def are_finite(self, losses: list[Tensor]) -> bool:
        """On all ranks."""
        return not gathering.all_reduce_max(self.one * (not all(map(is_finite, losses)))).item()

    def check(self, values: list[Tensor]) -> None:
        if self.every > 1:
            self.mark(values)
            self.flags.append(Flag(len(self.moments) - 1, self.found.clone()))
            if len(self.flags) >= self.every:
                self.read()
        elif not self.is_finite(values):
            self.react()
        self.losses.clear()

    def is_finite(self, values: list[Tensor]) -> bool:
        self.mark(values)
        if self.trainer.world_size > 1 and not self.has_mean_gradients:  # all ranks must take the same way
            gathering.all_reduce_max(self.found)
        if not self.found.item():
            return True
        self.found = torch.zeros_like(self.one)
        return False

    @property
    def has_mean_gradients(self) -> bool:
        """Whether the gradients are those of all ranks, so that each sees the same. They are NaN where a loss was not
        finite (dlzoo/tasks/base.py)."""
        model: Any = self.trainer.strategy.model
        return isinstance(model, DistributedDataParallel) and model.require_backward_grad_sync

    def mark(self, values: list[Tensor]) -> None:
        """Raise the flag if a loss or one of these is not finite. Times one: they stay as they are, bit for bit."""
        losses = [loss.detach() for loss in self.losses]
        if self.is_uniform and all(value.dtype == self.one.dtype for value in (*losses, *values[:1])):
            values = [*values, *losses]
            kinds: Any = (values,) if values else ()
        else:
            kinds = of_one_kind([*values, *losses])
        for same in kinds:
            torch._amp_foreach_non_finite_check_and_unscale_(same, self.found, self.one)

    # ------------------------------------------------------------------ what follows

    def read(self) -> None:
        """Look at the flags that are still on the device."""
        if not self.flags:
            return
        found = torch.stack([flag.found for flag in self.flags]).tolist()
        flags, moments = self.flags, self.moments
        self.flags, self.moments = [], []
        for flag, value in zip(flags, found, strict=True):
            if value:
                self.fail(moments[flag.moment], behind=flag.moment)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.read()

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: Any) -> None:
        self.read()

    def react(self) -> None:
        if self.mode == "stop":
            self.fail(self.moment())
        self.skipped.found(self.task, self.losses)
        if self.skipped.in_a_row > self.limit:
            self.fail(self.moment())
        for p in self.parameters if not self.is_scaled else ():
            p.grad = None  # so that the optimizer has nothing to do, and gradients that are still to come stay clean

    def leave_out(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer) -> None:
        if self.skipped.now:
            self.skipped.leave_out(trainer, optimizer)

    def end_batch(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.skipped.is_bad and self.kept:
            torch._foreach_copy_(self.buffers, self.kept)
        self.skipped.end(trainer, pl_module, self.moment())

    def fail(self, moment: Moment, behind: int = 0) -> None:
        """Write down what is known, and end the run."""
        trainer, task = self.trainer, self.task
        loss = self.losses[-1].detach() if self.losses else None
        if trainer.world_size > 1 and not self.is_own(loss):
            raise NonFinite(ELSEWHERE)
        state = self.before or self.state_before()
        in_a_row = self.skipped.in_a_row if self.skipped.in_a_row > self.limit else 0
        raise report(trainer, task, moment, loss, state, self.card, behind=behind, in_a_row=in_a_row)

    def state_before(self) -> dict[str, Any]:
        """The weights did not move yet; what a layer notes in a forward pass did."""
        if self.kept:
            torch._foreach_copy_(self.buffers, self.kept)
        return self.trainer.strategy.lightning_module_state_dict()

    def is_own(self, loss: Tensor | None) -> bool:
        """Whether this rank tells of it: its own loss is wrong, or none is and it is the first."""
        own = loss is not None and not is_finite(loss)
        wrong = gathering.all_reduce_max(self.one * own)
        return own or (self.trainer.is_global_zero and not bool(wrong))


def after(own: Callable[..., Any], hook: Callable[..., Any]) -> Callable[..., Any]:
    """A hook of the task, which answers as it did, with one of ours behind it."""

    def both(*given: Any) -> Any:
        answer = own(*given)
        hook(*given)
        return answer

    return both


def gradients_of(parameters: Iterable[Any]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def of_one_kind(values: list[Tensor]) -> list[list[Tensor]]:
    """Tensors by type and device."""
    kinds: dict[Any, list[Tensor]] = {}
    for value in values:
        kinds.setdefault((value.dtype, value.device), []).append(value)
    return [*kinds.values()]
