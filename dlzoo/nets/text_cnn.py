"""Text CNN: convolutions over neighbouring words, max-pooling over the text, and a classifier.

Y. Kim, "Convolutional Neural Networks for Sentence Classification", 2014; the course's version for IMDB has one
kernel size: embedding 256, dropout 0.3, 256 filters of 3 words, valid, ReLU, global max-pool, 128 ReLU units, dropout
0.5, one logit. The source pads to 200 words and pools over the padding, too; here only windows within the text count,
so that a text has the same output alone and in any batch.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Classes
>>> reviews = TextSpec(Classes(("negative", "positive")), vocabulary=tuple(str(i) for i in range(10_000)))
>>> num_parameters(TextCNN(reviews))  # 10000*256 + 256*256*3+256 + 256*128+128 + 128+1
2789889
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.errors import UserError, at_least
from dlzoo.layers.embedding import Embedding, lengths_of, num_logits
from dlzoo.nets.base import Net
from dlzoo.nets.mlp import hidden_layers
from dlzoo.specs.inputs import TextSpec


class TextCNN(Net):
    """For texts with classes.

    Args:
        embedding: embedding dimension.
        num_filters: of each kernel size.
        kernel_sizes: filter widths in tokens. A shorter text is zero-padded to one window.
        hidden: units of the layer before the output.
        dropout: dropout rate of the hidden units.
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
        embedding: int = 256,
        num_filters: int = 256,
        kernel_sizes: Sequence[int] = (3,),
        hidden: int = 128,
        dropout: float = 0.5,
        embedding_dropout: float = 0.3,
        word_dropout: float = 0.0,
        vectors: str | None = None,
        freeze_vectors: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, "net", num_filters=num_filters, embedding=embedding, hidden=hidden)
        if not kernel_sizes or min(kernel_sizes) < 1:
            raise UserError(f"net.kernel_sizes={list(kernel_sizes)} must give filter widths in tokens, at least 1")
        self.embedding = Embedding(
            spec,
            embedding,
            word_dropout=word_dropout,
            dropout=embedding_dropout,
            vectors=vectors,
            freeze=freeze_vectors,
        )
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, num_filters, size) for size in kernel_sizes)
        self.hidden = hidden_layers(num_filters * len(kernel_sizes), [hidden], dropout=dropout)
        self.output = nn.Linear(hidden, num_logits(spec))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, L) token ids -> (B, K) logits, or (B, 1) for two classes."""
        lengths = lengths_of(x)
        vectors = self.embedding(x).transpose(1, 2)  # (B, D, L)
        pooled = [self.pool(convolution, vectors, lengths) for convolution in self.convolutions]  # type: ignore[arg-type]
        return self.output(self.hidden(torch.cat(pooled, dim=1)))

    def load_pretrained(self) -> list[str]:
        return self.embedding.load_pretrained()

    def pool(self, convolution: nn.Conv1d, vectors: Tensor, lengths: Tensor) -> Tensor:
        """(B, D, L) -> (B, num_filters): the highest value of each filter over the windows within the text."""
        (size,) = convolution.kernel_size
        maps = convolution(F.pad(vectors, (0, size - 1)))  # a text may be shorter than the window
        ends = torch.arange(size, size + maps.shape[2], device=maps.device)
        beyond = ends > lengths.clamp(min=size)[:, None]
        return (
            maps.masked_fill(beyond[:, None], float("-inf")).amax(2).relu()
        )  # ReLU is monotonic: applying it once suffices
