"""Base classes of nets: what each net declares, and the methods that tasks call on each kind of net.

A net derives from `Net`, or from the class for the kind of task it is meant for, and implements that class's abstract
methods and annotated attributes. `dlzoo.config.instantiate` rejects a net that lacks one that its task needs
(`Task.net_type`), naming what is missing.

>>> class Doubler(Net):
...     accepts = (TableSpec,)
...     def forward(self, x: Tensor) -> Tensor:
...         return 2 * x
>>> Doubler().load_pretrained(), Doubler().standardizes_inputs
([], False)
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from dlzoo.layers import mu_law
from dlzoo.layers.boltzmann import BoltzmannLayer
from dlzoo.layers.crf import CRF
from dlzoo.layers.recurrent import State
from dlzoo.layers.unit_grid import UnitGrid
from dlzoo.specs.base import Spec
from dlzoo.specs.inputs import TableSpec as TableSpec
from dlzoo.specs.resize import Preprocessing
from dlzoo.specs.token_sequences import START


class Net(nn.Module):
    """Base class of all nets; the constructor takes the spec of the data, and options with defaults.

    The parameter count of the published net is given in its module's docstring, as a doctest with
    `dlzoo.layers.basic.num_parameters`.
    """

    accepts: ClassVar[tuple[type[Spec], ...]] = ()
    """The kinds of spec that the net can be built for; must not be empty."""

    standardizes_inputs: bool = False
    """Whether the net standardises its inputs itself; otherwise the task does."""

    output_names: tuple[str, ...] = ()
    """Names of its outputs, the main one first, if it has several that all predict the target of the data: it then
    returns a dict by these names. Empty: it returns one output, or with several named targets one for each."""

    training_outputs: tuple[str, ...] = ()
    """Names of further outputs for that target that it returns in training only: then a dict by name, where the main
    output's name is empty unless `output_names` says another."""

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        """For options that only take effect together with others: whether they do, and what they require."""
        return {}

    @classmethod
    def pretrained_preprocessing(cls, options: Mapping[str, object]) -> Preprocessing | None:
        """The preprocessing of the images that the weights given by these options of the net were trained with.

        Data that read image files follow it. None: random weights, or an unknown preprocessing.

        Raises:
            UserError: the net or the file does not exist.
        """
        return None

    def load_pretrained(self) -> list[str]:
        """Load the published weights that the options name, once, before training; returns messages for the user, one a
        line.

        Raises:
            UserError: no such file, no connection, or weights that do not fit.
        """
        return []

    def as_backbone(self) -> BackboneNet | None:
        """The net itself if it has a body that can be frozen in stages, else None."""
        return None

    def as_recurrent(self) -> RecurrentNet | None:
        """The net itself if it can continue from a hidden state, else None."""
        return None

    def as_encoder_decoder(self) -> EncoderDecoder | None:
        """The net itself if it maps inputs to latents and back, else None."""
        return None

    def as_scalar_recurrent(self) -> ScalarRecurrentNet | None:
        """The net itself if it has a scalar state with a single recurrent weight, else None."""
        return None

    def as_map(self) -> MapNet | None:
        """The net itself if its units lie on a grid, else None."""
        return None


class BackboneNet(Net):
    """A net with a possibly pretrained body, and a head."""

    stages: Sequence[Sequence[nn.Module]]
    """The body's blocks, input first."""
    weights: str
    """The weights that the body starts from; ``none`` for random initialization."""

    @abstractmethod
    def freeze(self, num_stages: int) -> None:
        """Freeze the lowest stages, in evaluation mode, and make the others trainable."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """x: (B, ...) -> (B, F), the body's output and the head's input."""

    def as_backbone(self) -> BackboneNet:
        return self


class RecurrentNet(Net):
    """A net that reads a sequence step by step."""

    is_stateful: bool = False
    """Whether training carries the state over from each batch to the next."""

    @abstractmethod
    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """x: (B, T, ...), the state before it -> an output for each of the T steps, and the final state."""

    def as_recurrent(self) -> RecurrentNet:
        return self


class WindowNet(RecurrentNet):
    """A net that reads tokens (B, T) in windows of a limited length, and whose state is what it keeps of the tokens of
    the window so far.

    ``step`` moves the window; ``decode`` stays within it, without a choice that depends on sizes, so that it can be
    exported.
    """

    context: int
    """Tokens in a window."""

    @abstractmethod
    def decode(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """x: (B, T) token ids, and the cache of the P tokens before, (N, B, P, D), where P + T is at most ``context``
        -> logits (B, T, V), and the cache of all of them, (N, B, P + T, D)."""

    @abstractmethod
    def start(self, batch_size: int) -> Tensor:
        """The cache of no token, (N, B, 0, D)."""


class SampleNet(RecurrentNet):
    """A net that predicts the level of each sample of a recording from those before it, perhaps given its class.

    ``step`` takes levels (B, T) int64 to logits (B, T, V) of the level that follows each.
    """

    num_conditions: int = 0
    """Number of classes; 0: unconditional."""

    @abstractmethod
    def start(self, batch_size: int, condition: Tensor | None = None) -> State:
        """The state before the first sample of recordings of these classes."""

    def read(self, levels: Tensor, condition: Tensor | None = None) -> Tensor:
        """levels: (B, T), condition: the classes (B, K), or None -> logits (B, T, V) of the levels that follow."""
        return self.step(levels, self.start(levels.shape[0], condition))[0]

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x: (B, 1, L) samples -> logits (B, L, V) of the level of each, given those before it."""
        return self.read(mu_law.previous(mu_law.encode(x[:, 0])), condition)


class Encoded(NamedTuple):
    """What a decoder knows: of the input, and of the output so far. The batch is the second axis of each tensor."""

    memory: tuple[Tensor, ...]
    """Of each input token, (N, B, S, D) each; empty for a decoder that sees the encoder's last state alone."""
    state: tuple[Tensor, ...]
    """Of the output so far: (N, B, D), or (N, B, P, D) with values of each of the P tokens so far."""
    is_token: Tensor
    """(1, B, S), false at padding."""

    def take(self, rows: Tensor) -> Encoded:
        """The same with these rows of the batch, (n,)."""
        memory = tuple(t.index_select(1, rows) for t in self.memory)
        return Encoded(memory, self.state, self.is_token.index_select(1, rows)).with_state_of(rows)

    def with_state_of(self, rows: Tensor) -> Encoded:
        """The same inputs with the outputs so far of other rows, (B,), such as other beams of the same input."""
        return self._replace(state=tuple(t.index_select(1, rows) for t in self.state))


class TransducerNet(Net):
    """A net that reads a sequence of tokens and writes another one, token by token."""

    attends: bool = False
    """Whether its decoder attends to the input's tokens, so that `decode` has weights."""

    @abstractmethod
    def encode(self, x: Tensor) -> Encoded:
        """x: (B, S) token ids, padded with 0 -> what the decoder starts from."""

    @abstractmethod
    def decode(self, y: Tensor, encoded: Encoded, *, weights: bool = False) -> tuple[Tensor, Encoded, Tensor | None]:
        """y: (B, T) token ids that follow those that ``encoded`` knows -> logits (B, T, V) of the token after each,
        and what is known after the last.

        With ``weights`` also those of attention, (N, B, T, S), of each of N layers, if the decoder `attends`.
        """

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """x: (B, S), y: (B, T) -> logits (B, T, V) of the token after each of y; by default of the first token."""
        return self.decode(x.new_full((len(x), 1), START) if y is None else y, self.encode(x))[0]


class ScalarRecurrentNet(Net):
    """A net with a scalar state and a single recurrent weight."""

    recurrent: nn.Parameter
    """The recurrent weight, ()."""

    @abstractmethod
    def states(self, x: Tensor) -> list[Tensor]:
        """x: (B, T, D) -> the state after each of the T steps, (B,); the last one is the output."""

    def as_scalar_recurrent(self) -> ScalarRecurrentNet:
        return self


class MapNet(Net):
    """A net whose units lie on a grid, each with a weight vector for the inputs that it represents."""

    grid: UnitGrid
    weights: nn.Parameter
    """(U, F)"""
    labels: Tensor
    """(U, C), how often training rows of each class are represented by each unit; C is 0 without classes."""

    @abstractmethod
    def nearest(self, x: Tensor, num: int) -> tuple[Tensor, Tensor]:
        """x: (B, …) -> the squared distances to the ``num`` nearest units, nearest first, and these units, (B, num)."""

    def as_map(self) -> MapNet:
        return self


class WordNet(Net):
    """A net with a vector for each token of a vocabulary."""

    counts: Tensor
    """(V,), how often each occurs in the training text; zeros before training."""

    @property
    @abstractmethod
    def vectors(self) -> Tensor:
        """(V, D)"""


class TaggingNet(Net):
    """A net that scores the tags of each word of a sentence, (B, L, 1 + C) -> (B, L, K)."""

    crf: CRF | None
    """What scores sequences of tags; None: each word's tag is chosen on its own."""


class LinearUnits(Net):
    """A layer of linear units with nothing behind it but their activation, so that a rule can correct each unit."""

    linear: nn.Linear


class ConditionalNet(Net):
    """A net that can be conditioned on the class, (B, num_conditions), one-hot or as probabilities."""

    num_conditions: int = 0
    """Size of the condition; 0: unconditional."""

    def with_condition(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """x concatenated with the condition; zeros if none is given."""
        if not self.num_conditions:
            return x
        return torch.cat([x, x.new_zeros(x.shape[0], self.num_conditions) if condition is None else condition], 1)


class AssociativeMemory(ConditionalNet):
    """Stores patterns of N units, and recalls them from corrupted ones by dynamics that lower an energy.

    ``forward`` takes images (B, C, H, W) in [0, 1] to the states (B, N) that they are recalled as.
    """

    patterns: Tensor
    """The stored patterns, (P, N), of -1 and 1; zeros before they are stored."""

    is_asynchronous: bool = False
    """Whether recall updates one unit after the other."""

    @abstractmethod
    def store(self, patterns: Tensor) -> None:
        """patterns: (P, N), -1 or 1."""

    @abstractmethod
    def states(self, start: Tensor, frames: int = 1) -> Iterator[Tensor]:
        """The states (B, N) after each update of all units, ``frames`` of them during each update if units are updated
        one by one; ends when none changes."""

    @abstractmethod
    def energy(self, state: Tensor) -> Tensor:
        """state: (B, N) -> (B,) float64."""

    @property
    @abstractmethod
    def capacity(self) -> int | None:
        """How many random patterns can be recalled; None: more than can be counted."""

    def recall(self, start: Tensor) -> Tensor:
        """start: (B, N) -> the state (B, N) that the dynamics end in."""
        state = start
        for after in self.states(start):
            state = after
        return state


class EncoderDecoder(ConditionalNet):
    """Maps inputs to latents and back, like an autoencoder."""

    has_unit_latents: bool = False
    """Whether every latent value lies between 0 and 1."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """x: (B, ...) -> latents (B, D)."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """latents: (B, D) -> input logits (B, ...)."""

    def as_encoder_decoder(self) -> EncoderDecoder:
        return self


class LayeredEncoderDecoder(EncoderDecoder):
    """An encoder and a mirrored decoder, whose layers can be pretrained one by one."""

    encoder: nn.Sequential
    decoder: nn.Sequential


class LatentGenerator(ConditionalNet):
    """Generates inputs from latents with a standard normal prior."""

    latent_dim: int
    """Size of the latent."""


class GaussianEncoderDecoder(LatentGenerator):
    """An encoder to a Gaussian over latents and a decoder, as in a variational autoencoder."""

    @abstractmethod
    def encode(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x: (B, ...) -> mean and log-variance of the latent, (B, D) each."""

    @abstractmethod
    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """z: (B, D) -> input logits (B, ...)."""


class AdversarialPair(LatentGenerator):
    """A generator and a discriminator; each parameter belongs to one of the two."""

    generator: nn.Module
    discriminator: nn.Module

    @abstractmethod
    def generate(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """z: (B, D) -> inputs (B, ...) in [0, 1]."""

    @abstractmethod
    def discriminate(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x: (B, ...) in [0, 1] -> logits (B,), high for what looks real."""


def missing_members(net: object, kind: type[Net]) -> list[str]:
    """The required methods and attributes of a kind of net that this net lacks; it need not be a subclass.

    >>> missing_members(Net(), AdversarialPair)
    ['generate', 'discriminate', 'generator', 'discriminator', 'latent_dim']
    >>> missing_members(Net(), Net)
    []
    """
    classes = [cls for cls in kind.__mro__ if issubclass(cls, Net)]
    names = [name for cls in classes for name, value in vars(cls).items() if _is_abstract(value)]
    names += [name for cls in classes for name in vars(cls).get("__annotations__", {}) if name not in vars(cls)]
    return [name for name in dict.fromkeys(names) if not hasattr(net, name) or _is_abstract(getattr(net, name))]


def _is_abstract(member: object) -> bool:
    return getattr(member, "__isabstractmethod__", False)


class BoltzmannNet(ConditionalNet):
    """A net with a layer that `dlzoo.tasks.contrastive.ContrastiveDivergence` trains."""

    layer: BoltzmannLayer
