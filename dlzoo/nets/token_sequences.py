"""What the nets that write token sequences have in common."""

from __future__ import annotations

from torch import nn

from dlzoo.errors import SpecError, UserError
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.token_sequences import TokenSequences
from dlzoo.specs.tokenizer import PAD


def sequences_of(spec: TextSpec) -> TokenSequences:
    """The target; `SpecError` if it is another kind."""
    if spec.target.token_sequences is None:
        raise SpecError(f"this net writes token sequences, but the data gives {spec.target.what}")
    return spec.target.token_sequences


def embedding_of(num_tokens: int, num_units: int, std: float = 0.1) -> nn.Embedding:
    """Vectors of tokens, drawn with a small standard deviation as in `dlzoo.layers.embedding.Embedding`; zero for
    ``<pad>``."""
    if num_units < 1:
        raise UserError(f"net.embedding={num_units} must be at least 1")
    table = nn.Embedding(num_tokens, num_units, padding_idx=PAD)
    nn.init.normal_(table.weight, std=std)
    nn.init.zeros_(table.weight[PAD])
    return table
