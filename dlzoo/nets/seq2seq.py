"""Sequence to sequence: one recurrent net reads the input into its state, another writes the output from that state.

I. Sutskever, O. Vinyals, Q. V. Le, "Sequence to Sequence Learning with Neural Networks", 2014, whose net has 4 layers
of 1000 LSTM cells, vectors of 1000 values, 160,000 input and 80,000 output words, and reads its input backwards; K. Cho
et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014 (GRU).

>>> from dlzoo.layers.basic import num_parameters
>>> words = tuple(str(i) for i in range(160_000))
>>> spec = TextSpec(TokenSequences(vocabulary=words[:80_000]), vocabulary=words)
>>> with torch.device("meta"):  # 240000*1000 + 2*4*(8*1000**2 + 8*1000) + 80000*1001
...     num_parameters(Seq2Seq(spec, embedding=1000, num_units=1000, num_layers=4))
384144000
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from dlzoo.layers import basic as layers
from dlzoo.layers.embedding import lengths_of
from dlzoo.layers.recurrent import Recurrent, State
from dlzoo.nets.base import Encoded, TransducerNet
from dlzoo.nets.token_sequences import embedding_of, sequences_of
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.token_sequences import TokenSequences as TokenSequences
from dlzoo.specs.tokenizer import PAD


class Seq2Seq(TransducerNet):
    """For texts with token sequences as target.

    Args:
        cell: kind of recurrent layer.
        embedding: size of each token's vector.
        num_units: units of each layer.
        num_layers: layers of encoder and decoder.
        dropout: dropout rate of the embeddings and between layers.
        backwards: whether the encoder reads the input from its end, so that the first words, which the output begins
            with, are read last.
    """

    accepts = (TextSpec,)

    def __init__(
        self,
        spec: TextSpec,
        *,
        cell: Literal["lstm", "gru"] = "lstm",
        embedding: int = 128,
        num_units: int = 256,
        num_layers: int = 1,
        dropout: float = 0.0,
        backwards: bool = True,
    ) -> None:
        super().__init__()
        target = sequences_of(spec)
        self.backwards = backwards
        self.source = embedding_of(spec.num_tokens, embedding)
        self.target = embedding_of(target.num_outputs, embedding)
        self.dropout = layers.dropout(dropout)
        between = dropout if num_layers > 1 else 0.0
        self.encoder, self.decoder = (
            Recurrent(cell, embedding, num_units, num_layers=num_layers, dropout=between) for _ in range(2)
        )
        self.output = nn.Linear(num_units, target.num_outputs)

    def encode(self, x: Tensor) -> Encoded:
        lengths = lengths_of(x).clamp(min=1)
        if self.backwards:
            x = reversed_tokens(x, lengths)
        _, state = self.encoder(self.dropout(self.source(x)), lengths=lengths)
        return Encoded((), as_tuple(state), (x != PAD)[None])

    def decode(self, y: Tensor, encoded: Encoded, *, weights: bool = False) -> tuple[Tensor, Encoded, Tensor | None]:
        outputs, state = self.decoder(self.dropout(self.target(y)), as_state(encoded.state))
        return self.output(self.dropout(outputs)), encoded._replace(state=as_tuple(state)), None


def reversed_tokens(x: Tensor, lengths: Tensor) -> Tensor:
    """(B, S) -> each row's tokens in reverse, its padding still behind them.

    >>> reversed_tokens(torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([3, 2]))
    tensor([[3, 2, 1],
            [5, 4, 0]])
    """
    places = torch.arange(x.shape[1], device=x.device)
    from_end = lengths[:, None] - 1 - places
    return x.gather(1, torch.where(from_end < 0, places, from_end))


def as_tuple(state: State) -> tuple[Tensor, ...]:
    """A state of recurrent layers as a tuple of tensors (layers, B, H)."""
    return (state,) if isinstance(state, Tensor) else tuple(state)


def as_state(parts: tuple[Tensor, ...]) -> State:
    """The inverse of `as_tuple`."""
    return parts if len(parts) > 1 else parts[0]
