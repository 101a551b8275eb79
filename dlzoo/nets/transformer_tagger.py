"""Transformer encoder over words and their characters, which gives each word of a sentence a tag.

A. Vaswani et al., "Attention Is All You Need", 2017, with the norms in front; characters by convolutions, as in
`dlzoo.nets.tagger`. Padding is not attended to: a sentence has the same tags alone and in any batch.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.sentences import Tags
>>> words, characters = tuple(map(str, range(10_000))), tuple(map(chr, range(100)))
>>> spec = SentenceSpec(Tags(tuple("abcdefghij")), vocabulary=words, characters=characters)
>>> num_parameters(TransformerTagger(spec))  # inputs as in Tagger, 131*128 + 2*(12*128**2 + 13*128) + 2*128 + 129*10
1420588
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dlzoo.layers import basic as layers
from dlzoo.layers.attention import Blocks
from dlzoo.layers.crf import CRF
from dlzoo.layers.word_inputs import WordInputs
from dlzoo.nets.base import TaggingNet
from dlzoo.specs.sentences import SentenceSpec
from dlzoo.specs.tokenizer import PAD


class TransformerTagger(TaggingNet):
    """For sentences whose words have tags. Queries and keys are rotated by angles that grow with the position, so
    sentences may have any length.

    Args:
        embedding: dimension of the words' vectors.
        num_units: size of each word's vector in the blocks.
        num_layers: number of blocks.
        num_heads: heads of attention in each block.
        crf: a conditional random field on top, whose best sequence of tags is predicted, instead of a tag for each word
            independently.
        character_embedding: dimension of the characters' vectors.
        character_filters: convolution filters of each width over a word's characters; 0: words are known by their
            number alone.
        character_widths: filter widths in characters.
        dropout: dropout rate of the outputs of each block's two parts and of the output layer's inputs.
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
        embedding: int = 100,
        num_units: int = 128,
        num_layers: int = 2,
        num_heads: int = 4,
        crf: bool = False,
        character_embedding: int = 30,
        character_filters: int = 30,
        character_widths: Sequence[int] = (3,),
        dropout: float = 0.1,
        embedding_dropout: float = 0.3,
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
        self.project = nn.Linear(self.inputs.num_outputs, num_units)
        self.blocks = Blocks(num_layers, num_units, num_heads, dropout=dropout, rotary=True)
        self.dropout = layers.dropout(dropout)
        self.output = nn.Linear(num_units, spec.target.num_outputs)
        self.crf = CRF(spec.target.num_outputs) if crf else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, L, 1 + C) words and characters -> (B, L, K) scores of the tags of each word."""
        is_word = x[..., 0] != PAD
        hidden, _ = self.blocks(self.project(self.inputs(x)), mask=is_word[:, None, None])
        return self.output(self.dropout(hidden))

    def load_pretrained(self) -> list[str]:
        return self.inputs.words.load_pretrained()
