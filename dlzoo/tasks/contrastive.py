"""Contrastive divergence: the gradient of the likelihood of a Boltzmann layer, with Gibbs samples for the model.

The gradient of log p(v) is <v h> of the data minus <v h> of the model. CD-k takes the latter k Gibbs steps from the
data: G. E. Hinton, "Training Products of Experts by Minimizing Contrastive Divergence", Neural Computation 14, 2002.
Persistent CD takes it from chains that continue from update to update: T. Tieleman, "Training Restricted Boltzmann
Machines using Approximations to the Likelihood Gradient", ICML 2008. Initial values, momentum and weight decay follow
G. E. Hinton, "A Practical Guide to Training Restricted Boltzmann Machines", 2010 ("the guide").
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from dlzoo.data.base import DataModule
from dlzoo.distributed.collectives import all_reduce_sum
from dlzoo.distributed.noise import GeneratorNoise, Noise
from dlzoo.errors import at_least, between
from dlzoo.layers.boltzmann import BoltzmannLayer
from dlzoo.layers.visible_units import bernoulli
from dlzoo.losses.functional import widen
from dlzoo.nets.base import Net
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.tasks.manual import ManualTask
from dlzoo.tasks.optimization import OptimizerFactory, OptimizersAndSchedules, SchedulerFactory

MEASURED = 20
"""Training batches between those that metrics are computed of, which takes half as long as an update."""

MAX_SAMPLE_STEPS = 20_000
"""Gibbs steps to a sample: a step takes a tenth of a millisecond even of the smallest machine, and a checkpoint of a
stranger's sets their number too."""


class Phase(NamedTuple):
    """States whose mean products are one of the two terms of the gradient."""

    visible: Tensor
    """(B, V)"""
    hidden: Tensor
    """(B, H), probabilities."""


class ContrastiveDivergence(ManualTask):
    """For nets with a `BoltzmannLayer`. What the visible states of a batch are is said in `states`.

    Metrics of training: loss, the squared error of one reconstruction per unit, and contrast, the mean free energy of
    the data minus that of the model's samples: what an update lowers. Both are of every twentieth batch.

    Args:
        num_steps: Gibbs steps per update, the k of CD-k.
        num_chains: chains of persistent CD; 0: the steps start from the data.
        sample_visible: sample visible states; false: use their means, with less noise but not the model's samples.
        initial_momentum: momentum in the first ``momentum_epochs``; null: that of the optimizer from the start.
        momentum_epochs: 5 in section 9 of the guide.
    """

    gradients_by_hand = True
    carried_state: ClassVar[tuple[str, ...]] = ("statistics", "chains")
    error_name: ClassVar[str] = "loss"
    """The metric of the reconstructions' error in training."""

    def __init__(
        self,
        net: Net,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        num_steps: int = 1,
        num_chains: int = 0,
        sample_visible: bool = True,
        initial_momentum: float | None = 0.5,
        momentum_epochs: int = 5,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        between(1, 1000, "task", num_steps=num_steps)
        between(0, 100_000, "task", num_chains=num_chains)
        at_least(0, "task", momentum_epochs=momentum_epochs)
        between(0, 1, "task", initial_momentum=initial_momentum)
        self.num_steps = num_steps
        self.num_chains = num_chains
        self.sample_visible = sample_visible
        self.initial_momentum = initial_momentum
        self.momentum_epochs = momentum_epochs
        self.chains: Tensor | None = None
        """(num_chains, V): visible states of the persistent chains, the same on all ranks."""
        self.momenta: list[float | None] = []
        """Of each parameter group, as configured."""

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        options = self.optimizer.keywords if isinstance(self.optimizer, functools.partial) else {}
        uses = bool(options.get("momentum")), "an optimizer with momentum: optimizer=momentum"
        return super().option_uses() | {"initial_momentum": uses, "momentum_epochs": uses}

    @property
    @abstractmethod
    def layer(self) -> BoltzmannLayer:
        """The layer that is trained."""

    @property
    def chained_layer(self) -> BoltzmannLayer:
        """The layer that persistent chains are of."""
        return self.layer

    # ------------------------------------------------------------------ the start of a run

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        groups = [group for optimizer in self.trainer.optimizers for group in optimizer.param_groups]
        is_initial = self.initial_momentum is not None and self.epochs_of_layer < self.momentum_epochs
        for group, configured in zip(groups, self.momenta, strict=True):
            if configured:
                group["momentum"] = self.initial_momentum if is_initial else configured
        if not self.layer.base_bias.any():  # they are zeros before the first epoch
            self.set_base_rates(self.layer)

    @property
    def epochs_of_layer(self) -> int:
        """Epochs that the layer has been trained for."""
        return self.current_epoch

    def set_base_rates(self, layer: BoltzmannLayer) -> None:
        """Start a layer from the mean visible states of the training data."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, DataModule):
            layer.set_base_rates(self.mean_states(data))

    @torch.no_grad()
    def mean_states(self, data: DataModule) -> Tensor:
        """The mean visible states (V,) of the training data, over all ranks."""
        dtype = self.layer.weight.dtype
        total = torch.zeros_like(self.layer.visible_bias, dtype=torch.float64)
        count = torch.zeros((), dtype=torch.float64, device=self.device)
        for batch in data.batches("train"):
            x = data.prepared(Batch(*batch).map(lambda t: t.to(self.device))).inputs.to(dtype)
            total += self.inputs(x).double().sum(0)
            count += len(x)
        return (all_reduce_sum(total) / all_reduce_sum(count)).to(dtype)

    def carried_state_mismatch(self, name: str, value: object) -> str | None:
        if name != "chains" or value is None:
            return None
        shape = (self.num_chains, len(self.chained_layer.visible_bias))
        fits = isinstance(value, Tensor) and value.shape == shape and self.num_chains > 0
        return None if fits else f"{shape[0]} chains of {shape[1]} units"

    def param_groups(self) -> ParamsT:
        return self.groups(self.net.parameters())

    def groups(self, parameters: Iterable[Tensor]) -> ParamsT:
        """Weights, and biases, which have no weight decay: section 10 of the guide."""
        every = list(parameters)
        weights, biases = ([p for p in every if (p.ndim > 1) == is_weight] for is_weight in (True, False))
        groups: list[dict[str, object]] = [{"params": weights}, {"params": biases, "weight_decay": 0.0}]
        return groups

    def configure_optimizers(self) -> OptimizersAndSchedules | None:  # type: ignore[override]
        configured = super().configure_optimizers()
        assert configured is not None
        groups = [group for optimizer in configured[0] for group in optimizer.param_groups]
        self.momenta = [group.get("momentum") for group in groups]
        return configured

    # ------------------------------------------------------------------ steps

    def inputs(self, x: Tensor) -> Tensor:
        """Raw inputs of a batch -> (B, V), as the visible units take them."""
        return widen(self.standardize(x)).flatten(1)

    def states(self, batch: Batch, noise: Noise) -> Tensor:
        """The visible states of a batch, (B, V)."""
        return self.inputs(batch.inputs)

    @torch.no_grad()
    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        v = self.states(Batch(*batch), self.noise).to(self.layer.weight.dtype)
        self.update(self.layer, v, batch_idx)
        if self.is_last_of_step(batch_idx):
            self.step_optimizer()

    def update(self, layer: BoltzmannLayer, v: Tensor, batch_idx: int) -> None:
        """Add the gradient of a layer for visible states (B, V)."""
        data = Phase(v, layer.hidden_input(v).sigmoid())
        model = self.model_phase(layer, data)
        per_row, per_sample = -1 / len(v), 1 / len(model.visible)
        samples = model.visible.T @ model.hidden
        weight = torch.addmm(samples, data.visible.T, data.hidden, beta=per_sample, alpha=per_row)
        self.add_gradient(layer.weight, weight, reduction="mean")
        for bias, rows, sampled in (
            (layer.visible_bias, data.visible, model.visible),
            (layer.hidden_bias, data.hidden, model.hidden),
        ):
            gradient = per_row * widen(rows).sum(0) + per_sample * widen(sampled).sum(0)
            self.add_gradient(bias, gradient, reduction="mean")
        if batch_idx % MEASURED == 0:
            error = self.reconstruction_error(layer, data)
            contrast = layer.free_energy(v).mean() - layer.free_energy(model.visible).mean()
            self.log_step(len(v), **{self.error_name: error}, contrast=contrast)

    def reconstruction_error(self, layer: BoltzmannLayer, data: Phase) -> Tensor:
        """The squared error of one reconstruction per visible unit."""
        return (layer.units.mean(layer.visible_input(data.hidden)) - data.visible).square().mean()

    def model_phase(self, layer: BoltzmannLayer, data: Phase) -> Phase:
        """Samples of the model: from the data, or the persistent chains."""
        is_persistent = self.num_chains > 0 and layer is self.chained_layer
        if not is_persistent:
            noise = self.noise
            v = self.visible_states(layer, bernoulli(data.hidden, noise), noise)
            steps = self.num_steps - 1
        else:
            noise = GeneratorNoise(self._shared)  # every rank has all chains
            v = layer.base_sample(self.num_chains, noise) if self.chains is None else self.chains
            steps = self.num_steps
        for _ in range(steps):
            v = self.visible_states(layer, layer.sample_hidden(v, noise), noise)
        if is_persistent:
            self.chains = widen(v)
        return Phase(v, layer.hidden_input(v).sigmoid())

    def visible_states(self, layer: BoltzmannLayer, h: Tensor, noise: Noise) -> Tensor:
        """Visible states (B, V) given hidden ones; states that the data do not have can be masked here."""
        return layer.sample_visible(h, noise) if self.sample_visible else layer.units.mean(layer.visible_input(h))
