"""GPT: a causal Transformer that predicts the next token of a text.

A. Radford et al., "Improving Language Understanding by Generative Pre-Training", 2018, with the norms in front and the
initial weights of "Language Models are Unsupervised Multitask Learners" (GPT-2), 2019, whose smallest net has 12 layers
of 768 units with 12 heads:

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import NextTokens
>>> pieces = TextSpec(NextTokens(50257, num_steps=1024), vocabulary=tuple(str(i) for i in range(50257)))
>>> with torch.device("meta"):  # 50257*768 + 1024*768 + 12*(12*768**2 + 13*768) + 2*768
...     num_parameters(GPT(pieces, num_units=768, num_layers=12, num_heads=12))
124439808
"""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from dlzoo.errors import SpecError, pick
from dlzoo.layers import basic as layers
from dlzoo.layers.attention import STD, Blocks
from dlzoo.layers.positions import AddedPositions, PositionName
from dlzoo.layers.recurrent import State
from dlzoo.nets.base import WindowNet
from dlzoo.specs.inputs import TextSpec


class GPT(WindowNet):
    """For running text of characters, words or pieces of words; it sees up to ``data.num_steps`` tokens at a time.

    Args:
        num_units: size of each token's vector.
        num_layers: number of blocks.
        num_heads: heads of attention in each block.
        positions: how the net is told the tokens' positions.
        dropout: dropout rate of the embeddings and of the outputs of each block's two parts.
        tied: whether the output weights are the embedding matrix.
    """

    accepts = (TextSpec,)

    def __init__(
        self,
        spec: TextSpec,
        *,
        num_units: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        positions: PositionName = "learned",
        dropout: float = 0.1,
        tied: bool = True,
    ) -> None:
        super().__init__()
        if spec.target.next_tokens is None:
            raise SpecError(f"a language model predicts next tokens, but the data gives {spec.target.what}")
        self.context = spec.target.next_tokens.num_steps
        name = pick(positions, {name: name for name in get_args(PositionName)}, "net.positions")
        self.blocks = Blocks(num_layers, num_units, num_heads, dropout=dropout, rotary=name == "rotary")
        self.embedding = nn.Embedding(spec.num_tokens, num_units)
        self.positions = (
            None if name == "rotary" else AddedPositions(self.context, num_units, learned=name == "learned")
        )
        self.dropout = layers.dropout(dropout)
        self.output = nn.Linear(num_units, spec.num_tokens, bias=False)
        nn.init.normal_(self.embedding.weight, std=STD)
        if tied:
            self.output.weight = self.embedding.weight
        else:
            nn.init.normal_(self.output.weight, std=STD)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T) token ids -> (B, T, V) logits of the next token at each position."""
        if x.shape[1] > self.context:
            return self.step(x)[0]
        return self.output(self.blocks(self._embedded(x), causal=True)[0])

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The same, continuing from a state: the tokens of the window so far, and their keys and values.

        A window of ``context`` tokens that is full is followed by one that begins with its second half.
        """
        read, cache = (x[:, :0], self.start(len(x))) if state is None else state
        logits = []
        while x.shape[1]:
            if read.shape[1] == self.context:
                read = read[:, self.context - self.context // 2 :]
                cache = self.decode(read, self.start(len(x)))[1]
            part, x = x.tensor_split([self.context - read.shape[1]], 1)
            output, cache = self.decode(part, cache)
            read = torch.cat([read, part], 1)
            logits.append(output)
        return torch.cat(logits, 1), (read, cache)

    def decode(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        start, num = cache.shape[2], x.shape[1]
        positions = torch.arange(start + num, device=x.device)
        mask = positions <= positions[start:, None]
        hidden, caches = self.blocks(self._embedded(x, start), cache, mask)
        return self.output(hidden), torch.stack(caches)

    def start(self, batch_size: int) -> Tensor:
        return self.embedding.weight.new_zeros(2 * len(self.blocks.layers), batch_size, 0, self.blocks.num_units)

    def _embedded(self, x: Tensor, start: int = 0) -> Tensor:
        vectors = self.embedding(x)
        return self.dropout(vectors if self.positions is None else self.positions(vectors, start))
