"""What tasks that make pictures promise, so that callbacks and commands need not know how each of them learns.

Pictures are (B, C, H, W) in [0, 1]; codes, also called latents, are (B, D).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.distributed.collectives import rank_and_world
from dlzoo.distributed.noise import EvalNoise, Noise
from dlzoo.nets.base import ConditionalNet
from dlzoo.specs.inputs import ImageSpec
from dlzoo.tasks.base import Task

EVAL_SEED = 20_140_414
"""Of the noise in validation and test: the same in each epoch, so that only the net changes."""


class PictureTask(Task):
    """A task whose net makes pictures from codes.

    What training draws at random in an epoch depends on the run's seed and the epoch alone, so a run that was
    continued draws what it would have drawn.
    """

    spec: ImageSpec
    net_type = ConditionalNet
    net: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.eval_noise = EvalNoise(EVAL_SEED)

    @property
    def is_conditional(self) -> bool:
        """Whether the net is told the class."""
        return self.net.num_conditions > 0

    @abstractmethod
    def decode(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """codes: (B, D), labels: (B,) for conditional nets -> pictures."""

    def condition(self, labels: Tensor | None) -> Tensor | None:
        """Labels (B,), or probabilities (B, K) after mixing -> what a conditional net is told, (B, K)."""
        if labels is None or not self.is_conditional:
            return None
        return F.one_hot(labels, self.spec.target.num_outputs).float() if labels.ndim == 1 else labels

    def problems(self) -> Iterator[str]:
        """What goes wrong, each with its remedy; asked after each epoch of training and after a test."""
        yield from ()

    def on_validation_epoch_start(self) -> None:
        self.eval_noise = EvalNoise(EVAL_SEED, *rank_and_world())

    def on_test_epoch_start(self) -> None:
        self.on_validation_epoch_start()


class Encoding(PictureTask):
    """It turns pictures into codes, and codes back into pictures."""

    @abstractmethod
    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Pictures -> codes (B, D)."""

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Pictures -> what their codes say."""
        return self.decode(self.encode(x, labels), labels)

    def corrupt(self, x: Tensor, noise: Noise | None = None) -> Tensor:
        """What the net is given in place of x: x itself, unless it learns to clean pictures. The noise of training
        unless given."""
        return x


class Generating(PictureTask):
    """It makes new pictures from codes drawn from a standard normal distribution."""

    latent_dim: int

    def draw(self, num: int, seed: int) -> Tensor:
        """Codes (num, D), the same on every device."""
        draw = torch.Generator().manual_seed(seed)
        return torch.randn(num, self.latent_dim, generator=draw, dtype=torch.float32).to(next(self.net.parameters()))
