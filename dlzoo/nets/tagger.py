"""Bidirectional LSTM over words and their characters, which gives each word of a sentence a tag.

Z. Huang, W. Xu, K. Yu, "Bidirectional LSTM-CRF Models for Sequence Tagging", 2015; characters by convolutions: X. Ma,
E. Hovy, "End-to-end Sequence Labeling via Bi-directional LSTM-CNNs-CRF", 2016, whose sizes the defaults are. Padding is
ignored: a sentence has the same tags alone and in any batch.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.sentences import Tags
>>> words, characters = tuple(map(str, range(10_000))), tuple(map(chr, range(100)))
>>> spec = SentenceSpec(Tags(tuple("abcdefghij")), vocabulary=words, characters=characters)
>>> num_parameters(Tagger(spec))  # 10000*100 + 100*30 + 30*30*3+30 + 2*4*200*(130+200+2) + 400*10+10
1540940
>>> num_parameters(Tagger(spec, crf=True)) - num_parameters(Tagger(spec))  # 10*10 transitions, 10 starts, 10 ends
120
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dlzoo.layers import basic as layers
from dlzoo.layers.crf import CRF
from dlzoo.layers.embedding import lengths_of
from dlzoo.layers.recurrent import CellName, Recurrent
from dlzoo.layers.word_inputs import WordInputs
from dlzoo.nets.base import TaggingNet
from dlzoo.specs.sentences import SentenceSpec


class Tagger(TaggingNet):
    """For sentences whose words have tags.

    Args:
        embedding: dimension of the words' vectors.
        num_units: units of each recurrent layer, in each direction.
        num_layers: number of recurrent layers.
        bidirectional: a second layer reads from the end.
        crf: a conditional random field on top, whose best sequence of tags is predicted, instead of a tag for each word
            independently.
        character_embedding: dimension of the characters' vectors.
        character_filters: convolution filters of each width over a word's characters; 0: words are known by their
            number alone.
        character_widths: filter widths in characters.
        dropout: dropout rate of the inputs of the output layer and of each recurrent layer except the first.
        embedding_dropout: dropout rate of the words' vectors and what the filters say.
        word_dropout: fraction of the words replaced by ``<unk>`` in training; their characters stay.
        vectors: a file of pretrained vectors to initialize the embedding from, in GloVe's or word2vec's formats.
        freeze_vectors: whether these are frozen.
    """

    accepts = (SentenceSpec,)

    def __init__(
        self,
        spec: SentenceSpec,
        *,
        cell: CellName = "lstm",
        embedding: int = 100,
        num_units: int = 200,
        num_layers: int = 1,
        bidirectional: bool = True,
        crf: bool = False,
        character_embedding: int = 30,
        character_filters: int = 30,
        character_widths: Sequence[int] = (3,),
        dropout: float = 0.5,
        embedding_dropout: float = 0.5,
        word_dropout: float = 0.1,
        vectors: str | None = None,
        freeze_vectors: bool = False,
    ) -> None:
        super().__init__()
        self.inputs = WordInputs(
            spec,
            embedding=embedding,
            character_embedding=character_embedding,
            character_filters=character_filters,
            character_widths=character_widths,
            embedding_dropout=embedding_dropout,
            word_dropout=word_dropout,
            vectors=vectors,
            freeze_vectors=freeze_vectors,
        )
        between = dropout if num_layers > 1 else 0.0
        self.recurrent = Recurrent(
            cell,
            self.inputs.num_outputs,
            num_units,
            num_layers=num_layers,
            dropout=between,
            bidirectional=bidirectional,
        )
        self.dropout = layers.dropout(dropout)
        self.output = nn.Linear(self.recurrent.num_outputs, spec.target.num_outputs)
        self.crf = CRF(spec.target.num_outputs) if crf else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, L, 1 + C) words and characters -> (B, L, K) scores of the tags of each word."""
        outputs, _ = self.recurrent(self.inputs(x), lengths=lengths_of(x[..., 0]))
        return self.output(self.dropout(outputs))

    def load_pretrained(self) -> list[str]:
        return self.inputs.words.load_pretrained()
