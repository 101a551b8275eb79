"""Self-attention and the blocks of Transformers.

A. Vaswani et al., "Attention Is All You Need", 2017. Blocks normalise their inputs ("pre-norm": R. Xiong et al., "On
Layer Normalization in the Transformer Architecture", 2020), so that they train without a long warm-up, or their sums
("post-norm"), as published first. Attention to another sequence is in dlzoo/layers/cross_attention.py.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.layers import basic as layers
from dlzoo.layers.positions import RotaryPositions

Cache = tuple[Tensor, Tensor]
"""Keys and values (B, P, D) of the P tokens before, all heads side by side."""

STD = 0.02
"""Of initial weights, as in GPT-2."""


def check_heads(num_units: int, num_heads: int) -> None:
    """`UserError` unless each head gets the same number of units."""
    if num_heads < 1 or num_units % num_heads:
        raise UserError(f"net.num_units={num_units} must be a multiple of net.num_heads={num_heads}")


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, T, D) -> (B, H, T, D / H)"""
    return x.unflatten(2, (num_heads, -1)).transpose(1, 2)


class SelfAttention(nn.Module):
    """Scaled dot-product attention of several heads, by `torch.nn.functional.scaled_dot_product_attention`.

    Attention weights are not dropped: the fused kernels of CPUs know no dropout.
    """

    def __init__(self, num_units: int, num_heads: int, *, rotary: bool = False) -> None:
        super().__init__()
        check_heads(num_units, num_heads)
        self.num_heads = num_heads
        self.to_qkv = nn.Linear(num_units, 3 * num_units)
        self.output = nn.Linear(num_units, num_units)
        self.rotary = RotaryPositions(num_units // num_heads) if rotary else None

    def forward(
        self, x: Tensor, cache: Cache | None = None, mask: Tensor | None = None, *, causal: bool = False
    ) -> tuple[Tensor, Cache]:
        """x: (B, T, D) -> (B, T, D), and keys and values of all tokens so far.

        Args:
            cache: of the P tokens before x.
            mask: (B, 1, 1, P + T) or (T, P + T), true where attention may look.
            causal: without a cache and a mask: each token sees itself and those before it.
        """
        start = 0 if cache is None else cache[0].shape[1]
        q, k, v = self.to_qkv(x).chunk(3, dim=2)
        q, k = self._rotated(q, start), self._rotated(k, start).transpose(1, 2).flatten(2)
        if cache is not None:
            k, v = torch.cat([cache[0], k], dim=1), torch.cat([cache[1], v], dim=1)
        k_heads, v_heads = split_heads(k, self.num_heads), split_heads(v, self.num_heads)
        heads = F.scaled_dot_product_attention(q, k_heads, v_heads, attn_mask=mask, is_causal=causal)
        return self.output(heads.transpose(1, 2).flatten(2)), (k, v)

    def _rotated(self, x: Tensor, start: int) -> Tensor:
        heads = split_heads(x, self.num_heads)
        return heads if self.rotary is None else self.rotary(heads, start)


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)), where the MLP has four times as many units and GELU.

    Args:
        dropout: dropout rate of what is added in each of the two.
        post_norm: norm(x + attention(x)), then norm(x + MLP(x)).
    """

    def __init__(
        self, num_units: int, num_heads: int, *, dropout: float = 0.0, rotary: bool = False, post_norm: bool = False
    ) -> None:
        super().__init__()
        self.post_norm = post_norm
        self.attention_norm = nn.LayerNorm(num_units)
        self.attention = SelfAttention(num_units, num_heads, rotary=rotary)
        self.mlp_norm = nn.LayerNorm(num_units)
        self.mlp = nn.Sequential(nn.Linear(num_units, 4 * num_units), nn.GELU(), nn.Linear(4 * num_units, num_units))
        self.dropout = layers.dropout(dropout)

    def forward(
        self, x: Tensor, cache: Cache | None = None, mask: Tensor | None = None, *, causal: bool = False
    ) -> tuple[Tensor, Cache]:
        """As `SelfAttention.forward`."""
        attended, cache = self.attention(self.before(self.attention_norm, x), cache, mask, causal=causal)
        x = self.added(self.attention_norm, x, attended)
        return self.added(self.mlp_norm, x, self.mlp(self.before(self.mlp_norm, x))), cache

    def before(self, norm: nn.Module, x: Tensor) -> Tensor:
        """What a part of the block sees of x."""
        return x if self.post_norm else norm(x)

    def added(self, norm: nn.Module, x: Tensor, part: Tensor) -> Tensor:
        """x with what the part adds to it."""
        x = x + self.dropout(part)
        return norm(x) if self.post_norm else x


class Blocks(nn.Module):
    """Several blocks and, unless they end with one, a final norm, initialised as in GPT-2: weights of standard
    deviation `STD`, and those of what each of n blocks adds to the sum smaller by sqrt(2 n)."""

    block: type[Block] = Block

    def __init__(
        self,
        num_layers: int,
        num_units: int,
        num_heads: int,
        *,
        dropout: float = 0.0,
        rotary: bool = False,
        post_norm: bool = False,
    ) -> None:
        super().__init__()
        for key, value in {"num_layers": num_layers, "num_units": num_units}.items():
            if value < 1:
                raise UserError(f"net.{key}={value} must be at least 1")
        self.num_units = num_units
        self.layers = nn.ModuleList(
            self.block(num_units, num_heads, dropout=dropout, rotary=rotary, post_norm=post_norm)
            for _ in range(num_layers)
        )
        self.norm: nn.Module = nn.Identity() if post_norm else nn.LayerNorm(num_units)
        for name, weight in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(weight)
            elif weight.ndim == 2:
                is_added = name.endswith(("attention.output.weight", "mlp.2.weight"))
                nn.init.normal_(weight, std=STD / math.sqrt(2 * num_layers) if is_added else STD)

    def forward(
        self, x: Tensor, cache: Tensor | None = None, mask: Tensor | None = None, *, causal: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """x: (B, T, D) -> (B, T, D), and keys and values of each layer in turn.

        Args:
            cache: (2 layers, B, P, D), keys and values of the P tokens before.
        """
        caches: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            x, new = layer(x, None if cache is None else (cache[2 * i], cache[2 * i + 1]), mask, causal=causal)
            caches += new
        return self.norm(x), caches
