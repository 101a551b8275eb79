"""Character RNN: a language model that predicts the next character of a text.

I. Sutskever, J. Martens, G. Hinton, "Generating Text with Recurrent Neural Networks", 2011; A. Graves, "Generating
Sequences With Recurrent Neural Networks", 2013. Differs in a learned embedding, a single layer,
and a choice of cells.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import NextTokens
>>> from dlzoo.specs.tokenizer import Tokenizer
>>> characters = TextSpec(NextTokens(100), Tokenizer("char"), vocabulary=tuple(map(chr, range(100))))
>>> num_parameters(CharRNN(characters))  # 100*64 + 4*256*(64+256+2) + 256*100+100
361828
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from dlzoo.errors import SpecError, UserError
from dlzoo.layers import basic as layers
from dlzoo.layers.embedding import Embedding
from dlzoo.layers.recurrent import CellName, Recurrent, State
from dlzoo.nets.base import RecurrentNet
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.tokenizer import Level


class CharRNN(RecurrentNet):
    """For running text.

    Args:
        embedding: embedding dimension.
        num_units: units of each recurrent layer.
        num_layers: number of recurrent layers.
        dropout: dropout rate of the embeddings and of each recurrent layer's outputs.
        tied: whether the output weights are the embedding matrix; None: if their sizes match.
    """

    accepts = (TextSpec,)
    level: ClassVar[Level] = "char"

    def __init__(
        self,
        spec: TextSpec,
        *,
        cell: CellName = "lstm",
        embedding: int = 64,
        num_units: int = 256,
        num_layers: int = 1,
        dropout: float = 0.0,
        tied: bool | None = None,
    ) -> None:
        super().__init__()
        if spec.target.next_tokens is None:
            raise SpecError(f"a language model predicts next tokens, but the data gives {spec.target.what}")
        if (spec.tokenizer.level == "char") != (self.level == "char"):
            raise SpecError(f"the data gives {spec.describe()}; set data.level={self.level}")
        if tied and embedding != num_units:
            raise UserError(f"net.tied=true needs net.embedding={embedding} and net.num_units={num_units} to be equal")
        self.embedding = Embedding(spec, embedding, dropout=dropout)
        between = dropout if num_layers > 1 else 0.0
        self.recurrent = Recurrent(cell, embedding, num_units, num_layers=num_layers, dropout=between)
        self.dropout = layers.dropout(dropout)
        self.output = nn.Linear(num_units, spec.num_tokens)
        if tied or (tied is None and embedding == num_units):
            self.output.weight = self.embedding.table.weight

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T) token ids -> (B, T, V) logits of the next token at each position."""
        return self.step(x)[0]

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The same, continuing from a state; also returns the state after the last token, to continue with."""
        outputs, state = self.recurrent(self.embedding(x), state)
        return self.output(self.dropout(outputs)), state
