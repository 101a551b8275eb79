"""What every task has in common: standardised inputs, one optimizer with its schedule, cheap running means."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from dlzoo.distributed import collectives as gathering
from dlzoo.distributed.batch_norm import SyncedBatchNorm
from dlzoo.distributed.noise import GeneratorNoise, GlobalBatchNoise, Noise
from dlzoo.errors import SpecError, UserError
from dlzoo.layers.basic import Standardize
from dlzoo.nets.base import BackboneNet, Net
from dlzoo.optim.lr_schedules import UNLIMITED, Plan
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.targets import Classes, Values
from dlzoo.tasks.capabilities import Capabilities
from dlzoo.utils import rng as random_state
from dlzoo.utils import state_checks

OptimizerFactory = Callable[..., Optimizer]
SchedulerFactory = Callable[[Optimizer, Plan], list[dict[str, Any]]]


class RunningMean:
    """A weighted mean that stays on the device until it is read: reading waits for the device, adding does not."""

    __slots__ = ("count", "total")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.total: Tensor | None = None
        self.count: int | Tensor = 0

    def add(self, mean: Tensor, count: int | Tensor) -> None:
        mean = mean.detach().float()
        if isinstance(count, Tensor):
            self.total = mean * count if self.total is None else self.total.add_(mean * count)
        else:
            self.total = mean * count if self.total is None else self.total.add_(mean, alpha=count)
        self.count += count

    def read(self) -> float:
        return 0.0 if self.total is None or not self.count else float(self.total) / float(self.count)

    def join(self, strategy: Strategy) -> None:
        """Become the mean over all ranks; all must call it.

        Not Lightning's ``sync_dist``: that rounds the mean number of samples down to a whole one.
        """
        own = torch.zeros((), device=strategy.root_device) if self.total is None else self.total
        count = torch.as_tensor(self.count, dtype=torch.float64, device=own.device)
        both = strategy.reduce(torch.cat([own.double().flatten(), count.view(1)]), reduce_op="sum")
        assert isinstance(both, Tensor)
        self.total, self.count = both[:-1].view(own.shape).float(), both[-1]


class Task(Capabilities, pl.LightningModule):
    """A net and how it learns.

    Args:
        net: what is computed; its inputs arrive standardised if the spec holds a mean and a standard deviation, unless
            it does so itself (``standardizes_inputs``).
        spec: the promise of the data that the net was built for.
        optimizer: called with the parameters.
        scheduler: called with the optimizer and the `Plan` of the run; gives Lightning's scheduler dicts.
    """

    targets: ClassVar[tuple[type[Target], ...]] = (Classes, Values)
    """The kinds of target that the task can learn from."""

    net_type: ClassVar[type[Net]] = Net
    """The kind of net that the task works with: its methods are what the task calls."""

    carried_state: ClassVar[tuple[str, ...]] = ()
    """Attributes (tensors, or tuples of them) that a training batch hands on to the next; checkpoints hold them."""

    has_parts: bool = False
    """Whether a backward pass goes through some of the parameters only, which DDP must be told."""

    uses_optimizer: ClassVar[bool] = True
    """Whether an optimizer moves parameters; where none does, options of optimizers and schedules are refused."""

    goes_on_within_epochs: ClassVar[bool] = True
    """Whether a checkpoint from the middle of an epoch holds all that the next batch needs."""

    monitor: tuple[str, str] = ("val/loss", "min")
    """The validation metric that chooses the best checkpoint, and its direction."""

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
        self.standardize = Standardize() if net.standardizes_inputs else Standardize(spec.mean, spec.std)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.train_means: dict[str, RunningMean] = {}
        self.last_metrics: dict[str, float] = {}
        """Of the run that is continued, as they were when its checkpoint was written."""
        self.step_skipped = False
        """Whether the step under way has numbers that are not finite, and changes nothing (training/nan_guard/)."""
        self.skipped_steps = 0
        """Steps that were left out so far."""
        self._continuation: dict[str, Any] | None = None
        self.noise: Noise = GeneratorNoise()
        """Random numbers for the rows of the training batch under way."""
        self._shared: torch.Generator | None = None
        """In the same state on all ranks."""
        self._norms: list[SyncedBatchNorm] = []
        self.drawn_so_far: Tensor | None = None
        """The state of torch's random numbers on the CPU when all was built; Lightning seeds several processes anew."""
        self.is_validated = False
        """Whether the epoch under way has been validated, once at least."""
        self.share = 1.0
        """Of this rank's rows in the batch, times the number of ranks; 0: the rows count on another rank. Gradients are
        multiplied by it, so that their mean over the ranks is the gradient of a mean over the whole batch's rows."""

    @classmethod
    def check_target(cls, target: Target) -> None:
        """`SpecError` if the task cannot learn this kind of target."""
        if not issubclass(type(target), cls.targets):
            learns = " or ".join(kind.what for kind in cls.targets)
            raise SpecError(f"this task learns {learns}, but the data gives {target.what}")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "training_step" in vars(cls):
            # Lightning looks at the signature at each step, and Python would each time make it anew.
            cls.training_step.__signature__ = inspect.signature(cls.training_step)  # type: ignore[attr-defined]

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the name of each hook that it calls here, a dozen times a step, and nn.Module's own
        # __setattr__ makes that a tenth of a small net's step.
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, x: Tensor) -> Any:
        return self.net(self.standardize(x))

    @property
    def running_loss(self) -> float:
        """Mean training loss of the epoch so far, of this rank's samples (waits for the device)."""
        return self.train_means["loss"].read() if "loss" in self.train_means else float("nan")

    def log_step(self, count: int | Tensor, **means: Tensor) -> None:
        """Add a step's means to the epoch's, and log them every few steps.

        Args:
            count: samples of the step, or the sum of their weights.
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
        """The learning rate as a metric, where there is one."""
        return {"lr": self.learning_rate} if self.uses_optimizer else {}

    @property
    def batches_per_step(self) -> int:
        """Batches whose gradients make one step of the optimizer."""
        return self.trainer.accumulate_grad_batches

    @property
    def learning_rate(self) -> float:
        """Of the first parameter group."""
        return next((float(group["lr"]) for o in self.trainer.optimizers for group in o.param_groups), 0.0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What a run needs, beside what Lightning keeps, to go on as if it had never stopped."""
        epoch: Any = self.trainer.fit_loop.epoch_progress.current
        is_over = epoch.processed == epoch.ready  # then the next one has all batches
        own = {
            "random": random_state.capture(),
            "means": {name: [mean.total, mean.count] for name, mean in self.train_means.items()},
            "carried": {name: getattr(self, name) for name in self.carried_state},
            "shared": None if self._shared is None else self._shared.get_state(),
        }
        checkpoint["continuation"] = {
            "ranks": gathering.gather_objects(own),
            "metrics": {name: float(value) for name, value in self.trainer.callback_metrics.items()},
            "loader": None if is_over else _state_of(self.trainer.train_dataloader),
            "skipped_steps": self.skipped_steps,
            "validated": self.is_validated,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._continuation = checkpoint.get("continuation")
        self.last_metrics = dict(self._continuation["metrics"]) if self._continuation else {}
        self.skipped_steps = self._continuation.get("skipped_steps", 0) if self._continuation else 0
        self.is_validated = self._continuation.get("validated", False) if self._continuation else False

    def on_train_start(self) -> None:
        with state_checks.restoring(self.trainer.ckpt_path):
            self._resume()

    def _resume(self) -> None:
        """Take over what a checkpoint holds of the task itself; without one, begin to draw at random."""
        stored, self._continuation = self._continuation, None
        schedules = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        if not self.trainer.enable_validation and any(isinstance(s, ReduceLROnPlateau) for s in schedules):
            raise UserError(
                f"scheduler=plateau watches {self.monitor[0]}, but there is no validation: raise "
                "trainer.limit_val_batches and the rows for validation, or choose another scheduler"
            )
        gathering.check_same_step(self.global_step)
        own = None if stored is None else gathering.local_state(stored.get("ranks", []))
        if own is not None:
            for name, (total, count) in own["means"].items():
                mean = self.train_means[name] = RunningMean()
                mean.total, mean.count = move_data_to_device(total, self.device), count
            for name in self.carried_state:
                setattr(self, name, move_data_to_device(own["carried"].get(name), self.device))
        if stored is not None and stored["loader"] is not None:
            # Lightning hands it on too early, or not at all where a schedule has asked for the number of batches
            self.trainer.train_dataloader.load_state_dict(stored["loader"])  # type: ignore[union-attr]
        if self.trainer.world_size > 1:
            self._norms = [layer for layer in self.net.modules() if isinstance(layer, SyncedBatchNorm)]
            self._shared = gathering.shared_generator(own, self.drawn_so_far, self.device)
        gathering.seed_rank(own)  # last: what came before may have drawn

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.trainer.world_size > 1:
            loader: Any = self.trainer.train_dataloader
            self.take_share(loader.shares[batch_idx])
            assert self._shared is not None
            self.noise = GlobalBatchNoise(self._shared, *loader.places(batch_idx))

    def take_share(self, share: float) -> None:
        """What follows is of rows that count so much, see `share`."""
        self.share = share
        for norm in self._norms:
            norm.share = share

    def batch_mean(self, mean: Tensor) -> Tensor:
        """The mean over the rows of all ranks, of which this rank's rows have this mean (distributed/collectives)."""
        return gathering.batch_mean(mean, self.share)

    def backward(self, loss: Tensor, *args: Any, **options: Any) -> None:
        if self.trainer.world_size > 1:
            nothing = loss.detach() - loss.detach()  # of a loss that is not finite: NaN, which all gradients become
            loss = loss * (self.share + nothing)  # and their mean over the ranks, so each rank sees it
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
        if group["lr"] == 0:  # where a schedule ends; PyTorch's line search would divide by the length of the step
            group["line_search_fn"] = None
        try:
            super().optimizer_step(epoch, batch_idx, optimizer, partial(self._evaluated, closure))
        finally:
            group["line_search_fn"] = line_search

    def _evaluated(self, closure: Callable[[], Any]) -> Any:
        """What L-BFGS reads of a batch: it chooses its steps by the loss, which on each rank must be that of the whole
        batch; and it takes a gradient apart only if it is contiguous, which those of maps with channels last are not.
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
        """Step the schedules that move once an epoch and that Lightning leaves alone.

        Those that watch a metric are shown the last validation of the epoch, if it had one. Here, since checkpoints are
        written right after this hook: Lightning steps them after that, and not at all where a run is continued from
        such a checkpoint. The others are stepped here if the task steps by itself.
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
        """The metric of a plateau schedule, as it was last measured."""
        name = config.monitor or self.monitor[0]
        value = self.trainer.callback_metrics.get(name, self.last_metrics.get(name))
        if value is None:
            known = sorted(name for name in self.trainer.callback_metrics if name.startswith("val/"))
            raise UserError(f"scheduler=plateau watches {name}, but the validation gives {', '.join(known)}")
        return float(value)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """What Lightning calls; a step that is left out does not move a schedule that counts steps."""
        config = next(c for c in self.trainer.lr_scheduler_configs if c.scheduler is scheduler)
        is_stepped = config.interval == "epoch" and isinstance(scheduler, ReduceLROnPlateau)  # step_epoch_schedules
        if not (is_stepped or (self.step_skipped and config.interval == "step")):
            super().lr_scheduler_step(scheduler, metric)

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        """Of options that have an effect only beside others: whether they have, and what they need."""
        return {}

    def frozen_backbone(self) -> BackboneNet | None:
        """The net, if its body never learns and gives the same features in each epoch; else None."""
        return None

    def setup_trainer(self, trainer: pl.Trainer) -> None:
        """Called when the trainer is built: what a task that steps by itself does in its place."""

    def param_groups(self) -> Any:
        """What the optimizer gets: parameters, or groups of them, whose ``factor`` multiplies its rate."""
        return self.parameters()

    def make_optimizer(self, parameters: Iterable[Any], **changes: Any) -> Optimizer:
        """The optimizer of the config, with these options changed."""
        if self.optimizer is None:
            raise UserError("this model has something to learn, but optimizer is missing")
        try:
            optimizer = self.optimizer(parameters, **changes)
        except (ValueError, TypeError, RuntimeError) as error:
            raise UserError(f"optimizer: {error}") from None
        if isinstance(optimizer, torch.optim.LBFGS) and not self.automatic_optimization:
            raise UserError(
                "optimizer=lbfgs looks at the loss of a batch several times in a step, "
                "which this model takes by itself: take another, such as optimizer=adam"
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


def for_manual(schedule: dict[str, Any]) -> dict[str, Any]:
    """Lightning's scheduler dict without what it says to ignore where a task steps by itself."""
    return {key: value for key, value in schedule.items() if key not in ("monitor", "strict")}


def _state_of(loader: Any) -> dict[str, Any] | None:
    return loader.state_dict() if hasattr(loader, "state_dict") else None


def stop_searching_for_cuda() -> None:
    """Where there is no GPU, let PyTorch answer so from memory.

    Adam and its kin ask at each step. Lightning sets a variable that sends the question to NVIDIA's management library,
    which does no harm to processes that fork later; but where that library is missing, each answer is a search of the
    disk, and takes a tenth of a small net's step. Without a GPU nothing can be harmed.
    """
    if not torch.cuda.is_available():
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


BESIDE = "arrays_beside"
