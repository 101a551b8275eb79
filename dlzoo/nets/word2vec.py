"""word2vec: vectors of words that predict, or are predicted by, the words around them.

T. Mikolov, K. Chen, G. Corrado, J. Dean, "Efficient Estimation of Word Representations in Vector Space", 2013, and
T. Mikolov, I. Sutskever, K. Chen, G. Corrado, J. Dean, "Distributed Representations of Words and Phrases and their
Compositionality", 2013. A vocabulary of 10,000 tokens with negative sampling:

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import NextTokens
>>> words = TextSpec(NextTokens(10_000), vocabulary=tuple(str(i) for i in range(10_000)))
>>> num_parameters(Word2Vec(words))  # 10000*100 + 10000*100
2000000
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from dlzoo.errors import at_least, pick
from dlzoo.nets.base import WordNet
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.tokenizer import UNKNOWN

OutputName = Literal["negative_sampling", "hierarchical_softmax"]


class Word2Vec(WordNet):
    """For texts; trained by `dlzoo.tasks.word2vec.WordPrediction`.

    Vectors are initialised from U(-1/2D, 1/2D) and output weights with zeros, as in the authors' program.

    Args:
        embedding: D, the dimension of the vectors.
        output: a weight vector for each word, or for each inner node of the Huffman tree of the words.
    """

    accepts = (TextSpec,)

    def __init__(self, spec: TextSpec, *, embedding: int = 100, output: OutputName = "negative_sampling") -> None:
        super().__init__()
        at_least(1, "net", embedding=embedding)
        pick(output, {"negative_sampling": 0, "hierarchical_softmax": 0}, "net.output")
        self.output: OutputName = output
        num_outputs = spec.num_tokens
        if output == "hierarchical_softmax":
            num_outputs = max(spec.num_tokens - UNKNOWN - 2, 1)
        self.table = nn.Parameter((torch.rand(spec.num_tokens, embedding) - 0.5) / embedding)
        self.output_weights = nn.Parameter(torch.zeros(num_outputs, embedding))
        self.register_buffer("counts", torch.zeros(spec.num_tokens))

    @property
    def vectors(self) -> Tensor:
        return self.table

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, L) token ids -> (B, L, D) vectors."""
        return self.table[x]
