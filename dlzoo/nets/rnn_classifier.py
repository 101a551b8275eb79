"""A recurrent text classifier, unidirectional or, as model=bilstm, bidirectional.

J. L. Elman, "Finding structure in time", 1990; in both directions: A. Graves, J. Schmidhuber, "Framewise Phoneme
Classification with Bidirectional LSTM and Other Neural Network Architectures", 2005. The last layer's output after
reading the whole text goes through a hidden layer to the logits. Padding is ignored: a text has the same output
alone and in any batch.

The course's BiLSTM for sentences has an embedding of 64, 64 units each way, 64 ReLU units and one logit. It counts one
bias a gate, 411,777 parameters; PyTorch's LSTM has two, so there are 2 * 4 * 64 = 512 more here.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Classes
>>> sentences = TextSpec(Classes(("negative", "positive")), vocabulary=tuple(str(i) for i in range(5272)))
>>> num_parameters(RNNClassifier(sentences, cell="lstm", bidirectional=True, hidden=64))
412289
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dlzoo.errors import pick
from dlzoo.layers import basic as layers
from dlzoo.layers.embedding import Embedding, lengths_of, num_logits
from dlzoo.layers.recurrent import CellName, Recurrent
from dlzoo.nets.base import Net
from dlzoo.nets.mlp import hidden_layers
from dlzoo.specs.inputs import TextSpec

PoolName = Literal["last", "avg", "max"]


class RNNClassifier(Net):
    """For texts with classes.

    Args:
        embedding: embedding dimension.
        num_units: units of each recurrent layer, in each direction.
        num_layers: number of recurrent layers.
        bidirectional: a second layer reads from the end.
        hidden: units of the layer between the recurrent ones and the output; 0: none.
        pool: summary of the text: the final output of each direction, or the mean or maximum of each unit's outputs
            over the text (A. Conneau et al., 2017).
        dropout: dropout rate of the inputs of the hidden layer, of the output layer, and of
            each recurrent layer except the first.
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
        cell: CellName = "gru",
        embedding: int = 64,
        num_units: int = 64,
        num_layers: int = 1,
        bidirectional: bool = False,
        hidden: int = 0,
        pool: PoolName = "last",
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        word_dropout: float = 0.0,
        vectors: str | None = None,
        freeze_vectors: bool = False,
    ) -> None:
        super().__init__()
        self.pool = pick(pool, {name: name for name in get_args(PoolName)}, "net.pool")
        self.embedding = Embedding(
            spec,
            embedding,
            word_dropout=word_dropout,
            dropout=embedding_dropout,
            vectors=vectors,
            freeze=freeze_vectors,
        )
        between = dropout if num_layers > 1 else 0.0
        self.recurrent = Recurrent(
            cell, embedding, num_units, num_layers=num_layers, dropout=between, bidirectional=bidirectional
        )
        self.dropout = layers.dropout(dropout)
        self.hidden = hidden_layers(self.recurrent.num_outputs, [hidden] if hidden else [], dropout=dropout)
        self.output = nn.Linear(hidden or self.recurrent.num_outputs, num_logits(spec))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, L) tokens -> (B, K) logits, or (B, 1) for two classes."""
        lengths = lengths_of(x)
        outputs, _ = self.recurrent(self.embedding(x), lengths=lengths)
        return self.output(self.hidden(self.dropout(self.pooled(outputs, lengths))))

    def pooled(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, H), zeros behind each text's end -> (B, H)"""
        if self.pool == "last":
            return self.recurrent.last(outputs, lengths)
        if self.pool == "avg":
            return outputs.sum(1) / lengths[:, None]
        beyond = torch.arange(outputs.shape[1], device=outputs.device) >= lengths[:, None]
        return outputs.masked_fill(beyond[..., None], float("-inf")).amax(1)

    def load_pretrained(self) -> list[str]:
        return self.embedding.load_pretrained()
