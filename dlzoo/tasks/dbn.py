"""Deep belief networks: contrastive divergence layer by layer, then back-propagation as a classifier.

G. E. Hinton, R. R. Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 313, 2006.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from dlzoo.distributed.noise import GeneratorNoise
from dlzoo.errors import at_least, between
from dlzoo.layers.boltzmann import BoltzmannLayer
from dlzoo.layers.visible_units import bernoulli
from dlzoo.losses.functional import widen
from dlzoo.nets.dbn import DeepBeliefNet
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.tasks.contrastive import MAX_SAMPLE_STEPS, ContrastiveDivergence
from dlzoo.tasks.image_views import Generator
from dlzoo.tasks.interfaces import GibbsSampling
from dlzoo.tasks.manual import Part
from dlzoo.tasks.prediction_view import Predictor
from dlzoo.tasks.supervised import Classification
from dlzoo.tasks.views import View


class DeepBelief(ContrastiveDivergence, Classification, GibbsSampling):  # type: ignore[misc]  # as in UnitRule
    """Trains the machines of a `DeepBeliefNet` from the lowest to the highest, each on the probabilities of the hidden
    units below, and then the classifier, which starts from their weights.

    Which machine is trained depends only on the epoch, so a run can be resumed. Validation always measures the
    classifier, so that its metrics mean little before its epochs. Images are samples of the highest machine, passed
    down. Each machine and the classifier have an optimizer, whose schedule spans their epochs.

    Args:
        pretrain_epochs: epochs of each machine; the rest of trainer.max_epochs trains the classifier. 0: it starts from
            random weights, plain back-propagation.
        pretrain_lr: learning rate of the machines; null: that of the optimizer.
        num_chains: persistent chains of the highest machine, whose samples the images are; it then learns from sampled
            states of the units below. The others learn by chains from the data, which suffice for features. 0: so does
            the highest, and its samples fade.
        chains_lr: learning rate of the highest machine, where persistent chains have to keep up with it; null: that of
            the optimizer.
        sample_steps: Gibbs steps to a sample of the highest machine, from the base rates. They are not annealed: a
            falling temperature leaves nearly all chains in one faint mean image.
    """

    net_type = DeepBeliefNet
    net: DeepBeliefNet
    has_parts = True
    error_name: ClassVar[str] = "reconstruction"

    def __init__(
        self,
        net: DeepBeliefNet,
        spec: Spec,
        *,
        pretrain_epochs: int = 2,
        pretrain_lr: float | None = 0.1,
        num_chains: int = 100,
        chains_lr: float | None = 0.02,
        sample_steps: int = 1000,
        **options: Any,
    ) -> None:
        super().__init__(net, spec, num_chains=num_chains, **options)
        at_least(0, "task", pretrain_epochs=pretrain_epochs)
        between(1, MAX_SAMPLE_STEPS, "task", sample_steps=sample_steps)
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_lr = pretrain_lr
        self.chains_lr = chains_lr
        self.sample_steps = sample_steps
        self.latent_dim = self.top.num_hidden

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        uses = super().option_uses()
        has_machines = self.pretrain_epochs > 0, "task.pretrain_epochs above 0"
        uses["chains_lr"] = has_machines[0] and self.num_chains > 0, "task.num_chains and task.pretrain_epochs above 0"
        return uses | dict.fromkeys(("pretrain_lr", "num_steps", "num_chains", "sample_visible"), has_machines)

    # ------------------------------------------------------------------ stages

    @property
    def stage(self) -> int:
        """Index of the machine being trained; the number of machines once the classifier is."""
        num = len(self.net.machines)
        return min(self.current_epoch // self.pretrain_epochs, num) if self.pretrain_epochs else num

    @property
    def is_pretraining(self) -> bool:
        return self.stage < len(self.net.machines)

    @property
    def layer(self) -> BoltzmannLayer:
        return self.net.boltzmann_layers[min(self.stage, len(self.net.machines) - 1)]

    @property
    def top(self) -> BoltzmannLayer:
        return self.net.boltzmann_layers[-1]

    @property
    def chained_layer(self) -> BoltzmannLayer:
        return self.top

    @property
    def epochs_of_layer(self) -> int:
        return self.current_epoch - self.stage * self.pretrain_epochs

    @property
    def learning_rate(self) -> float:
        return float(self.trainer.optimizers[self.stage].param_groups[0]["lr"])

    def parts(self) -> list[Part]:
        machines = []
        for machine in self.net.boltzmann_layers:
            lr = self.chains_lr if self.num_chains and machine is self.top else self.pretrain_lr
            changes = {} if lr is None else {"lr": lr}
            machines.append(Part(self.groups(machine.parameters()), changes, epochs=self.pretrain_epochs))
        num_before = self.pretrain_epochs * len(machines)
        rest = None if self.trainer.max_epochs in (None, -1) else max(1, (self.trainer.max_epochs or 0) - num_before)
        classifier = [*self.net.hidden.parameters(), *self.net.output.parameters()]
        return [*machines, Part(classifier, epochs=rest)]

    def on_train_epoch_start(self) -> None:
        self.train_means.clear()  # each stage has its own
        super().on_train_epoch_start()
        if self.pretrain_epochs and self.current_epoch == self.pretrain_epochs * len(self.net.machines):
            self.net.initialise_classifier()

    def inputs(self, x: Tensor) -> Tensor:
        """Images -> the probabilities of the units that the machine in training is on, (B, V)."""
        return self.net.up(super().inputs(x), min(self.stage, len(self.net.machines) - 1))

    @torch.no_grad()
    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        stage = self.stage
        if self.is_pretraining:
            v = self.states(Batch(*batch), self.noise)
            if self.num_chains and self.layer is self.top:
                v = bernoulli(v, self.noise)  # else the chains, whose states are 0 or 1, could not be alike
            self.update(self.layer, v, batch_idx)
        else:
            self.add_gradient_of_loss(Batch(*batch))
        if self.is_last_of_step(batch_idx):
            self.step_optimizer(stage)

    def add_gradient_of_loss(self, batch: Batch) -> None:
        """Back-propagation through the classifier."""
        x, target, weight = batch
        with torch.enable_grad():
            outputs = self(x)
            loss = self.loss(outputs, target, weight)
            parameters = [*self.net.hidden.parameters(), *self.net.output.parameters()]
            gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            self.add_gradient(parameter, gradient, reduction="mean")
        self.log_step(self.weight_of(target, weight), loss=loss)
        self.log_step(len(target), **self.objective.train_measures(outputs, target))

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        if self.is_pretraining:  # an untrained classifier predicts one class
            self.heads[0].num_constant = 0

    def diagnostics(self) -> Iterator[str]:
        needed = self.pretrain_epochs * len(self.net.machines)
        if not self.is_pretraining:
            yield from super().diagnostics()
        elif 0 <= (self.trainer.max_epochs or -1) <= needed:
            yield (
                f"the classifier is never trained: pretraining takes {needed} epochs, and trainer.max_epochs is "
                f"{self.trainer.max_epochs}; raise it, or lower task.pretrain_epochs={self.pretrain_epochs}"
            )

    # ------------------------------------------------------------------ images

    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """States of the highest hidden units (B, H) -> images."""
        return widen(self.net.down(latents)).view(-1, *self.spec.shape)

    def draw(self, num: int, seed: int) -> Tensor:
        """Random states of the highest hidden units, (num, H)."""
        noise = GeneratorNoise(torch.Generator(self.device).manual_seed(seed))
        with torch.no_grad():
            v = self.top.base_sample(num, noise)
            for _ in range(self.sample_steps):
                v = self.top.sample_visible(self.top.sample_hidden(v, noise), noise)
            return self.top.sample_hidden(v, noise)

    def filters(self) -> Tensor:
        return self.net.boltzmann_layers[0].weight.T.reshape(-1, *self.spec.shape)

    def gibbs_chains(self, x: Tensor, seed: int) -> Iterator[Tensor]:
        """Of the highest machine, passed down."""
        noise = GeneratorNoise(torch.Generator(self.device).manual_seed(seed))
        v = self.net.up(x.flatten(1), len(self.net.machines) - 1)
        while True:
            h = self.top.sample_hidden(v, noise)
            v = self.top.sample_visible(h, noise)
            yield self.decode(h)

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: Predictor(self), "decoder": lambda: Generator(self)}
