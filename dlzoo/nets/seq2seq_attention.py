"""Sequence to sequence with attention: the decoder looks at all of the input, and chooses where at each step.

D. Bahdanau, K. Cho, Y. Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", 2015
(additive): the decoder's state before a step looks, and what it sees is an input of the step. M.-T. Luong, H. Pham,
C. D. Manning, "Effective Approaches to Attention-based Neural Machine Translation", 2015 (multiplicative, global): the
state after the step looks, so that all steps of a given output are computed at once. In both the encoder reads in two
directions, and the output comes from tanh(W [state; what it sees]), Luong's "attentional hidden state".

Bahdanau's net has 1000 units and vectors of 620 values for 30,000 words of each language:

>>> from dlzoo.layers.basic import num_parameters
>>> words = tuple(str(i) for i in range(30_000))
>>> spec = TextSpec(TokenSequences(vocabulary=words), vocabulary=words)
>>> E, H, V = 620, 1000, 30_000
>>> with torch.device("meta"):
...     net = Seq2SeqAttention(spec, cell="gru", embedding=E, num_units=H)
>>> encoder, start, decoder = 2 * 3 * H * (E + H + 2), H * (2 * H + 1), 3 * H * (E + 2 * H + H + 2)
>>> attention, output = 2 * H * H + H * (H + 1) + H, H * (3 * H + 1) + V * (H + 1)
>>> num_parameters(net) == 2 * V * E + encoder + start + decoder + attention + output
True
>>> num_parameters(net)
95832000
"""

from __future__ import annotations

from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dlzoo.errors import pick
from dlzoo.layers import basic as layers
from dlzoo.layers.cross_attention import Attention, ScoreName
from dlzoo.layers.embedding import lengths_of
from dlzoo.layers.recurrent import Recurrent
from dlzoo.nets.base import Encoded, TransducerNet
from dlzoo.nets.seq2seq import as_state, as_tuple
from dlzoo.nets.token_sequences import embedding_of, sequences_of
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.token_sequences import TokenSequences as TokenSequences
from dlzoo.specs.tokenizer import PAD


class Seq2SeqAttention(TransducerNet):
    """For texts with token sequences as target.

    Args:
        attention: additive (Bahdanau), or multiplicative (Luong).
        cell: kind of recurrent layer.
        embedding: size of each token's vector.
        num_units: units of each layer, in each direction of the encoder.
        num_layers: layers of encoder and decoder.
        dropout: dropout rate of the embeddings, between layers and before the output.
    """

    accepts = (TextSpec,)
    attends = True

    def __init__(
        self,
        spec: TextSpec,
        *,
        attention: ScoreName = "additive",
        cell: Literal["lstm", "gru"] = "gru",
        embedding: int = 128,
        num_units: int = 256,
        num_layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        target = sequences_of(spec)
        score: ScoreName = pick(attention, {name: name for name in get_args(ScoreName)}, "net.attention")
        self.source = embedding_of(spec.num_tokens, embedding)
        self.target = embedding_of(target.num_outputs, embedding)
        self.dropout = layers.dropout(dropout)
        between = dropout if num_layers > 1 else 0.0
        self.encoder = Recurrent(cell, embedding, num_units, num_layers=num_layers, dropout=between, bidirectional=True)
        self.is_fed = score == "additive"
        num_inputs = embedding + 2 * num_units * self.is_fed
        self.decoder = Recurrent(cell, num_inputs, num_units, num_layers=num_layers, dropout=between)
        self.to_start = nn.ModuleList(nn.Linear(2 * num_units, num_units) for _ in range(1 + (cell == "lstm")))
        self.attention = Attention(score, num_units, 2 * num_units, num_units)
        self.to_hidden = nn.Linear(3 * num_units, num_units)
        self.output = nn.Linear(num_units, target.num_outputs)

    def encode(self, x: Tensor) -> Encoded:
        outputs, state = self.encoder(self.dropout(self.source(x)), lengths=lengths_of(x).clamp(min=1))
        starts = tuple(
            torch.tanh(layer(torch.cat([part[0::2], part[1::2]], dim=2)))  # both directions of each layer
            for layer, part in zip(self.to_start, as_tuple(state), strict=True)
        )
        return Encoded((outputs[None], self.attention.to_keys(outputs)[None]), starts, (x != PAD)[None])

    def decode(self, y: Tensor, encoded: Encoded, *, weights: bool = False) -> tuple[Tensor, Encoded, Tensor | None]:
        vectors, state = self.dropout(self.target(y)), encoded.state
        values, keys = (part[0] for part in encoded.memory)
        look = partial(self.attention, keys=keys, values=values, is_token=encoded.is_token[0])
        if self.is_fed:
            steps = []
            for vector in vectors.split(1, dim=1):
                seen, found = look(state[0][-1][:, None])
                hidden, after = self.decoder(torch.cat([vector, seen], dim=2), as_state(state))
                state = as_tuple(after)
                steps.append((hidden, seen, found))
            hidden, seen, found = (torch.cat(parts, dim=1) for parts in zip(*steps, strict=True))
        else:
            hidden, after = self.decoder(vectors, as_state(state))
            state = as_tuple(after)
            seen, found = look(hidden)
        logits = self.output(self.dropout(torch.tanh(self.to_hidden(torch.cat([hidden, seen], dim=2)))))
        return logits, encoded._replace(state=state), found[None] if weights else None
