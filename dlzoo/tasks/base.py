"""Base class of all tasks: input standardisation, cheap running means, and what a resumed run needs."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from dlzoo.distributed import collectives as gathering
from dlzoo.distributed.batch_norm import SyncedBatchNorm
from dlzoo.distributed.noise import GeneratorNoise, GlobalBatchNoise, Noise
from dlzoo.errors import SpecError, UserError
from dlzoo.layers.basic import Standardize, StandardizeNamed
from dlzoo.nets.base import BackboneNet, Net
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.batch import TensorOrDict
from dlzoo.specs.targets import Classes, Values
from dlzoo.tasks.capabilities import Capabilities
from dlzoo.tasks.half_precision import keep_metrics_in_single_precision
from dlzoo.tasks.optimization import Optimization, OptimizerFactory, SchedulerFactory
from dlzoo.tasks.running_mean import RunningMean
from dlzoo.utils import rng as random_state
from dlzoo.utils import state_checks

SIDECAR_ARRAYS = "arrays_beside"
"""The key of a checkpoint for arrays that are stored in a file alongside it (checkpoint/sidecar.py)."""


class Task(Capabilities, Optimization):
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

    resumes_mid_epoch: ClassVar[bool] = True
    """Whether a mid-epoch checkpoint holds everything needed to resume."""

    @property
    def ranking(self) -> tuple[tuple[str, str], ...]:
        """The validation metrics that runs are compared by, with their directions; the second one breaks ties."""
        return (self.monitor,)

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
        self.seconds_before = 0.0
        """Seconds that the run was trained for before it was resumed."""
        self._started = time.perf_counter()
        self._resume_state: dict[str, Any] | None = None
        self.noise: Noise = GeneratorNoise()
        """Random numbers for the rows of the current training batch."""
        self._shared: torch.Generator | None = None
        """Generator with the same state on all ranks."""
        self._norms: list[SyncedBatchNorm] = []
        self.initial_rng_state: Tensor | None = None
        """State of torch's CPU generator after setup; Lightning reseeds each process."""
        self.is_validated = False
        """Whether the current epoch has been validated at least once."""
        self.rank_weight = 1.0
        """This rank's fraction of the batch's rows, times the number of ranks; 0: its rows count on another rank.
        Gradients are multiplied by it, so that their mean over ranks is that of the whole batch's mean loss."""
        self.batch_weight = 1.0
        """This batch's fraction of the rows of its step, times the number of batches that gradients are accumulated
        over. Gradients, which are divided by that number, are multiplied by it, so that those of a step are those of
        its rows in one batch, also if the last batch of an epoch is smaller or its last step has fewer batches."""

    @classmethod
    def check_target(cls, target: Target) -> None:
        """`SpecError` if the task cannot learn this kind of target."""
        if not issubclass(type(target), cls.targets):
            learns = " or ".join(kind.what for kind in cls.targets)
            raise SpecError(f"this task learns {learns}, but the data gives {target.what}")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
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

    def forward(self, x: TensorOrDict) -> Tensor | tuple[Tensor, ...] | dict[str, Tensor]:
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
        if not self.rank_weight:
            count = 0
        for name, value in means.items():
            self.train_means.setdefault(name, RunningMean()).add(value, count)
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self.trainer.loggers and every and step % every == 0:
            metrics = {f"train/{name}_step": float(value.detach()) for name, value in means.items()}
            for logger in self.trainer.loggers:
                logger.log_metrics(metrics | self.rates() | {"epoch": self.current_epoch}, step)

    def rates(self) -> dict[str, float]:
        """The learning rate as a metric, if there is one."""
        return {"lr": self.learning_rate} if self.uses_optimizer else {}

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
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
            "seconds": self.seconds_before + time.perf_counter() - self._started,
        }

    def carried_state_mismatch(self, name: str, value: object) -> str | None:
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
        self.seconds_before = float(self._resume_state.get("seconds", 0.0)) if self._resume_state else 0.0

    def on_train_start(self) -> None:
        self._started = time.perf_counter()
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
            self._shared = gathering.shared_generator(local, self.initial_rng_state, self.device)
        gathering.seed_rank(local)  # last: the code above may draw random numbers

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        loader: Any = self.trainer.train_dataloader
        if (num_batches := self.batches_per_step) > 1:
            first = batch_idx // num_batches * num_batches
            in_step = loader.batch_sizes[: int(self.trainer.num_training_batches)][first : first + num_batches]
            self.batch_weight = loader.batch_sizes[batch_idx] * num_batches / sum(in_step)
        if self.trainer.world_size > 1:
            self.set_rank_weight(loader.rank_weights[batch_idx])
            assert self._shared is not None
            self.noise = GlobalBatchNoise(self._shared, *loader.positions(batch_idx))

    def set_rank_weight(self, rank_weight: float) -> None:
        """Set the weight of the rows that follow, see `rank_weight`."""
        self.rank_weight = rank_weight
        for norm in self._norms:
            norm.rank_weight = rank_weight

    def batch_mean(self, mean: Tensor) -> Tensor:
        """The mean over all ranks' rows, given this rank's mean (distributed/collectives)."""
        return gathering.batch_mean(mean, self.rank_weight)

    def backward(self, loss: Tensor, *args: object, **options: object) -> None:
        if self.trainer.world_size > 1:
            zero = loss.detach() - loss.detach()  # NaN for a non-finite loss, so that all gradients become NaN
            loss = loss * (self.rank_weight * self.batch_weight + zero)  # and so does their mean: every rank sees it
        elif self.batch_weight != 1:
            loss = loss * self.batch_weight
        super().backward(loss, *args, **options)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Tensor | None] | None = None,
    ) -> None:
        closure = optimizer_closure
        wrapped = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        if closure is None or not isinstance(wrapped, torch.optim.LBFGS):
            super().optimizer_step(epoch, batch_idx, optimizer, closure)
            return
        (group,) = wrapped.param_groups
        line_search = group["line_search_fn"]
        if group["lr"] == 0:  # at the end of a schedule; PyTorch's line search would divide by the step length
            group["line_search_fn"] = None
        try:
            super().optimizer_step(epoch, batch_idx, optimizer, partial(self._evaluated, closure))
        finally:
            group["line_search_fn"] = line_search

    def _evaluated(self, closure: Callable[[], Tensor | None]) -> Tensor | None:
        """The closure for L-BFGS, which chooses its steps by the loss: on each rank it must be that of the whole
        batch. It also requires contiguous gradients, which channels-last weights do not have.
        """
        loss = closure()
        for p in self.parameters():
            if p.grad is not None:
                p.grad = p.grad.contiguous()
        if loss is None or self.trainer.world_size == 1:
            return loss
        return gathering.global_mean(loss, self.rank_weight)

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

    def on_validation_epoch_end(self) -> None:
        self.log_split("val")

    def on_test_epoch_end(self) -> None:
        self.log_split("test")

    def log_split(self, split: str) -> None:
        """Log the metrics of a whole split as ``split/name`` and reset them; computing them synchronizes the ranks.

        Nothing by default: a task may also log each batch.
        """

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        """For options that only take effect together with others: whether they do, and what they require."""
        return {}

    def data_option_uses(self) -> dict[str, tuple[bool, str]]:
        """Likewise for options of the data that only some tasks read."""
        return {}

    def frozen_backbone(self) -> BackboneNet | None:
        """The net, if its body stays frozen and its features are the same in each epoch; else None."""
        return None

    def setup_trainer(self, trainer: pl.Trainer) -> None:
        """Called when a trainer of the task is built."""
        keep_metrics_in_single_precision(self, trainer)


def standardizer(spec: Spec) -> Standardize | StandardizeNamed:
    """What takes a batch's inputs to those of the net, by the statistics of each."""
    if spec.named is None:
        return Standardize(spec.mean, spec.std)
    return StandardizeNamed({name: Standardize(part.mean, part.std) for name, part in spec.named.by_name.items()})


def _state_of(loader: Any) -> dict[str, Any] | None:
    return loader.state_dict() if hasattr(loader, "state_dict") else None
