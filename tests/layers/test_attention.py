"""Attention by its equation and beside PyTorch's layer; positions by their formulas; caches change nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.layers.attention import STD, Block, Blocks, SelfAttention
from dlzoo.layers.positions import AddedPositions, RotaryPositions


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def by_hand(layer: SelfAttention, x: Tensor) -> Tensor:
    """Causal attention, token by token and head by head."""
    size = x.shape[2] // layer.num_heads
    q, k, v = layer.to_qkv(x).split(x.shape[2], dim=2)
    rows = []
    for t in range(x.shape[1]):
        heads = []
        for h in range(layer.num_heads):
            own = slice(h * size, (h + 1) * size)
            scores = (k[:, : t + 1, own] @ q[:, t, own, None])[..., 0] / math.sqrt(size)
            heads.append((scores.softmax(1)[..., None] * v[:, : t + 1, own]).sum(1))
        rows.append(torch.cat(heads, 1))
    return layer.output(torch.stack(rows, 1))


def test_attention_is_its_equation() -> None:
    layer, x = SelfAttention(6, 2).double(), torch.randn(3, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x, causal=True)[0], by_hand(layer, x))


@pytest.mark.parametrize("rotary", [False, True])
def test_a_cache_changes_nothing(rotary: bool) -> None:
    layer, x = SelfAttention(8, 2, rotary=rotary), torch.randn(2, 7, 8)
    whole, _ = layer(x, causal=True)
    pieces, cache = [], None
    for start, end in ((0, 3), (3, 4), (4, 7)):
        positions = torch.arange(end)
        piece, cache = layer(x[:, start:end], cache, positions <= positions[start:, None])
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), whole)


def test_a_block_is_that_of_pytorch() -> None:
    block = Block(8, 2)
    peer = nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True)
    peer.load_state_dict(
        {
            "self_attn.in_proj_weight": block.attention.to_qkv.weight,
            "self_attn.in_proj_bias": block.attention.to_qkv.bias,
            **{f"self_attn.out_proj.{name}": value for name, value in block.attention.output.state_dict().items()},
            **{f"linear1.{name}": value for name, value in block.mlp[0].state_dict().items()},
            **{f"linear2.{name}": value for name, value in block.mlp[2].state_dict().items()},
            **{f"norm1.{name}": value for name, value in block.attention_norm.state_dict().items()},
            **{f"norm2.{name}": value for name, value in block.mlp_norm.state_dict().items()},
        }
    )
    x, real = torch.randn(2, 5, 8), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    output, _ = block(x, mask=real[:, None, None])
    torch.testing.assert_close(output[real], peer(x, src_key_padding_mask=~real)[real])


def test_sinusoids_by_their_formula() -> None:
    table = AddedPositions(6, 8, learned=False).table
    for t in range(6):
        for i in range(4):
            angle = t / 10_000 ** (2 * i / 8)
            assert table[t, 2 * i : 2 * i + 2].tolist() == pytest.approx([math.sin(angle), math.cos(angle)], abs=1e-6)
    assert AddedPositions(3, 5, learned=False).table.shape == (3, 5)


def test_rotated_scores_depend_on_distances() -> None:
    rotary = RotaryPositions(8)
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def score(i: int, j: int) -> float:
        return float((rotary(q, i) * rotary(k, j)).sum())

    assert score(9, 4) == pytest.approx(score(5, 0), abs=1e-5)
    assert abs(score(9, 4) - score(9, 5)) > 1e-3
    assert float(rotary(q, 100).norm()) == pytest.approx(float(q.norm()), rel=1e-5)
    torch.testing.assert_close(rotary(q, 0), q)


def test_initial_weights() -> None:
    blocks = Blocks(8, 64, 4)
    assert float(blocks.layers[0].mlp[0].weight.detach().std()) == pytest.approx(STD, rel=0.05)  # type: ignore[union-attr, index]
    assert float(blocks.layers[7].mlp[2].weight.detach().std()) == pytest.approx(STD / 4, rel=0.05)  # type: ignore[union-attr, index]
    assert all(not bias.any() for name, bias in blocks.named_parameters() if name.endswith("bias"))


def test_mistakes() -> None:
    with pytest.raises(UserError, match=r"net\.num_units=10 must be a multiple of net\.num_heads=4"):
        SelfAttention(10, 4)
    with pytest.raises(UserError, match=r"net\.positions=rotary rotates pairs of values, but a head has 3"):
        SelfAttention(6, 2, rotary=True)
    with pytest.raises(UserError, match=r"net\.num_layers=0"):
        Blocks(0, 8, 2)
