"""Token embeddings, trained from scratch or initialised with pretrained vectors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.layers import basic as layers
from dlzoo.specs.inputs import TextSpec, VocabularySpec
from dlzoo.specs.tokenizer import PAD, UNKNOWN
from dlzoo.utils import word_vectors
from dlzoo.utils.files import existing_file


class Embedding(nn.Module):
    """Token ids (B, L) -> (B, L, D), with two kinds of dropout in training. ``<pad>`` is always zero.

    Vectors are initialised with a standard deviation of 0.1. With PyTorch's 1, what is learned from a few
    thousand texts is drowned out by the initialisation: the BiLSTM for sentences reached a validation
    accuracy of 74% instead of 80%.

    Args:
        num_units: D.
        word_dropout: fraction of the tokens replaced by ``<unk>``, so that its vector is trained and no word relied on.
        dropout: dropout rate of the vectors' values.
        vectors: a file of pretrained vectors, read by `load_pretrained`: in word2vec's text or binary format, or in
            GloVe's (Pennington, Socher, Manning 2014).
        freeze: whether the vectors are frozen.
    """

    def __init__(
        self,
        spec: VocabularySpec,
        num_units: int,
        *,
        word_dropout: float = 0.0,
        dropout: float = 0.0,
        vectors: str | None = None,
        freeze: bool = False,
    ) -> None:
        super().__init__()
        if num_units < 1:
            raise UserError(f"net.embedding={num_units} must be at least 1")
        if not 0 <= word_dropout < 1:
            raise UserError(f"net.word_dropout={word_dropout} must be at least 0 and below 1")
        if freeze and vectors is None:
            raise UserError("net.freeze_vectors=true needs net.vectors=<file>: there is nothing to freeze")
        self.vocabulary = spec.vocabulary
        self.vectors = vectors
        self.word_dropout = word_dropout
        self.table = nn.Embedding(spec.num_tokens, num_units, padding_idx=PAD)
        with torch.no_grad():
            self.table.weight.mul_(0.1)
        self.table.weight.requires_grad_(not freeze)
        self.dropout = layers.dropout(dropout, "net.embedding_dropout")

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.word_dropout:
            dropped = torch.rand(x.shape, device=x.device) < self.word_dropout
            x = x.masked_fill(dropped & (x != PAD), UNKNOWN)
        return self.dropout(self.table(x))

    def load_pretrained(self) -> list[str]:
        """Load the vectors of the file, if one is given; reports how many tokens it covers."""
        if self.vectors is None:
            return []
        wanted = {token: i for i, token in enumerate(self.vocabulary) if i > UNKNOWN}
        pretrained = read_vectors(self.vectors, wanted, self.table.embedding_dim)
        with torch.no_grad():
            for row, vector in pretrained.items():
                self.table.weight[row] = torch.from_numpy(vector)
        coverage = len(pretrained) / max(len(wanted), 1)
        frozen = "" if self.table.weight.requires_grad else ", frozen"
        return [f"{self.vectors}: vectors of {len(pretrained):,} of {len(wanted):,} tokens ({coverage:.1%}){frozen}"]


def read_vectors(file: str, wanted: dict[str, int], num_units: int) -> dict[int, np.ndarray]:
    """The vectors (num_units,) float32 of a file, by the ids of the wanted tokens.

    A token that the file contains only in lower case gets that vector. Of a repeated token, the first vector counts.
    """
    path = existing_file(file, "net.vectors")
    exact: dict[int, np.ndarray] = {}
    vectors: dict[int, np.ndarray] = {}
    lower: dict[str, list[int]] = {}
    for token, row in wanted.items():
        lower.setdefault(token.lower(), []).append(row)
    for token, vector, where in word_vectors.read(path, "net.vectors", lambda t: t in wanted or t in lower):
        if len(vector) != num_units:
            raise UserError(f"{where}: it has {len(vector)} values, but net.embedding={num_units}; make them equal")
        vectors |= {row: vector for row in lower.get(token, ()) if row not in vectors}
        if token in wanted:
            exact.setdefault(wanted[token], vector)
    vectors |= exact
    if not vectors:
        raise UserError(f"net.vectors={file} has no vector of any of the {len(wanted):,} tokens of the vocabulary")
    return vectors


def lengths_of(x: Tensor) -> Tensor:
    """(B, L) token ids -> (B,): the number of tokens before the padding."""
    return (x != PAD).sum(1)


def num_logits(spec: TextSpec) -> int:
    """Number of logits: a single one for two classes."""
    return 1 if spec.target.num_outputs == 2 and spec.target.what == "classes" else spec.target.num_outputs
