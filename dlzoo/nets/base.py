"""Base classes of nets: what each net says of itself, and what a task that works with one kind of nets calls.

A net derives from `Net`, or from the class for the kind of task that it is made for, and gives that class's abstract
methods and annotated attributes. `dlzoo.config.instantiate` refuses a net that lacks one of those that its task needs
(`Task.net_type`), with the name of what is missing.

>>> class Doubler(Net):
...     accepts = (TableSpec,)
...     def forward(self, x: Tensor) -> Tensor:
...         return 2 * x
>>> Doubler().load_pretrained(), Doubler().standardizes_inputs
([], False)
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from dlzoo.layers.recurrent import State
from dlzoo.specs.base import Spec
from dlzoo.specs.inputs import TableSpec as TableSpec


class Net(nn.Module):
    """What is computed; its constructor takes the spec of the data, and options with defaults.

    The number of parameters of the published net stands in its module's docstring, as a doctest with
    `dlzoo.layers.basic.num_parameters`.
    """

    accepts: ClassVar[tuple[type[Spec], ...]] = ()
    """The kinds of spec that the net can be built for; not empty."""

    standardizes_inputs: ClassVar[bool] = False
    """Whether the net standardises its inputs itself, which the task does otherwise."""

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        """Of options that have an effect only beside others: whether they have, and what they need."""
        return {}

    def load_pretrained(self) -> list[str]:
        """Fill in the published weights that the options name, once, before training; what to tell the user, a line
        each.

        Raises:
            UserError: no such file, no connection, or weights that do not fit.
        """
        return []

    def as_backbone(self) -> BackboneNet | None:
        """The net, if it has a body that can be frozen in stages; else None."""
        return None

    def as_recurrent(self) -> RecurrentNet | None:
        """The net, if it can go on from a state; else None."""
        return None

    def as_scalar_recurrent(self) -> ScalarRecurrentNet | None:
        """The net, if its state is one number that one weight carries from step to step; else None."""
        return None


class BackboneNet(Net):
    """A net with a body that others may have trained, and a head."""

    stages: Sequence[Sequence[nn.Module]]
    """The body's blocks, from the input upwards."""
    weights: str
    """What the body begins with; ``none`` for fresh weights."""

    @abstractmethod
    def freeze(self, num_stages: int) -> None:
        """Hold the lowest stages as they are, in evaluation mode, and let the others learn."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """x: (B, ...) -> (B, F), what the head gets of the body."""

    def as_backbone(self) -> BackboneNet:
        return self


class RecurrentNet(Net):
    """A net that reads a sequence step by step."""

    is_stateful: bool = False
    """Whether training hands on the state from each batch to the next."""

    @abstractmethod
    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """x: (B, T, ...), the state before it -> an output for each of the T steps, and the state after them."""

    def as_recurrent(self) -> RecurrentNet:
        return self


class ScalarRecurrentNet(Net):
    """A net whose state is one number, which one weight carries from step to step."""

    recurrent: nn.Parameter
    """That weight, ()."""

    @abstractmethod
    def states(self, x: Tensor) -> list[Tensor]:
        """x: (B, T, D) -> the state after each of the T steps, (B,); the last one is the output."""

    def as_scalar_recurrent(self) -> ScalarRecurrentNet:
        return self


class ConditionalNet(Net):
    """A net that may be given the class as a condition, (B, num_conditions), one-hot or as probabilities."""

    num_conditions: int = 0
    """Length of a condition; 0: it takes none."""


class EncoderDecoder(ConditionalNet):
    """From inputs to codes and back, as an autoencoder does."""

    has_unit_codes: bool = False
    """Whether every number of a code lies between 0 and 1."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """x: (B, ...) -> codes (B, D)."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """codes: (B, D) -> logits of the inputs (B, ...)."""


class LayeredEncoderDecoder(EncoderDecoder):
    """One whose layers can learn one after another: the decoder mirrors the encoder."""

    encoder: nn.Sequential
    decoder: nn.Sequential


class LatentGenerator(ConditionalNet):
    """It makes inputs of codes from a standard normal distribution."""

    latent_dim: int
    """Length of a code."""


class GaussianEncoderDecoder(LatentGenerator):
    """An encoder to a Gaussian over codes, and a decoder, as in a variational autoencoder."""

    @abstractmethod
    def encode(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x: (B, ...) -> mean and log-variance of the code, (B, D) each."""

    @abstractmethod
    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """z: (B, D) -> logits of the inputs (B, ...)."""


class AdversarialPair(LatentGenerator):
    """A generator, and a discriminator that judges what it makes; each parameter belongs to one of the two."""

    generator: nn.Module
    discriminator: nn.Module

    @abstractmethod
    def generate(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """z: (B, D) -> inputs (B, ...) in [0, 1]."""

    @abstractmethod
    def discriminate(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x: (B, ...) in [0, 1] -> logits (B,), high for what looks real."""


def missing_members(net: Any, kind: type[Net]) -> list[str]:
    """The methods and attributes of a kind of nets that a net lacks; it need not derive from the class.

    >>> missing_members(Net(), AdversarialPair)
    ['generate', 'discriminate', 'generator', 'discriminator', 'latent_dim']
    >>> missing_members(Net(), Net)
    []
    """
    classes = [cls for cls in kind.__mro__ if issubclass(cls, Net)]
    names = [name for cls in classes for name, value in vars(cls).items() if _is_abstract(value)]
    names += [name for cls in classes for name in vars(cls).get("__annotations__", {}) if name not in vars(cls)]
    return [name for name in dict.fromkeys(names) if not hasattr(net, name) or _is_abstract(getattr(net, name))]


def _is_abstract(member: Any) -> bool:
    return getattr(member, "__isabstractmethod__", False)
