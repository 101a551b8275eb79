"""GloVe: vectors of words whose products are the logarithms of how often the words stand near each other.

J. Pennington, R. Socher, C. D. Manning, "GloVe: Global Vectors for Word Representation", EMNLP 2014. A vocabulary of
10,000 tokens; each has a vector and a bias as a word, and again as a context:

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import NextTokens
>>> words = TextSpec(NextTokens(10_000), vocabulary=tuple(str(i) for i in range(10_000)))
>>> num_parameters(GloVe(words))  # 2 * 10000*(100 + 1)
2020000
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlzoo.errors import at_least
from dlzoo.nets.base import WordNet
from dlzoo.specs.inputs import TextSpec


class GloVe(WordNet):
    """For texts; trained by `dlzoo.tasks.glove.CooccurrenceFactorization`.

    A word's vector is the sum of its vector as a word and that as a context. Both start from U(-1/2D, 1/2D), as in the
    authors' program.

    Args:
        embedding: D, the dimension of the vectors.
    """

    accepts = (TextSpec,)

    def __init__(self, spec: TextSpec, *, embedding: int = 100) -> None:
        super().__init__()
        at_least(1, "net", embedding=embedding)
        num = spec.num_tokens
        self.table = nn.Parameter((torch.rand(num, embedding + 1) - 0.5) / (embedding + 1))
        """The bias in the last column."""
        self.context_table = nn.Parameter((torch.rand(num, embedding + 1) - 0.5) / (embedding + 1))
        self.register_buffer("counts", torch.zeros(num))
        self.squares: Tensor
        """(V, D + 1), AdaGrad's sums of squared gradients, of the words."""
        self.register_buffer("squares", torch.ones(num, embedding + 1))
        self.context_squares: Tensor
        self.register_buffer("context_squares", torch.ones(num, embedding + 1))

    @property
    def vectors(self) -> Tensor:
        return (self.table + self.context_table)[:, :-1]

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, L) token ids -> (B, L, D) vectors."""
        return (self.table[x] + self.context_table[x])[..., :-1]
