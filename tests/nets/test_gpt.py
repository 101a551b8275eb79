"""A Transformer reads in windows: equal however it is read, and blind to the future and to what has left the window."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dlzoo.errors import SpecError, UserError
from dlzoo.inference.text import Options, generate
from dlzoo.layers.basic import num_parameters
from dlzoo.nets.gpt import GPT
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import Classes, NextTokens
from dlzoo.specs.tokenizer import SPECIAL, Tokenizer

CONTEXT = 6
CHARS = TextSpec(NextTokens(9, CONTEXT), Tokenizer("char"), vocabulary=(*SPECIAL, *"abcdefg"))


def make(**options: Any) -> GPT:
    torch.manual_seed(0)
    net = GPT(CHARS, **{"num_units": 16, "num_layers": 2, "num_heads": 2} | options).eval()
    for weight in net.parameters():  # with the initial ones, all predictions are much alike
        torch.nn.init.normal_(weight, std=0.5)
    return net


POSITIONS = pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])


@POSITIONS
@pytest.mark.parametrize("sizes", [[1] * 20, [6, 6, 6, 2], [5, 3, 12], [20]])
def test_reading_in_pieces_equals_reading_at_once(positions: Any, sizes: list[int]) -> None:
    net, x = make(positions=positions), torch.randint(1, 9, (3, 20))
    whole, state = net(x), None
    pieces = []
    for part in x.split(sizes, 1):
        logits, state = net.step(part, state)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(net(x[:, :CONTEXT]), whole[:, :CONTEXT], atol=1e-4, rtol=1e-4)


@POSITIONS
def test_a_window_begins_with_the_second_half_of_the_one_before(positions: Any) -> None:
    net, x = make(positions=positions), torch.randint(1, 9, (2, 12))
    whole = net(x)
    torch.testing.assert_close(whole[:, 6:9], net(x[:, 3:9])[:, 3:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(whole[:, 9:12], net(x[:, 6:12])[:, 3:], atol=1e-4, rtol=1e-4)


def test_predictions_depend_only_on_previous_tokens() -> None:
    net, x = make(), torch.randint(1, 9, (2, CONTEXT))
    before = net(x)
    x[:, 3] = x[:, 3] % 8 + 1
    after = net(x)
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert not torch.isclose(after[:, 3:], before[:, 3:]).all(2).any()


def test_a_window_of_one_token() -> None:
    net = GPT(TextSpec(NextTokens(9, 1), Tokenizer("char"), vocabulary=CHARS.vocabulary)).eval()
    x = torch.tensor([[2, 3, 2]])
    logits = net(x)
    torch.testing.assert_close(logits[:, 0], logits[:, 2])
    torch.testing.assert_close(net.step(x[:, :2])[0], logits[:, :2])


def test_order_is_seen_by_positions_alone() -> None:
    """Two tokens seen in either order: without positions the third prediction would be the same."""
    one, other = torch.tensor([[2, 3, 4]]), torch.tensor([[3, 2, 4]])
    for positions in ("learned", "sinusoidal", "rotary"):
        net = make(positions=positions, num_layers=1)
        assert not torch.allclose(net(one)[:, 2], net(other)[:, 2], atol=1e-3)


def test_weights_are_tied_by_choice() -> None:
    tied, free = GPT(CHARS), GPT(CHARS, tied=False)
    assert tied.output.weight is tied.embedding.weight
    assert num_parameters(free) - num_parameters(tied) == 9 * 128
    assert num_parameters(GPT(CHARS)) - num_parameters(GPT(CHARS, positions="rotary")) == CONTEXT * 128


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_text_beyond_the_window_is_written_as_by_reading_all_anew(positions: Any) -> None:
    net = make(positions=positions)
    text = generate(net, CHARS, Options(prompt="abc", length=30, temperature=0.0))
    ids = CHARS.encode("abc")
    for _ in range(30):
        scores = net(torch.tensor([ids]))[0, -1]
        scores[: len(SPECIAL)] = float("-inf")
        ids.append(int(scores.argmax()))
    assert text == CHARS.decode(ids)


def test_mistakes() -> None:
    with pytest.raises(SpecError, match="predicts next tokens, but the data gives classes"):
        GPT(TextSpec(Classes(("a", "b"))))
    with pytest.raises(UserError, match=r"net\.positions=absolute is unknown; choose from: learned, rotary"):
        GPT(CHARS, positions="absolute")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"net\.num_units=130 must be a multiple of net\.num_heads=4"):
        GPT(CHARS, num_units=130)
