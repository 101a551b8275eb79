"""Transformer encoder for text classification: every token attends to all others, and their means are classified.

A. Vaswani et al., "Attention Is All You Need", 2017, with the norms in front; the mean over the text in place of the
first token of BERT (J. Devlin et al., 2019), whose base net has 12 layers of 768 units. Padding is not attended to, and
not part of the mean: a text has the same output alone and in any batch.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Classes
>>> reviews = TextSpec(Classes(("negative", "positive")), vocabulary=tuple(str(i) for i in range(10_000)))
>>> num_parameters(TransformerClassifier(reviews))  # 10000*128 + 2*(12*128**2 + 13*128) + 2*128 + 128+1
1676929
"""

from __future__ import annotations

from typing import get_args

from torch import Tensor, nn

from dlzoo.errors import UserError, pick
from dlzoo.layers import basic as layers
from dlzoo.layers.attention import Blocks
from dlzoo.layers.embedding import Embedding, num_logits
from dlzoo.layers.positions import AddedPositions, PositionName
from dlzoo.nets.base import Net
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.tokenizer import PAD


class TransformerClassifier(Net):
    """For texts with classes.

    Args:
        num_units: size of each token's vector.
        num_layers: number of blocks.
        num_heads: heads of attention in each block.
        positions: how the net is told the tokens' positions; learned and sinusoidal ones need data.max_length.
        dropout: dropout rate of the outputs of each block's two parts and of the output layer's inputs.
        embedding_dropout: dropout rate of the embeddings.
        word_dropout: fraction of the tokens replaced by ``<unk>`` in training.
        vectors: a file of pretrained vectors to initialize the embedding from, in GloVe's or word2vec's formats.
        freeze_vectors: whether these are frozen.
    """

    accepts = (TextSpec,)

    def __init__(
        self,
        spec: TextSpec,
        *,
        num_units: int = 128,
        num_layers: int = 2,
        num_heads: int = 4,
        positions: PositionName = "rotary",
        dropout: float = 0.1,
        embedding_dropout: float = 0.1,
        word_dropout: float = 0.0,
        vectors: str | None = None,
        freeze_vectors: bool = False,
    ) -> None:
        super().__init__()
        name = pick(positions, {name: name for name in get_args(PositionName)}, "net.positions")
        self.positions: nn.Module = nn.Identity()
        if name != "rotary":
            if spec.max_length is None:
                raise UserError(f"net.positions={name} needs data.max_length, the number of positions")
            self.positions = AddedPositions(spec.max_length, num_units, learned=name == "learned")
        self.blocks = Blocks(num_layers, num_units, num_heads, dropout=dropout, rotary=name == "rotary")
        self.embedding = Embedding(
            spec,
            num_units,
            word_dropout=word_dropout,
            dropout=embedding_dropout,
            vectors=vectors,
            freeze=freeze_vectors,
        )
        self.dropout = layers.dropout(dropout)
        self.output = nn.Linear(num_units, num_logits(spec))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, L) token ids -> (B, K) logits, or (B, 1) for two classes."""
        is_token = x != PAD
        hidden, _ = self.blocks(self.positions(self.embedding(x)), mask=is_token[:, None, None])
        mean = hidden.masked_fill(~is_token[..., None], 0.0).sum(1) / is_token.sum(1, keepdim=True).clamp(min=1)
        return self.output(self.dropout(mean))

    def load_pretrained(self) -> list[str]:
        return self.embedding.load_pretrained()
