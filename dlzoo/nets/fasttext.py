"""fastText: the mean of the vectors of a text's words and n-grams, and a linear classifier.

A. Joulin, E. Grave, P. Bojanowski, T. Mikolov, "Bag of Tricks for Efficient Text Classification", 2017: 10 units,
bigrams in 10 million buckets. Differs in the hash's inputs, which are numbers in the vocabulary, in the dropout of
n-grams, and in one logit for two classes.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Classes
>>> reviews = TextSpec(Classes(("negative", "positive")), vocabulary=tuple(str(i) for i in range(10_000)))
>>> with torch.device("meta"):  # (10000 + 10000000)*10 + 10 + 1
...     num_parameters(FastText(reviews, num_buckets=10_000_000))
100100011
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlzoo.errors import UserError, at_least
from dlzoo.layers.embedding import num_logits
from dlzoo.layers.ngrams import Ngrams
from dlzoo.nets.base import Net
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.tokenizer import PAD


class FastText(Net):
    """For texts with classes.

    Args:
        embedding: size of the vectors.
        ngrams: length of the longest n-grams; 1: words only.
        num_buckets: vectors of n-grams of two and more words, which are assigned by a hash.
        dropout: fraction of the n-grams that are left out in training, so that none is relied on.
    """

    accepts = (TextSpec,)

    def __init__(
        self,
        spec: TextSpec,
        *,
        embedding: int = 10,
        ngrams: int = 2,
        num_buckets: int = 1_000_000,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        at_least(1, "net", embedding=embedding)
        if not 0 <= dropout < 1:
            raise UserError(f"net.dropout={dropout} must be at least 0 and below 1")
        self.dropout = dropout
        self.ngrams = Ngrams(spec.num_tokens, ngrams, num_buckets=num_buckets)
        self.table = nn.Embedding(self.ngrams.num_ids, embedding, padding_idx=PAD)
        with torch.no_grad():
            self.table.weight.uniform_(-1 / embedding, 1 / embedding)[PAD] = 0.0
        self.output = nn.Linear(embedding, num_logits(spec))

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        return super().option_uses() | {"num_buckets": (self.ngrams.longest > 1, "net.ngrams above 1")}

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, L) token ids -> (B, K) logits, or (B, 1) for two classes."""
        ids = self.ngrams(x)
        if self.training and self.dropout:
            ids = ids.masked_fill(torch.rand(ids.shape, device=ids.device) < self.dropout, PAD)
        count = (ids != PAD).sum(1, keepdim=True).clamp(min=1)
        return self.output(self.table(ids).sum(1) / count)
