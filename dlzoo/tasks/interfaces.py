"""Task interfaces: callbacks, commands and exports access tasks only through these classes.

A task derives from those that it implements; `Task.as_encoder`, `Task.as_predictor`, … then return the task
itself, and None for all others. Images are (B, C, H, W) in [0, 1]; latents are (B, D).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.distributed.collectives import rank_and_world
from dlzoo.distributed.noise import EvalNoise, Noise
from dlzoo.layers.basic import Standardize
from dlzoo.layers.recurrent import State
from dlzoo.nets.base import AssociativeMemory, ConditionalNet, RecurrentNet, SampleNet, TransducerNet
from dlzoo.specs.audio import AudioSpec
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.batch import TensorOrDict
from dlzoo.specs.environments import EnvSpec, StatesSpec
from dlzoo.specs.inputs import ImageSpec, SeriesSpec, TextSpec
from dlzoo.specs.token_sequences import TokenSequences
from dlzoo.tasks.base import Task
from dlzoo.tasks.image_views import Generator, Reconstructor
from dlzoo.tasks.optimization import TaskOptions
from dlzoo.tasks.views import View

EVAL_SEED = 20_140_414
"""Seed of the noise in validation and test: the same in each epoch, so that only the net changes."""


class Predicting(Task):
    """Predicts the target of the data: classes or values.

    ``test_step`` returns a dict with "output", as `outputs` gives it, and "target".
    """

    def as_predictor(self) -> Predicting:
        return self

    @abstractmethod
    def predict(self, inputs: Any) -> TensorOrDict:
        """(B, …) -> (B, K) probabilities of the classes, or (B, D) values; of several targets a dict by name."""

    @abstractmethod
    def outputs(self, inputs: Any) -> TensorOrDict:
        """(B, …) -> (B, K) logits of the classes, or (B, D) values; of several targets a dict by name."""


class Minimizing(Predicting):
    """Learns the target of the data by a loss, which is minimised."""

    def as_minimizer(self) -> Minimizing:
        return self

    @abstractmethod
    def loss(self, outputs: TensorOrDict, target: TensorOrDict, weight: Tensor | None = None) -> Tensor:
        """The mean loss of a batch's outputs, as the net gives them, and targets.

        Args:
            weight: (B,), a factor on each row's loss.
        """


class Forecasting(Predicting):
    """Forecasts series. ``test_step`` returns "history" and "baselines" (a dict of forecasts) as well."""

    spec: SeriesSpec

    def as_forecaster(self) -> Forecasting:
        return self

    @abstractmethod
    def forecast(self, history: Tensor, horizon: int) -> Tensor:
        """(N, D) raw values so far -> (horizon, D), the next ones."""

    quantiles: tuple[float, ...] = ()
    """The levels of the quantiles that it forecasts, in ascending order; empty: it forecasts values alone."""

    def forecast_quantiles(self, history: Tensor, horizon: int) -> Tensor:
        """(N, D) raw values so far -> (horizon, D, Q), the quantiles of the next ones."""
        raise NotImplementedError

    def predict(self, inputs: Tensor) -> Tensor:
        """(N, D) raw values so far -> (H, D), the next ones, up to the spec's horizon."""
        return self.forecast(inputs, self.spec.horizon)

    def outputs(self, inputs: Tensor) -> Tensor:
        return self.predict(inputs)


class Detecting(Task):
    """Finds anomalies in series. ``test_step`` returns "history", "target", "error" and, where they are known,
    "marks"."""

    spec: SeriesSpec

    def as_detector(self) -> Detecting:
        return self

    @property
    @abstractmethod
    def threshold(self) -> float:
        """The error above which a step is an anomaly; NaN before the first validation."""

    @abstractmethod
    def step_errors(self, values: Tensor) -> Tensor:
        """(N, D) raw values -> (N - num_needed,), the errors of all but the first ones."""

    def predict(self, inputs: Tensor) -> Tensor:
        """(N, D) raw values -> (N - num_needed, 2): the error of each step, and 1 for an anomaly, else 0."""
        error = self.step_errors(inputs).double()
        return torch.stack([error, (error > self.threshold).double()], dim=1)


class LanguageModel(Task):
    """Predicts the next token."""

    net_type = RecurrentNet
    spec: TextSpec
    net: RecurrentNet

    def as_language_model(self) -> LanguageModel:
        return self

    @abstractmethod
    def advance(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """(B, T) token ids -> logits (B, T, V) of the token after each, and the state after the last."""

    def predict(self, inputs: Tensor) -> Tensor:
        """(B, T) token ids -> (B, T, V) probabilities of the token after each."""
        return self.advance(inputs)[0].softmax(-1)


class SoundModel(Task):
    """Predicts the level of each sample of a recording from those before it, so that it can generate sound."""

    net_type = SampleNet
    spec: AudioSpec
    net: SampleNet

    def as_sound_model(self) -> SoundModel:
        return self

    def condition(self, labels: Tensor) -> Tensor | None:
        """Labels (B,) -> the condition (B, K) of a net that is given classes; None for others."""
        if not self.net.num_conditions:
            return None
        return F.one_hot(labels, self.net.num_conditions).float()


class Transducing(Task):
    """Reads a sequence of tokens and writes another one.

    ``test_step`` returns a dict with "output", as `predict` gives it, and "target", both (B, T) token ids.
    """

    net_type = TransducerNet
    spec: TextSpec
    net: TransducerNet

    def as_transducer(self) -> Transducing:
        return self

    @property
    def target(self) -> TokenSequences:
        """What it writes."""
        sequences = self.spec.target.token_sequences
        assert sequences is not None
        return sequences

    @property
    def predicted_target(self) -> Target:
        return self.target

    @abstractmethod
    def predict(self, inputs: Tensor) -> Tensor:
        """(B, S) token ids -> (B, T) token ids of the target's vocabulary, each row up to its end, then padding."""


class Decoding(Task):
    """A task whose net turns latents into images, or into rows of a table.

    The random numbers of a training epoch depend only on the run's seed and the epoch, so a resumed run draws
    the same ones.
    """

    spec: ImageSpec
    net_type = ConditionalNet
    net: ConditionalNet

    def __init__(self, net: ConditionalNet, spec: Spec, **options: Unpack[TaskOptions]) -> None:
        super().__init__(net, spec, **options)
        self.eval_noise = EvalNoise(EVAL_SEED)

    @property
    def is_conditional(self) -> bool:
        """Whether the net is conditioned on the class."""
        return self.net.num_conditions > 0

    @abstractmethod
    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """latents: (B, D), labels: (B,) for conditional nets -> images."""

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"decoder": lambda: Generator(self)}

    def condition(self, labels: Tensor | None) -> Tensor | None:
        """Labels (B,), or probabilities (B, K) after mixing -> the condition of a conditional net, (B, K)."""
        if labels is None or not self.is_conditional:
            return None
        return F.one_hot(labels, self.spec.target.num_outputs).float() if labels.ndim == 1 else labels

    def on_validation_epoch_start(self) -> None:
        self.eval_noise = EvalNoise(EVAL_SEED, *rank_and_world())

    def on_test_epoch_start(self) -> None:
        self.on_validation_epoch_start()


class Encoding(Decoding):
    """Encodes images, or the rows of a table, into latents, and decodes latents.

    ``test_step`` returns a dict with "code" (B, D) and "error" (B,), the reconstruction error of each row.
    """

    def as_encoder(self) -> Encoding:
        return self

    @abstractmethod
    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images -> latents (B, D)."""

    def in_units(self, x: Tensor) -> Tensor:
        """Inputs as the net sees them -> those of the data, of tasks whose net gives the former."""
        assert isinstance(self.standardize, Standardize)
        return self.standardize.inverse(x)

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images -> their reconstructions from latents."""
        return self.decode(self.encode(x, labels), labels)

    def predict(self, inputs: Tensor) -> Tensor:
        """Images -> their reconstructions."""
        return self.reconstruct(inputs)

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: Reconstructor(self), **super().export_views()}

    def corrupt(self, x: Tensor, noise: Noise | None = None) -> Tensor:
        """The net's input for x: x itself, unless the task is denoising. Uses the training noise
        by default."""
        return x


class Decomposing(Encoding):
    """Encodes by coordinates along orthogonal components."""

    def as_decomposition(self) -> Decomposing:
        return self

    @property
    @abstractmethod
    def components(self) -> Tensor:
        """(K, F), of inputs as the net sees them, flat."""

    @property
    @abstractmethod
    def variances(self) -> Tensor:
        """(F,), of the training rows along each component in descending order, those that are dropped included."""


class Grouping(Encoding):
    """Groups rows around centroids. Latents are the distances to them, (B, K), and are decoded as the nearest one.

    ``test_step`` returns "cluster" (B,) as well.
    """

    def as_clustering(self) -> Grouping:
        return self

    @property
    @abstractmethod
    def centroids(self) -> Tensor:
        """(K, F), as the net sees inputs, flat."""


class Recalling(Encoding):
    """Stores images, and recalls them from corrupted ones; the latent of an image is the state it is recalled as."""

    net_type = AssociativeMemory
    net: AssociativeMemory
    flip: float
    """The fraction of units whose sign is changed before recall in validation and test."""

    def as_memory(self) -> Recalling:
        return self


class Generating(Decoding):
    """Generates new images from latents: with a standard normal prior, unless a task draws others."""

    latent_dim: int

    has_normal_latents: ClassVar[bool] = True
    """Whether latents have a standard normal prior, so that one may walk between them; if not, `latents` says what
    they are."""

    latents: ClassVar[str] = "drawn from a standard normal distribution"

    is_adversarial: ClassVar[bool] = False
    """Whether training is adversarial, so that losses say little about image quality."""

    def as_generator(self) -> Generating:
        return self

    def draw(self, num: int, seed: int) -> Tensor:
        """Latents (num, D), the same on every device."""
        draw = torch.Generator().manual_seed(seed)
        return torch.randn(num, self.latent_dim, generator=draw, dtype=torch.float32).to(next(self.net.parameters()))

    def sample(self, num: int, seed: int, labels: Tensor | None = None) -> Tensor:
        """New images (num, C, H, W), of the classes ``labels`` (num,) where the net is conditional."""
        return self.decode(self.draw(num, seed), labels)


class GibbsSampling(Generating):
    """Generates images by Gibbs chains, whose hidden states are the latents."""

    has_normal_latents: ClassVar[bool] = False
    latents: ClassVar[str] = "states of the hidden units, 0 or 1, or their probabilities"

    def as_gibbs_sampler(self) -> GibbsSampling:
        return self

    @abstractmethod
    def filters(self) -> Tensor:
        """The weights of each unit of the first hidden layer, (H, C, H, W)."""

    @abstractmethod
    def gibbs_chains(self, x: Tensor, seed: int) -> Iterator[Tensor]:
        """Gibbs chains that start from images: their mean images after each step, without an end."""


class EnergyBased(Generating):
    """A distribution over black-and-white images by the energy of binary units, some of them hidden."""

    has_normal_latents = False

    def as_energy_model(self) -> EnergyBased:
        return self

    @abstractmethod
    def image_probabilities(self) -> Tensor | None:
        """P of each image (2^V,) float64, in binary order of their V pixels; None if there are too many."""

    @abstractmethod
    def image_numbers(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) -> their places (B,) in that order."""

    @abstractmethod
    def interactions(self) -> Tensor:
        """The weights between units (N, N), visible ones first."""


class WordVectors(Task):
    """Has a vector for each word of a vocabulary."""

    spec: TextSpec

    def as_word_vectors(self) -> WordVectors:
        return self

    @property
    @abstractmethod
    def vectors(self) -> Tensor:
        """(V, D), in the order of the spec's vocabulary."""


class Acting(Task):
    """An agent."""

    spec: EnvSpec | StatesSpec

    rng: np.random.Generator
    """Generator of its random actions; evaluation outside of training must restore its state."""

    check_signals: Callable[[], None] | None = None
    """Called before each step of an evaluation, whose episodes may take long; it raises to end the run."""

    def as_agent(self) -> Acting:
        return self

    @abstractmethod
    def greedy(self, observations: np.ndarray) -> np.ndarray:
        """Raw observations (N, …) -> greedy actions (N,), for evaluation."""

    def play(self, observations: np.ndarray) -> np.ndarray:
        """`greedy`, unless a signal has asked the run to stop."""
        if self.check_signals is not None:
            self.check_signals()
        return self.greedy(observations)

    def predict(self, inputs: Tensor) -> Tensor:
        """Observations (N, …) -> greedy actions (N,)."""
        return torch.from_numpy(self.greedy(inputs.cpu().numpy()))
