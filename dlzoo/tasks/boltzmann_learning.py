"""Learning of Boltzmann machines: the weights follow what units do together when they see data, minus what they do when
they do not.

D. H. Ackley, G. E. Hinton, T. J. Sejnowski, 1985: the gradient of the log-likelihood with respect to w_ij is
<s_i s_j> with the visible units clamped to data, minus <s_i s_j> of the free machine. Both are computed exactly, by
enumeration of all states, or sampled by simulated annealing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.distributed.collectives import gather_rows
from dlzoo.distributed.noise import GeneratorNoise, Noise
from dlzoo.errors import UserError, between
from dlzoo.losses.functional import widen
from dlzoo.nets.boltzmann_machine import MAX_EXACT, MAX_SWEEPS, BoltzmannMachine, check_temperatures, numbers
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.tasks.interfaces import EnergyBased
from dlzoo.tasks.manual import ManualTask
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.views import View

ANNEALING = (2.0, 2.0, 1.5, 1.5, 1.2, 1.2, 1.0, 1.0, 1.0, 1.0)
"""Of the encoder problem in the paper, divided by its last temperature."""
CLAMPING_NOISE = (0.15, 0.05)
"""The probabilities in the paper that a unit that is on is clamped off, and one that is off is clamped on."""


class BoltzmannLearning(ManualTask, EnergyBased):
    """For Boltzmann machines. Metrics, in nats per image: of up to 16 units, whose states can be enumerated, loss is
    nll, the exact negative log-likelihood; kl the divergence of the machine from the distribution of the images, nll
    minus their entropy; codes, in the test, how many different hidden states are the most probable ones of the images.
    Of more units loss is the cross-entropy of the visible units, each given all others (see the net). Baseline:
    kl_independent, of independent units with the means of the test images.

    Args:
        statistics: ``exact`` enumerates all states, of up to 16 units; ``sampled`` draws them.
        annealing: temperatures of the sweeps that bring the machine into equilibrium, for sampled statistics and for
            samples.
        num_sweeps: further sweeps, over which sampled statistics are averaged, and before samples are taken.
        noisy_clamping: flip visible units at random in the clamped phase, as in the paper, so that weights stay small.
        fixed_steps: the gradient's sign in its place, as in the paper: each weight changes by the learning rate.
        temperature: of samples, after annealing.
    """

    net_type = BoltzmannMachine
    net: BoltzmannMachine
    monitor = ("val/loss", "min")

    def __init__(
        self,
        net: BoltzmannMachine,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        statistics: Literal["exact", "sampled"] = "exact",
        annealing: Sequence[float] = ANNEALING,
        num_sweeps: int = 10,
        noisy_clamping: bool = False,
        fixed_steps: bool = False,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        between(1, MAX_SWEEPS, "task", num_sweeps=num_sweeps)
        check_temperatures("task.annealing", annealing)
        check_temperatures("task.temperature", [temperature])
        if statistics == "exact" and not net.is_exact:
            raise UserError(
                f"task.statistics=exact enumerates the states of at most {MAX_EXACT} units, but this machine has "
                f"{net.num_visible} visible and {net.num_hidden} hidden ones: use task.statistics=sampled, smaller "
                "images, or a lower net.num_hidden"
            )
        self.is_exact = statistics == "exact"
        self.annealing = tuple(annealing)
        self.num_sweeps = num_sweeps
        self.noisy_clamping = noisy_clamping
        self.fixed_steps = fixed_steps
        self.temperature = temperature
        self.latent_dim = net.num_units
        self.seen: list[Tensor] = []
        """Visible states of this rank in a validation or test, (B, V) each."""

    def setup_trainer(self, trainer: pl.Trainer) -> None:
        super().setup_trainer(trainer)
        if str(trainer.precision).startswith("16"):
            raise UserError(
                f"trainer.precision={trainer.precision} scales the loss, but {type(self).__name__} computes its "
                "gradients without one: use bf16-mixed or 32-true"
            )

    # ------------------------------------------------------------------ learning

    @torch.no_grad()
    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        x = batch[0]
        visible = self.net.visible(x)
        self.log_step(len(x), loss=self.losses(visible, x).mean())
        clamped = self.clamped(visible, self.noise)
        with torch.autocast(self.device.type, enabled=False):  # sums over many rows need full precision
            phases = self.exact_phases(clamped) if self.is_exact else self.sampled_phases(clamped, self.noise)
        self.add_statistics(*phases, x.new_tensor(float(len(x))))
        if self.is_last_of_step(batch_idx):
            self.step()

    def clamped(self, visible: Tensor, noise: Noise) -> Tensor:
        """Visible states, some of whose units are flipped if clamping is noisy."""
        if not self.noisy_clamping:
            return visible
        chance = noise.uniform(visible.shape, visible.device, visible.dtype)
        off, on = CLAMPING_NOISE
        return torch.where(visible > 0, chance >= off, chance < on).to(visible.dtype)

    def exact_phases(self, visible: Tensor) -> tuple[Tensor, ...]:
        """Sums over the rows (B, V) of s_i s_j (N, N) and s_i (N,), expected with the visible units clamped, then of
        the free machine."""
        joint = self.net.log_probabilities()
        data = torch.zeros(len(joint), dtype=joint.dtype, device=joint.device)
        data.index_add_(0, numbers(visible), torch.ones(len(visible), dtype=joint.dtype, device=joint.device))
        clamped = data[:, None] * (joint - joint.logsumexp(1, keepdim=True)).exp()
        free = len(visible) * joint.exp()
        return (*self.net.moments(clamped.flatten()), *self.net.moments(free.flatten()))

    def sampled_phases(self, visible: Tensor, noise: Noise) -> tuple[Tensor, ...]:
        """The same, from as many annealed chains as there are rows in each phase."""
        sums: list[Tensor] = []
        for is_clamped in (True, False):
            state = self.random_states(len(visible), noise)
            if is_clamped:
                state[:, : self.net.num_visible] = visible
            pairs, means = torch.zeros_like(self.net.weight), torch.zeros_like(self.net.bias)
            sweeps = self.net.gibbs(state, (*self.annealing, *[1.0] * self.num_sweeps), noise, clamped=is_clamped)
            for number, after in enumerate(sweeps):
                if number >= len(self.annealing):
                    pairs += after.T @ after / self.num_sweeps
                    means += after.sum(0) / self.num_sweeps
            sums += [pairs, means]
        return tuple(sums)

    def random_states(self, num: int, noise: Noise) -> Tensor:
        chance = noise.uniform((num, self.net.num_units), self.device, self.net.weight.dtype)
        return (chance < 0.5).to(chance.dtype)

    def step(self) -> None:
        """Climb the log-likelihood by the statistics of the step."""
        if (totals := self.total_statistics()) is None:
            return
        pairs, means, free_pairs, free_means, count = totals
        net = self.net
        for parameter, gradient in (
            (net.weight, (free_pairs - pairs) / count * net.mask),
            (net.bias, (free_means - means) / count),
        ):
            parameter.grad = (gradient.sign() if self.fixed_steps else gradient).to(parameter.dtype)
        self.step_optimizer()

    # ------------------------------------------------------------------ evaluation

    def losses(self, visible: Tensor, x: Tensor) -> Tensor:
        """(B,), in nats: exact where states can be enumerated."""
        if self.net.is_exact:
            return -self.net.log_likelihood(visible).to(visible.dtype)
        chances = widen(self.net(x)).clamp(1e-6, 1 - 1e-6)
        return F.binary_cross_entropy(chances, visible.to(chances.dtype), reduction="none").sum(1)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        x = batch[0]
        visible = self.net.visible(x)
        self.seen.append(torch.cat([visible, self.losses(visible, x)[:, None]], 1))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def log_split(self, split: str) -> None:
        rows, self.seen = gather_rows(torch.cat(self.seen)).double(), []
        visible, loss = rows[:, :-1], rows[:, -1].mean()
        values = {"loss": loss}
        if self.net.is_exact:
            entropy = empirical_entropy(visible)
            values |= {"nll": loss, "kl": loss - entropy}
            if split == "test":
                values["codes"] = self.codes(visible).unique().numel() * torch.ones(())
                self.log("baseline/kl_independent", (independent_entropy(visible) - entropy).float())
        self.log_dict({f"{split}/{name}": value.float() for name, value in values.items()})

    def codes(self, visible: Tensor) -> Tensor:
        """Visible states (B, V) -> the most probable state of the hidden units of each, as its number (B,)."""
        return self.net.log_probabilities()[numbers(visible)].argmax(1)

    def diagnostics(self) -> Iterator[str]:
        yield from super().diagnostics()
        largest = float(self.net.weight.detach().abs().max())
        if largest > 30 and self.trainer.testing:
            yield (
                f"the largest weight is {largest:.0f}: some states have no probability at all, and sampling hardly "
                "moves between the others; use task.noisy_clamping=true or optimizer.weight_decay=1e-3"
            )

    # ------------------------------------------------------------------ samples

    def draw(self, num: int, seed: int) -> Tensor:
        """Random states of all units (num, N), the same on every device."""
        noise = GeneratorNoise(torch.Generator().manual_seed(seed))
        return (noise.uniform((num, self.latent_dim), torch.device("cpu")) < 0.5).to(self.net.weight)

    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """States (B, N) -> the images that they end in when they are annealed."""
        return self.annealed(latents, seed=0)

    def sample(self, num: int, seed: int, labels: Tensor | None = None) -> Tensor:
        return self.annealed(self.draw(num, seed), seed=seed)

    def annealed(self, states: Tensor, seed: int) -> Tensor:
        """Images (B, C, H, W), of states (B, N) that are sampled while the temperature falls."""
        noise = CPUNoise(torch.Generator().manual_seed(seed + 1))
        factors = (*self.annealing, *[1.0] * self.num_sweeps)
        *_, last = self.net.gibbs(states, [self.temperature * factor for factor in factors], noise)
        return last[:, : self.net.num_visible].reshape(-1, *self.spec.shape)

    # ------------------------------------------------------------------ for reports

    def image_probabilities(self) -> Tensor | None:
        if not self.net.is_exact:
            return None
        return self.net.log_probabilities(self.temperature).logsumexp(1).exp()

    def image_numbers(self, images: Tensor) -> Tensor:
        return numbers(self.net.visible(images))

    def interactions(self) -> Tensor:
        return self.net.weight.detach()

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        raise UserError(
            "a Boltzmann machine's images are samples of a chain that draws random numbers in each step, which an "
            "exported file cannot: there is nothing to export; draw images by dlzoo sample"
        )


class CPUNoise(GeneratorNoise):
    """Draws on the CPU, so that numbers are the same on every device."""

    def uniform(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        return super().uniform(shape, torch.device("cpu"), dtype).to(device)


def empirical_entropy(states: Tensor) -> Tensor:
    """Of the rows (N, V), in nats."""
    counts = states.unique(dim=0, return_counts=True)[1].double()
    return torch.special.entr(counts / len(states)).sum()


def independent_entropy(states: Tensor) -> Tensor:
    """The negative log-likelihood of rows (N, V) under independent units with their means, in nats per row."""
    means = states.double().mean(0)
    return (torch.special.entr(means) + torch.special.entr(1 - means)).sum()
