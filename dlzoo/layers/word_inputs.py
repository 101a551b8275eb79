"""Words as vectors: an embedding of the word, and what convolutions see in its characters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.errors import UserError, at_least
from dlzoo.layers import basic as layers
from dlzoo.layers.embedding import Embedding
from dlzoo.specs.sentences import SentenceSpec
from dlzoo.specs.tokenizer import PAD


class CharacterCNN(nn.Module):
    """Characters (B, L, C) -> (B, L, F): the highest response of each filter over a word.

    X. Ma, E. Hovy, "End-to-end Sequence Labeling via Bi-directional LSTM-CNNs-CRF", 2016: 30 filters of three
    neighbouring characters. Responses of windows without a character are not part of the maximum, so that a word has
    the same vector whatever the padding; without any character it is zero.
    """

    def __init__(self, num_characters: int, embedding: int, num_filters: int, widths: Sequence[int]) -> None:
        super().__init__()
        at_least(1, "net", character_embedding=embedding, character_filters=num_filters)
        if not widths or min(widths) < 1:
            raise UserError(f"net.character_widths={[*widths]} must give filter widths in characters, at least 1")
        self.table = nn.Embedding(num_characters, embedding, padding_idx=PAD)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, num_filters, width) for width in widths)
        self.num_outputs = num_filters * len(widths)

    def forward(self, x: Tensor) -> Tensor:
        characters = x.flatten(0, 1)
        vectors = self.table(characters).transpose(1, 2)  # (B * L, D, C)
        lengths = (characters != PAD).sum(1)
        found = torch.cat([self.pool(convolution, vectors, lengths) for convolution in self.convolutions], dim=1)  # type: ignore[arg-type]
        return found.view(*x.shape[:2], self.num_outputs)

    def pool(self, convolution: nn.Conv1d, vectors: Tensor, lengths: Tensor) -> Tensor:
        """(N, D, C) -> (N, F); windows are centred on the characters."""
        (width,) = convolution.kernel_size
        maps = convolution(F.pad(vectors, ((width - 1) // 2, width // 2)))
        beyond = torch.arange(maps.shape[2], device=maps.device) >= lengths[:, None]
        highest = maps.masked_fill(beyond[:, None], torch.finfo(maps.dtype).min).amax(2)
        return torch.where(lengths[:, None] > 0, highest, 0.0).relu()


class WordInputs(nn.Module):
    """Words with their characters (B, L, 1 + C) -> (B, L, D), zero behind each sentence's end.

    In training a fraction of the words is replaced by ``<unk>``, but not their characters: so the net learns what
    characters say about a word that it does not know.

    Args:
        embedding: dimension of the words' vectors.
        character_filters: of each width; 0: words are known by their number alone.
    """

    def __init__(
        self,
        spec: SentenceSpec,
        *,
        embedding: int,
        character_embedding: int,
        character_filters: int,
        character_widths: Sequence[int],
        embedding_dropout: float,
        word_dropout: float,
        vectors: str | None,
        freeze_vectors: bool,
    ) -> None:
        super().__init__()
        self.words = Embedding(spec, embedding, word_dropout=word_dropout, vectors=vectors, freeze=freeze_vectors)
        self.characters = (
            CharacterCNN(spec.num_characters, character_embedding, character_filters, character_widths)
            if character_filters
            else None
        )
        self.dropout = layers.dropout(embedding_dropout, "net.embedding_dropout")
        self.num_outputs = embedding + (0 if self.characters is None else self.characters.num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        vectors = self.words(x[..., 0])
        if self.characters is not None:
            vectors = torch.cat([vectors, self.characters(x[..., 1:])], dim=2)
        return self.dropout(vectors)
