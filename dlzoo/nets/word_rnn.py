"""Word RNN: a language model over words, two layers whose output weights are tied to the embedding.

T. Mikolov et al., "Recurrent Neural Network Based Language Model", 2010; W. Zaremba, I. Sutskever, O. Vinyals,
"Recurrent Neural Network Regularization", 2014, for the dropout between layers; O. Press, L. Wolf, "Using the Output
Embedding to Improve Language Models", 2017, for the tied weights. The papers' units are 200 to 1,500 a layer.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import NextTokens
>>> words = TextSpec(NextTokens(1000), vocabulary=tuple(str(i) for i in range(1000)))
>>> num_parameters(WordRNN(words))  # 1000*200 + 2*4*200*(200+200+2) + 1000
844200
"""

from __future__ import annotations

from typing import ClassVar

from dlzoo.layers.recurrent import CellName
from dlzoo.nets.char_rnn import CharRNN
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.tokenizer import Level


class WordRNN(CharRNN):
    """`CharRNN` for words or pieces of words, with other defaults."""

    level: ClassVar[Level] = "word"

    def __init__(
        self,
        spec: TextSpec,
        *,
        cell: CellName = "lstm",
        embedding: int = 200,
        num_units: int = 200,
        num_layers: int = 2,
        dropout: float = 0.5,
        tied: bool | None = None,
    ) -> None:
        super().__init__(
            spec,
            cell=cell,
            embedding=embedding,
            num_units=num_units,
            num_layers=num_layers,
            dropout=dropout,
            tied=tied,
        )
