"""Restricted Boltzmann machines of images: what contrastive divergence has learnt, measured and sampled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric

from dlzoo.data.base import DataModule
from dlzoo.distributed.collectives import all_reduce_sum, rank_and_world
from dlzoo.distributed.noise import EvalNoise, GeneratorNoise, Noise
from dlzoo.errors import SpecError, UserError, between
from dlzoo.layers.basic import Standardize
from dlzoo.layers.boltzmann import BoltzmannLayer
from dlzoo.losses.functional import widen
from dlzoo.metrics.partition import is_enumerable, log_partition
from dlzoo.nets.base import BoltzmannNet
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.tasks.contrastive import MAX_SAMPLE_STEPS, ContrastiveDivergence
from dlzoo.tasks.interfaces import EVAL_SEED, Encoding, GibbsSampling

COMPARED = 2000
"""Training rows whose free energy is compared with that of the validation rows."""
FLIPPED = 4
"""Pixels per row that the pseudo-likelihood is estimated from."""
MAX_ANNEALED = 2_000_000
"""Gibbs steps of annealed chains in a test; Salakhutdinov and Murray took 1,450,000 (14,500 for each of 100)."""
MAX_ANNEALED_PRODUCTS = 2**40
"""Multiplications of weights in them; the two took 568 billion."""
MAX_BETAS = 100_000
"""A step takes a tenth of a millisecond even of the smallest machine."""


class RestrictedBoltzmann(ContrastiveDivergence, Encoding, GibbsSampling):
    """Contrastive divergence on images, which it encodes as probabilities of the hidden units.

    Metrics: loss, the squared error of one reconstruction per visible unit; in validation free_energy_gap, the mean
    free energy of validation rows minus that of training rows, which rises when the machine overfits (section 16 of the
    guide); with binary pixels pseudo_likelihood, the sum over pixels of the log-probability of each given the others,
    in nats, estimated from a few pixels a row. In the test also mse, of images and their reconstructions; log_z; and
    log_likelihood per image in nats, with log_likelihood_low and log_likelihood_high three standard errors of Z away:
    exact for at most 20 hidden units, else by annealed importance sampling. With Gaussian units it is a log-density of
    standardised pixels.

    Args:
        binarize: dynamic samples each pixel as 0 or 1 with its brightness as the probability, each time in training and
            once in validation and test; none takes pixels as they are.
        num_betas: temperatures of annealed importance sampling; 14,500 in Salakhutdinov and Murray, 2008.
        num_ais_chains: its chains.
        sample_steps: Gibbs steps to a sample, from the base rates with a falling temperature.
    """

    net_type = BoltzmannNet
    net: BoltzmannNet

    def __init__(
        self,
        net: BoltzmannNet,
        spec: Spec,
        *,
        binarize: Literal["none", "dynamic"] | None = None,
        num_betas: int = 1000,
        num_ais_chains: int = 100,
        sample_steps: int = 500,
        **options: Any,
    ) -> None:
        super().__init__(net, spec, **options)
        between(3, MAX_BETAS, "task", num_betas=num_betas)
        between(2, 1_000_000, "task", num_ais_chains=num_ais_chains)
        between(1, MAX_SAMPLE_STEPS, "task", sample_steps=sample_steps)
        most = min(MAX_ANNEALED, max(1, MAX_ANNEALED_PRODUCTS // self.layer.weight.numel()))
        if not is_enumerable(self.layer) and num_betas * num_ais_chains > most:
            raise UserError(  # a checkpoint of a stranger's sets them too
                f"task.num_betas={num_betas} times task.num_ais_chains={num_ais_chains} must be {most:,} or less: each "
                f"is a Gibbs step of a chain, of {self.layer.weight.numel():,} weights"
            )
        is_binary = self.layer.units.is_binary
        if binarize == "dynamic" and not is_binary:
            raise UserError("task.binarize=dynamic makes pixels binary, but net.visible=gaussian; omit it")
        self.binarize = ("dynamic" if is_binary else "none") if binarize is None else binarize
        self.num_betas = num_betas
        self.num_ais_chains = num_ais_chains
        self.sample_steps = sample_steps
        self.latent_dim = self.layer.num_hidden
        if self.binarize == "dynamic":
            self.monitor = ("val/pseudo_likelihood", "max")
        self.means: Any = nn.ModuleDict(
            {name: MeanMetric(nan_strategy="disable") for name in ("loss", "mse", "free_energy", "pseudo_likelihood")}
        )
        self.compared: Tensor | None = None
        """(N, V): states of some training rows."""

    @property
    def layer(self) -> BoltzmannLayer:
        return self.net.layer

    def setup_trainer(self, trainer: pl.Trainer) -> None:
        super().setup_trainer(trainer)
        if not self.layer.units.is_binary and not self.spec.mean:
            raise SpecError("net.visible=gaussian needs pixels of mean 0 and variance 1: set data.standardize=true")

    # ------------------------------------------------------------------ data

    def states(self, batch: Batch, noise: Noise) -> Tensor:
        return self.pixels(batch.inputs, noise)

    def pixels(self, x: Tensor, noise: Noise) -> Tensor:
        """Images -> visible states (B, V): their pixels, sampled as 0 or 1, or standardised."""
        if self.binarize == "dynamic":
            x = (noise.uniform(x.shape, x.device) < x).to(x.dtype)
        return self.inputs(x)

    def compared_rows(self) -> Tensor | None:
        """This rank's part of the training rows that validation rows are compared with."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if self.compared is None and isinstance(data, DataModule):
            rank, world = rank_and_world()
            noise, parts, num = EvalNoise(EVAL_SEED + 1, rank, world), [], 0
            for batch in data.batches("train"):
                x = data.prepared(Batch(*batch).map(lambda t: t.to(self.device))).inputs[: COMPARED // world - num]
                parts.append(self.pixels(x.to(self.layer.weight.dtype), noise.of_next(len(x))))
                num += len(x)
                if num >= COMPARED // world:
                    break
            self.compared = torch.cat(parts)
        return self.compared

    # ------------------------------------------------------------------ evaluation

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        x = batch[0]
        noise = self.eval_noise.of_next(len(x))
        v = self.pixels(x, noise)
        with torch.autocast(self.device.type, enabled=False):
            hidden_input = self.layer.hidden_input(v)
            mean = self.layer.units.mean(self.layer.visible_input(hidden_input.sigmoid()))
            self.means["loss"].update((mean - v).square().mean(1))
            self.means["free_energy"].update(self.layer.free_energy(v))
            if self.binarize == "dynamic":
                self.means["pseudo_likelihood"].update(pseudo_likelihood(self.layer, v, hidden_input, noise))

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        self.validation_step(batch, batch_idx)
        x = batch[0]
        latents = self.encode(x)
        error = (self.decode(latents) - x).square().flatten(1).mean(1)
        self.means["mse"].update(error)
        return {"code": latents, "error": error}

    def log_split(self, split: str) -> None:
        values = {"loss": self.means["loss"].compute()}
        free_energy = self.means["free_energy"].compute()
        if self.binarize == "dynamic":
            values["pseudo_likelihood"] = self.means["pseudo_likelihood"].compute()
        if split == "val" and (rows := self.compared_rows()) is not None:
            sums = torch.stack([self.layer.free_energy(rows).sum(), free_energy.new_tensor(float(len(rows)))])
            total, count = all_reduce_sum(sums)
            values["free_energy_gap"] = free_energy - total / count
        if split == "test":
            values |= {"mse": self.means["mse"].compute(), **self.likelihood(float(free_energy))}
        self.log_dict({f"{split}/{name}": value for name, value in values.items()})
        for metric in self.means.values():
            metric.reset()

    def likelihood(self, free_energy: float) -> dict[str, Tensor]:
        """log Z, and the log-likelihood of rows with this mean free energy, with its interval."""
        z = log_partition(self.layer, num_chains=self.num_ais_chains, num_betas=self.num_betas, seed=EVAL_SEED)
        values = {
            "log_z": z.value,
            "log_likelihood": -free_energy - z.value,
            "log_likelihood_low": -free_energy - z.high,
            "log_likelihood_high": -free_energy - z.low,
        }
        return {name: torch.tensor(value) for name, value in values.items()}

    def diagnostics(self) -> Iterator[str]:
        yield from super().diagnostics()
        if self.trainer.testing and self.trainer.callback_metrics.get("test/log_likelihood_high") == torch.inf:
            yield (
                "annealed importance sampling found no upper limit of the log-likelihood: a few chains carry all the "
                f"weight; raise task.num_betas={self.num_betas} or task.num_ais_chains={self.num_ais_chains}"
            )

    # ------------------------------------------------------------------ images

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images -> probabilities of the hidden units, (B, num_hidden)."""
        return widen(self.layer.hidden_input(self.inputs(x))).sigmoid()

    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """States or probabilities of the hidden units (B, num_hidden) -> mean images."""
        return self.images(self.layer.units.mean(self.layer.visible_input(latents)))

    def images(self, v: Tensor) -> Tensor:
        """Visible states (B, V) -> images in [0, 1]."""
        assert isinstance(self.standardize, Standardize)
        return self.standardize.inverse(widen(v).view(-1, *self.spec.shape)).clamp(0, 1)

    def draw(self, num: int, seed: int) -> Tensor:
        """Random states of the hidden units, (num, num_hidden)."""
        noise = GeneratorNoise(torch.Generator(self.device).manual_seed(seed))
        with torch.no_grad():
            v = self.layer.annealed_sample(num, self.sample_steps, noise)
            return self.layer.sample_hidden(v, noise)

    def filters(self) -> Tensor:
        return self.layer.weight.T.reshape(-1, *self.spec.shape)

    def gibbs_chains(self, x: Tensor, seed: int) -> Iterator[Tensor]:
        noise = GeneratorNoise(torch.Generator(self.device).manual_seed(seed))
        v = self.pixels(x, noise)
        while True:
            inputs = self.layer.visible_input(self.layer.sample_hidden(v, noise))
            v = self.layer.units.sample(inputs, noise)
            yield self.images(self.layer.units.mean(inputs))


def pseudo_likelihood(layer: BoltzmannLayer, v: Tensor, hidden_input: Tensor, noise: Noise) -> Tensor:
    """The sum over the binary visible units of log P(unit | the others), (B,), estimated from `FLIPPED` random ones a
    row (J. Besag, 1975)."""
    num = v.shape[1]
    total = torch.zeros(len(v), dtype=v.dtype, device=v.device)
    rest = F.softplus(hidden_input).sum(1)
    for unit in (noise.uniform((len(v), FLIPPED), v.device) * num).long().clamp(max=num - 1).T:
        change = 1 - 2 * v.gather(1, unit[:, None])
        flipped = F.softplus(hidden_input + change * layer.weight[unit]).sum(1)
        loss = (
            flipped - rest + change[:, 0] * layer.visible_bias[unit]
        )  # free energy of v minus that of the flipped row
        total += F.logsigmoid(-loss)
    return total * num / FLIPPED
