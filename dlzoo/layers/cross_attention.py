"""Attention of a decoder to an encoder's tokens: additive, multiplicative, and that of Transformer decoders.

D. Bahdanau, K. Cho, Y. Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", 2015;
M.-T. Luong, H. Pham, C. D. Manning, "Effective Approaches to Attention-based Neural Machine Translation", 2015;
A. Vaswani et al., "Attention Is All You Need", 2017.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.layers.attention import Block, Blocks, Cache, check_heads, split_heads

ScoreName = Literal["additive", "multiplicative"]


class Attention(nn.Module):
    """A weighted mean of values, by scores of a query with each key.

    additive: v tanh(W q + U m), of Bahdanau et al.; multiplicative: q W m, the "general" score of Luong et al.
    """

    def __init__(self, score: ScoreName, num_queries: int, num_values: int, num_units: int) -> None:
        super().__init__()
        self.score = score
        is_additive = score == "additive"
        self.to_keys = nn.Linear(num_values, num_units if is_additive else num_queries, bias=False)
        self.to_query = nn.Linear(num_queries, num_units) if is_additive else None
        self.to_score = nn.Linear(num_units, 1, bias=False) if is_additive else None

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, is_token: Tensor) -> tuple[Tensor, Tensor]:
        """query: (B, T, Q), keys: (B, S, K), values: (B, S, D), is_token: (B, S) -> (B, T, D), weights (B, T, S)."""
        if self.to_query is not None and self.to_score is not None:
            scores = self.to_score(torch.tanh(self.to_query(query)[:, :, None] + keys[:, None]))[..., 0]
        else:
            scores = query @ keys.transpose(1, 2)
        weights = scores.masked_fill(~is_token[:, None], -torch.inf).softmax(2)
        return weights @ values, weights


class CrossAttention(nn.Module):
    """Scaled dot-product attention of several heads to another sequence, whose keys and values are computed once."""

    def __init__(self, num_units: int, num_heads: int) -> None:
        super().__init__()
        check_heads(num_units, num_heads)
        self.num_heads = num_heads
        self.to_q = nn.Linear(num_units, num_units)
        self.to_kv = nn.Linear(num_units, 2 * num_units)
        self.output = nn.Linear(num_units, num_units)

    def forward(self, x: Tensor, cache: Cache, mask: Tensor, *, weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """x: (B, T, D) -> (B, T, D), and the heads' mean weights (B, T, S) if they are asked for.

        Args:
            cache: keys and values (B, S, D) of the other sequence.
            mask: (B, 1, 1, S), true where attention may look.
        """
        q, k, v = (split_heads(part, self.num_heads) for part in (self.to_q(x), *cache))
        if not weights:
            heads, mean = F.scaled_dot_product_attention(q, k, v, attn_mask=mask), None
        else:
            scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
            each = scores.masked_fill(~mask, -torch.inf).softmax(3)
            heads, mean = each @ v, each.mean(1)
        return self.output(heads.transpose(1, 2).flatten(2)), mean


class DecoderBlock(Block):
    """A block that attends to another sequence between self-attention and MLP."""

    def __init__(
        self, num_units: int, num_heads: int, *, dropout: float = 0.0, rotary: bool = False, post_norm: bool = False
    ) -> None:
        super().__init__(num_units, num_heads, dropout=dropout, rotary=rotary, post_norm=post_norm)
        self.cross_norm = nn.LayerNorm(num_units)
        self.cross_attention = CrossAttention(num_units, num_heads)

    def decode(
        self, x: Tensor, cache: Cache | None, mask: Tensor, memory: Cache, memory_mask: Tensor, *, weights: bool = False
    ) -> tuple[Tensor, Cache, Tensor | None]:
        """x: (B, T, D) -> (B, T, D), keys and values of all tokens so far, and the weights of cross attention."""
        attended, cache = self.attention(self.before(self.attention_norm, x), cache, mask)
        x = self.added(self.attention_norm, x, attended)
        found, each = self.cross_attention(self.before(self.cross_norm, x), memory, memory_mask, weights=weights)
        x = self.added(self.cross_norm, x, found)
        return self.added(self.mlp_norm, x, self.mlp(self.before(self.mlp_norm, x))), cache, each


class DecoderBlocks(Blocks):
    """Several decoder blocks."""

    block = DecoderBlock

    def remember(self, x: Tensor) -> Tensor:
        """x: (B, S, D), the encoder's outputs -> their keys and values in each layer, (2 layers, B, S, D)."""
        layers: Any = self.layers
        return torch.stack([part for layer in layers for part in layer.cross_attention.to_kv(x).chunk(2, dim=2)])

    def decode(
        self, x: Tensor, cache: Tensor, mask: Tensor, memory: Tensor, memory_mask: Tensor, *, weights: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """x: (B, T, D) -> (B, T, D), keys and values of all tokens so far, and the weights (layers, B, T, S).

        Args:
            cache: (2 layers, B, P, D), keys and values of the P tokens before.
            mask: (T, P + T), true where self-attention may look.
            memory: as `remember` gives it.
            memory_mask: (B, 1, 1, S), false at padding.
        """
        caches, found = [], []
        layers: Any = self.layers
        for i, layer in enumerate(layers):
            mine = slice(2 * i, 2 * i + 2)
            x, new, each = layer.decode(x, (*cache[mine],), mask, (*memory[mine],), memory_mask, weights=weights)
            caches += new
            found += [] if each is None else [each]
        return self.norm(x), torch.stack(caches), torch.stack(found) if found else None
