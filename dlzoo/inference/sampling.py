"""Draw tokens, or levels of sound, from what a net predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlzoo.config.introspection import check_number
from dlzoo.errors import UserError, at_least

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to draw.

    Args:
        temperature: 0: always the most likely token.
        top_k: sample from the k most likely tokens.
        top_p: of these, from the fewest most likely ones that have this probability together, at the temperature
            (A. Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020).
        seed: of the random numbers.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise UserError(f"temperature={self.temperature} must be at least 0, which always picks the most likely")
        at_least(1, top_k=self.top_k)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"top_p={self.top_p} must be above 0 and at most 1: it is a probability")
        check_number("seed", self.seed)

    def generator(self) -> Generator:
        """A source of random numbers that begins with the seed."""
        import torch

        return torch.Generator().manual_seed(self.seed)

    def draw(self, scores: Tensor, generator: Generator) -> Tensor:
        """Token ids (…,) from scores (…, V), in the order of their rows.

        Raises:
            UserError: the scores are not finite.
        """
        import torch

        scores = scores.float().cpu()
        if not (scores < float("inf")).all():
            raise UserError("the net's output is not finite: the training of this checkpoint diverged")
        probabilities = self.probabilities(scores)
        if self.temperature == 0:
            return probabilities.argmax(-1)
        return torch.multinomial(probabilities, 1, generator=generator)[..., 0]

    def probabilities(self, scores: Tensor) -> Tensor:
        """The probabilities to sample with, of scores (…, V)."""
        import torch

        if self.top_k is not None:
            least = scores.topk(min(self.top_k, scores.shape[-1])).values[..., -1:]
            scores = scores.where(scores >= least, float("-inf"))
        if self.temperature == 0:
            return torch.zeros_like(scores).scatter(-1, scores.argmax(-1, keepdim=True), 1.0)
        probabilities = ((scores - scores.amax(-1, keepdim=True)) / self.temperature).softmax(-1)
        if self.top_p is not None:
            ordered, tokens = probabilities.sort(descending=True, stable=True)
            before = ordered.cumsum(-1) - ordered
            before[..., 0] = 0.0  # the most likely one is always among them
            probabilities = probabilities.scatter(-1, tokens, ordered.where(before < self.top_p, 0.0))
        return probabilities
