"""Base class of all tasks: input standardisation, an optimizer with its schedule, cheap running means."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from dlzoo.distributed import collectives as gathering
from dlzoo.distributed.batch_norm import SyncedBatchNorm
from dlzoo.distributed.noise import GeneratorNoise, GlobalBatchNoise, Noise
from dlzoo.errors import SpecError, UserError
from dlzoo.layers.basic import Standardize, StandardizeNamed
from dlzoo.nets.base import BackboneNet, Net
from dlzoo.optim.lr_schedules import UNLIMITED, Plan
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.targets import Classes, Values
from dlzoo.tasks.capabilities import Capabilities
from dlzoo.tasks.running_mean import RunningMean
from dlzoo.utils import rng as random_state
from dlzoo.utils import state_checks

OptimizerFactory = Callable[..., Optimizer]
SchedulerFactory = Callable[[Optimizer, Plan], list[dict[str, Any]]]

BESIDE = "arrays_beside"
"""The key of a checkpoint for arrays that are stored in a file alongside it (checkpoint/sidecar.py)."""


class Task(Capabilities, pl.LightningModule):
    """A net and how it is trained.

    Args:
        net: the model; its inputs are standardised if the spec has a mean and a standard deviation, unless
            it standardises them itself (``standardizes_inputs``).
        spec: describes the data that the net was built for.
        optimizer: called with the parameters.
        scheduler: called with the optimizer and the `Plan` of the run; returns Lightning's scheduler dicts.
    """

    targets: ClassVar[tuple[type[Target], ...]] = (Classes, Values)
    """The kinds of target that the task can be trained on."""

    net_type: ClassVar[type[Net]] = Net
    """The kind of net that the task requires, whose methods it calls."""

    carried_state: ClassVar[tuple[str, ...]] = ()
    """Attributes (tensors, or tuples of them) carried over from batch to batch and stored in checkpoints."""

    has_parts: bool = False
    """Whether a backward pass may use only some of the parameters (DDP's ``find_unused_parameters``)."""

    uses_optimizer: ClassVar[bool] = True
    """Whether the task uses an optimizer; if not, optimizer and scheduler options are rejected."""

    goes_on_within_epochs: ClassVar[bool] = True
    """Whether a mid-epoch checkpoint holds everything needed to resume."""

    monitor: tuple[str, str] = ("val/loss", "min")
    """The validation metric that selects the best checkpoint, and its direction."""

    def __init__(
        self,
        net: Net,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.spec = spec
        self.standardize = Standardize() if net.standardizes_inputs else standardizer(spec)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.train_means: dict[str, RunningMean] = {}
        self.last_metrics: dict[str, float] = {}
        """Metrics of the resumed run at the time of its checkpoint."""
        self.step_skipped = False
        """Whether the current step has non-finite values and is skipped (training/nan_guard/)."""
        self.skipped_steps = 0
        """Number of skipped steps so far."""
        self._resume_state: dict[str, Any] | None = None
        self.noise: Noise = GeneratorNoise()
        """Random numbers for the rows of the current training batch."""
        self._shared: torch.Generator | None = None
        """Generator with the same state on all ranks."""
        self._norms: list[SyncedBatchNorm] = []
        self.drawn_so_far: Tensor | None = None
        """State of torch's CPU generator after setup; Lightning reseeds each process."""
        self.is_validated = False
        """Whether the current epoch has been validated at least once."""
        self.share = 1.0
        """This rank's fraction of the batch's rows, times the number of ranks; 0: its rows count on another rank.
        Gradients are multiplied by it, so that their mean over ranks is that of the whole batch's mean loss."""

    @classmethod
    def check_target(cls, target: Target) -> None:
        """`SpecError` if the task cannot learn this kind of target."""
        if not issubclass(type(target), cls.targets):
            learns = " or ".join(kind.what for kind in cls.targets)
            raise SpecError(f"this task learns {learns}, but the data gives {target.what}")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "training_step" in vars(cls):
            # Lightning inspects the signature at each step, which Python would otherwise recompute.
            cls.training_step.__signature__ = inspect.signature(cls.training_step)  # type: ignore[attr-defined]

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets this to the name of each hook that it calls, a dozen times a step, and nn.Module's
        # __setattr__ would take a tenth of a small net's step.
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, x: Any) -> Any:
        """x: (B, ...), or a dict of such tensors by name, not standardised -> what the net gives."""
        return self.net(self.standardize(x))

    @property
    def running_loss(self) -> float:
        """Mean training loss of this rank in the current epoch (synchronizes with the device)."""
        return self.train_means["loss"].read() if "loss" in self.train_means else float("nan")

    def log_step(self, count: int | Tensor, **means: Tensor) -> None:
        """Add a step's means to the epoch means, and log them every ``log_every_n_steps``.

        Args:
            count: number of samples in the step, or the sum of their weights.
        """
        step = self.global_step
        if not self.share:
            count = 0
        for name, value in means.items():
            self.train_means.setdefault(name, RunningMean()).add(value, count)
        if self.trainer.loggers and step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            metrics = {f"train/{name}_step": float(value.detach()) for name, value in means.items()}
            for logger in self.trainer.loggers:
                logger.log_metrics(metrics | self.rates() | {"epoch": self.current_epoch}, step)

    def rates(self) -> dict[str, float]:
        """The learning rate as a metric, if there is one."""
        return {"lr": self.learning_rate} if self.uses_optimizer else {}

    @property
    def batches_per_step(self) -> int:
        """Number of batches per optimizer step."""
        return self.trainer.accumulate_grad_batches

    @property
    def learning_rate(self) -> float:
        """Learning rate of the first parameter group."""
        return next((float(group["lr"]) for o in self.trainer.optimizers for group in o.param_groups), 0.0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what Lightning does not, so that a resumed run matches an uninterrupted one."""
        epoch: Any = self.trainer.fit_loop.epoch_progress.current
        is_epoch_over = epoch.processed == epoch.ready  # then the next epoch starts with all batches
        local = {
            "random": random_state.capture(),
            "means": {name: [mean.total, mean.count] for name, mean in self.train_means.items()},
            "carried": {name: getattr(self, name) for name in self.carried_state},
            "shared": None if self._shared is None else self._shared.get_state(),
        }
        checkpoint["continuation"] = {
            "ranks": gathering.gather_objects(local),
            "metrics": {name: float(value) for name, value in self.trainer.callback_metrics.items()},
            "loader": None if is_epoch_over else _state_of(self.trainer.train_dataloader),
            "skipped_steps": self.skipped_steps,
            "validated": self.is_validated,
        }

    def misfit_of_carried(self, name: str, value: Any) -> str | None:
        """What a stored value of `carried_state` should have been; None if the next batch can go on from it.

        Args:
            value: None, a tensor, or a tuple of tensors, from a checkpoint that may be a stranger's.
        """
        return None

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._resume_state = checkpoint.get("continuation")
        self.last_metrics = dict(self._resume_state["metrics"]) if self._resume_state else {}
        self.skipped_steps = self._resume_state.get("skipped_steps", 0) if self._resume_state else 0
        self.is_validated = self._resume_state.get("validated", False) if self._resume_state else False

    def on_train_start(self) -> None:
        with state_checks.restoring(self.trainer.ckpt_path):
            self._resume()

    def _resume(self) -> None:
        """Restore the task's state from a checkpoint, if any, and seed the random generators."""
        stored, self._resume_state = self._resume_state, None
        schedules = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        if not self.trainer.enable_validation and any(isinstance(s, ReduceLROnPlateau) for s in schedules):
            raise UserError(
                f"scheduler=plateau monitors {self.monitor[0]}, but there is no validation: raise "
                "trainer.limit_val_batches and the number of validation rows, or choose another scheduler"
            )
        gathering.check_same_step(self.global_step)
        local = None if stored is None else gathering.local_state(stored.get("ranks", []))
        if local is not None:
            for name, (total, count) in local["means"].items():
                mean = self.train_means[name] = RunningMean()
                mean.total, mean.count = move_data_to_device(total, self.device), count
            for name in self.carried_state:
                setattr(self, name, move_data_to_device(local["carried"].get(name), self.device))
        if stored is not None and stored["loader"] is not None:
            # Lightning restores it too early, or not at all if a schedule has requested the number of batches
            self.trainer.train_dataloader.load_state_dict(stored["loader"])  # type: ignore[union-attr]
        if self.trainer.world_size > 1:
            self._norms = [layer for layer in self.net.modules() if isinstance(layer, SyncedBatchNorm)]
            self._shared = gathering.shared_generator(local, self.drawn_so_far, self.device)
        gathering.seed_rank(local)  # last: the code above may draw random numbers

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.trainer.world_size > 1:
            loader: Any = self.trainer.train_dataloader
            self.take_share(loader.shares[batch_idx])
            assert self._shared is not None
            self.noise = GlobalBatchNoise(self._shared, *loader.places(batch_idx))

    def take_share(self, share: float) -> None:
        """Set the weight of the rows that follow, see `share`."""
        self.share = share
        for norm in self._norms:
            norm.share = share

    def batch_mean(self, mean: Tensor) -> Tensor:
        """The mean over all ranks' rows, given this rank's mean (distributed/collectives)."""
        return gathering.batch_mean(mean, self.share)

    def backward(self, loss: Tensor, *args: Any, **options: Any) -> None:
        if self.trainer.world_size > 1:
            zero = loss.detach() - loss.detach()  # NaN for a non-finite loss, so that all gradients become NaN
            loss = loss * (self.share + zero)  # and so does their mean over ranks: every rank sees it
        super().backward(loss, *args, **options)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        closure = optimizer_closure
        if closure is None or not isinstance(optimizer.optimizer, torch.optim.LBFGS):
            super().optimizer_step(epoch, batch_idx, optimizer, closure)
            return
        (group,) = optimizer.optimizer.param_groups
        line_search = group["line_search_fn"]
        if group["lr"] == 0:  # at the end of a schedule; PyTorch's line search would divide by the step length
            group["line_search_fn"] = None
        try:
            super().optimizer_step(epoch, batch_idx, optimizer, partial(self._evaluated, closure))
        finally:
            group["line_search_fn"] = line_search

    def _evaluated(self, closure: Callable[[], Any]) -> Any:
        """The closure for L-BFGS, which chooses its steps by the loss: on each rank it must be that of the whole
        batch. It also requires contiguous gradients, which channels-last weights do not have.
        """
        loss = closure()
        for p in self.parameters():
            if p.grad is not None:
                p.grad = p.grad.contiguous()
        return loss if self.trainer.world_size == 1 else gathering.whole_mean(loss, self.share)

    def on_train_epoch_start(self) -> None:
        self.is_validated = False
        for mean in self.train_means.values():
            mean.reset()

    def on_train_epoch_end(self) -> None:
        for name, mean in self.train_means.items():
            if self.trainer.world_size > 1:
                mean.join(self.trainer.strategy)
            self.log(f"train/{name}", mean.read(), batch_size=1)
        self.step_epoch_schedules()

    def on_validation_start(self) -> None:
        self.is_validated = not self.trainer.sanity_checking

    def step_epoch_schedules(self) -> None:
        """Step the epoch-wise schedules that Lightning does not step.

        Those that monitor a metric get the epoch's last validation, if there was one. Done here because checkpoints are
        written right after this hook: Lightning steps them later, and not at all if a run is resumed from
        such a checkpoint. The others are stepped here for manual optimization.
        """
        for config in self.trainer.lr_scheduler_configs:
            if config.interval != "epoch" or (self.current_epoch + 1) % config.frequency:
                continue
            if isinstance(config.scheduler, ReduceLROnPlateau):
                if self.is_validated:
                    config.scheduler.step(self.watched_by(config))
            elif not self.automatic_optimization:
                config.scheduler.step()

    def watched_by(self, config: LRSchedulerConfig) -> float:
        """The latest value of the metric that a plateau schedule monitors."""
        name = config.monitor or self.monitor[0]
        value = self.trainer.callback_metrics.get(name, self.last_metrics.get(name))
        if value is None:
            known = sorted(name for name in self.trainer.callback_metrics if name.startswith("val/"))
            raise UserError(f"scheduler=plateau monitors {name}, but validation reports {', '.join(known)}")
        return float(value)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Called by Lightning; a skipped step does not advance step-wise schedules."""
        config = next(c for c in self.trainer.lr_scheduler_configs if c.scheduler is scheduler)
        is_stepped = config.interval == "epoch" and isinstance(scheduler, ReduceLROnPlateau)  # step_epoch_schedules
        if not (is_stepped or (self.step_skipped and config.interval == "step")):
            super().lr_scheduler_step(scheduler, metric)

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        """For options that only take effect together with others: whether they do, and what they require."""
        return {}

    def frozen_backbone(self) -> BackboneNet | None:
        """The net, if its body stays frozen and its features are the same in each epoch; else None."""
        return None

    def setup_trainer(self, trainer: pl.Trainer) -> None:
        """Called when the trainer is built, for tasks with manual optimization."""

    def param_groups(self) -> Any:
        """The optimizer's parameters, or parameter groups, whose ``factor`` scales the learning rate."""
        return self.parameters()

    def make_optimizer(self, parameters: Iterable[Any], **changes: Any) -> Optimizer:
        """The configured optimizer, with these options changed."""
        if self.optimizer is None:
            raise UserError("this model has trainable parameters, but optimizer is missing")
        try:
            optimizer = self.optimizer(parameters, **changes)
        except (ValueError, TypeError, RuntimeError) as error:
            raise UserError(f"optimizer: {error}") from None
        if isinstance(optimizer, torch.optim.LBFGS) and not self.automatic_optimization:
            raise UserError(
                "optimizer=lbfgs evaluates the loss several times per step, "
                "which this model's manual optimization does not support: use another, such as optimizer=adam"
            )
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * group.get("factor", 1.0)
        return optimizer

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.param_groups())
        stop_searching_for_cuda()
        if self.scheduler is None:
            return optimizer
        trainer = self.trainer
        total_steps = int(min(trainer.estimated_stepping_batches, UNLIMITED))
        per_epoch = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
        return [optimizer], self.scheduler(optimizer, Plan(total_steps, per_epoch, self.monitor[0], self.monitor[1]))


def standardizer(spec: Spec) -> Standardize | StandardizeNamed:
    """What takes a batch's inputs to those of the net, by the statistics of each."""
    if spec.named is None:
        return Standardize(spec.mean, spec.std)
    return StandardizeNamed({name: Standardize(part.mean, part.std) for name, part in spec.named.by_name.items()})


def for_manual(schedule: dict[str, Any]) -> dict[str, Any]:
    """Lightning's scheduler dict without the keys that are ignored in manual optimization."""
    return {key: value for key, value in schedule.items() if key not in ("monitor", "strict")}


def _state_of(loader: Any) -> dict[str, Any] | None:
    return loader.state_dict() if hasattr(loader, "state_dict") else None


def stop_searching_for_cuda() -> None:
    """Without a GPU, make PyTorch's CUDA check use its cached answer.

    Adam and its variants check at each step. Lightning sets a variable that makes the check go through NVML,
    which is safe for processes that fork later; but if NVML is missing, each check searches the
    disk, which takes a tenth of a small net's step. Without a GPU the variable is not needed.
    """
    if not torch.cuda.is_available():
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
