"""Task interfaces: callbacks, commands and exports access tasks only through these classes.

A task derives from those that it implements; `Task.as_encoder`, `Task.as_predictor`, … then return the task
itself, and None for all others. Images are (B, C, H, W) in [0, 1]; latents are (B, D).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.distributed.collectives import rank_and_world
from dlzoo.distributed.noise import EvalNoise, Noise
from dlzoo.layers.recurrent import State
from dlzoo.nets.base import ConditionalNet, RecurrentNet
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import TensorOrDict
from dlzoo.specs.environments import EnvSpec, StatesSpec
from dlzoo.specs.inputs import ImageSpec, SeriesSpec, TextSpec
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


class Forecasting(Predicting):
    """Forecasts series. ``test_step`` returns "history" and "baselines" (a dict of forecasts) as well."""

    spec: SeriesSpec

    def as_forecaster(self) -> Forecasting:
        return self

    @abstractmethod
    def forecast(self, history: Tensor, horizon: int) -> Tensor:
        """(N, D) raw values so far -> (horizon, D), the next ones."""

    def predict(self, inputs: Tensor) -> Tensor:
        """(N, D) raw values so far -> (H, D), the next ones, up to the spec's horizon."""
        return self.forecast(inputs, self.spec.horizon)

    def outputs(self, inputs: Tensor) -> Tensor:
        return self.predict(inputs)


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


class Decoding(Task):
    """A task whose net turns latents into images.

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
    """Encodes images into latents, and decodes latents into images.

    ``test_step`` returns a dict with "code" (B, D) and "error" (B,), the reconstruction error of each image.
    """

    def as_encoder(self) -> Encoding:
        return self

    @abstractmethod
    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images -> latents (B, D)."""

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


class Generating(Decoding):
    """Generates new images from latents with a standard normal prior."""

    latent_dim: int

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
