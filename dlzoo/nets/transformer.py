"""Transformer: encoder and decoder of attention alone.

A. Vaswani et al., "Attention Is All You Need", 2017, whose base net has 6 + 6 layers of 512 units with 8 heads, norms
behind each part, and one embedding of 37,000 pieces of words of both languages that is also the output layer. Blocks
use GELU in place of ReLU.

>>> from dlzoo.layers.basic import num_parameters
>>> pieces = tuple(str(i) for i in range(37_000))
>>> spec = TextSpec(TokenSequences(vocabulary=pieces), vocabulary=pieces)
>>> options = dict(num_units=512, num_layers=6, num_heads=8, norm="post", positions="sinusoidal", embeddings="shared")
>>> D, V = 512, 37_000
>>> encoder, decoder = 12 * D**2 + 13 * D, 16 * D**2 + 19 * D
>>> num_parameters(Transformer(spec, **options)) == V * D + V + 6 * (encoder + decoder)
True
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dlzoo.errors import UserError, pick
from dlzoo.layers import basic as layers
from dlzoo.layers.attention import Blocks
from dlzoo.layers.cross_attention import DecoderBlocks
from dlzoo.layers.positions import AddedPositions, PositionName
from dlzoo.nets.base import Encoded, TransducerNet
from dlzoo.nets.token_sequences import embedding_of, sequences_of
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.token_sequences import TokenSequences as TokenSequences
from dlzoo.specs.tokenizer import PAD

EmbeddingName = Literal["separate", "tied", "shared"]
NormName = Literal["pre", "post"]


class Transformer(TransducerNet):
    """For texts with token sequences as target.

    Args:
        num_units: size of each token's vector.
        num_layers: blocks of the encoder, and of the decoder.
        num_heads: heads of attention in each block.
        positions: how the net is told the tokens' positions; rotary ones act in self-attention alone.
        norm: pre: each part of a block sees normalised inputs; post: its sum with them is normalised, as published,
            which needs a warm-up of the learning rate.
        embeddings: separate matrices for inputs, outputs and output weights; tied: the last two are the same; shared:
            all three, which needs data.shared_vocabulary=true.
        dropout: dropout rate of the embeddings and of the outputs of each part of a block.
    """

    accepts = (TextSpec,)
    attends = True

    def __init__(
        self,
        spec: TextSpec,
        *,
        num_units: int = 128,
        num_layers: int = 2,
        num_heads: int = 4,
        positions: PositionName = "sinusoidal",
        norm: NormName = "pre",
        embeddings: EmbeddingName = "tied",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        target = sequences_of(spec)
        position_name, norm_name, embedding_name = (
            pick(value, {name: name for name in get_args(names)}, f"net.{key}")
            for key, value, names in (
                ("positions", positions, PositionName), ("norm", norm, NormName),
                ("embeddings", embeddings, EmbeddingName),
            )
        )  # fmt: skip
        if embedding_name == "shared" and spec.vocabulary != target.vocabulary:
            raise UserError("net.embeddings=shared needs one vocabulary of both sides: data.shared_vocabulary=true")
        options = {"dropout": dropout, "rotary": position_name == "rotary", "post_norm": norm_name == "post"}
        self.encoder = Blocks(num_layers, num_units, num_heads, **options)
        self.decoder = DecoderBlocks(num_layers, num_units, num_heads, **options)
        for weight in self.parameters():
            if weight.ndim == 2:
                nn.init.xavier_uniform_(weight)
        self.positions: AddedPositions | None = None
        if position_name != "rotary":
            length = max(target.max_length + 1, spec.max_length or target.max_length)
            self.positions = AddedPositions(length, num_units, learned=position_name == "learned")
        std = num_units**-0.5
        self.target = embedding_of(target.num_outputs, num_units, std)
        is_shared = embedding_name == "shared"
        self.source = self.target if is_shared else embedding_of(spec.num_tokens, num_units, std)
        self.output = nn.Linear(num_units, target.num_outputs)
        if embedding_name != "separate":
            self.output.weight = self.target.weight
        self.dropout = layers.dropout(dropout)

    def encode(self, x: Tensor) -> Encoded:
        is_token = x != PAD
        hidden, _ = self.encoder(self._embedded(self.source, x), mask=is_token[:, None, None])
        memory = self.decoder.remember(hidden)
        start = memory.new_zeros(memory.shape[0], x.shape[0], 0, memory.shape[3])
        return Encoded((memory,), (start,), is_token[None])

    def decode(self, y: Tensor, encoded: Encoded, *, weights: bool = False) -> tuple[Tensor, Encoded, Tensor | None]:
        (memory,), (cache,) = encoded.memory, encoded.state
        start, num = cache.shape[2], y.shape[1]
        places = torch.arange(start + num, device=y.device)
        hidden, cache, found = self.decoder.decode(
            self._embedded(self.target, y, start),
            cache,
            places <= places[start:, None],
            memory,
            encoded.is_token[0][:, None, None],
            weights=weights,
        )
        return self.output(hidden), encoded._replace(state=(cache,)), found

    def _embedded(self, table: nn.Embedding, tokens: Tensor, start: int = 0) -> Tensor:
        vectors = table(tokens) * math.sqrt(table.embedding_dim)
        return self.dropout(vectors if self.positions is None else self.positions(vectors, start))
