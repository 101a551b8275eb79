"""Nets that write token sequences: padding, causality, steps and attention, whatever the net."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from net_classes import ALL
from torch import Tensor

from dlzoo.errors import SpecError, UserError
from dlzoo.nets.base import TransducerNet
from dlzoo.nets.seq2seq import Seq2Seq
from dlzoo.nets.seq2seq_attention import Seq2SeqAttention
from dlzoo.nets.transformer import Transformer
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import Classes
from dlzoo.specs.token_sequences import END, START, TARGET_SPECIAL, TokenSequences
from dlzoo.specs.tokenizer import PAD, SPECIAL, UNKNOWN
from dlzoo.tasks.decoding import beam_search, greedy
from dlzoo.tasks.transduction import cross_entropy, shifted

SPEC = TextSpec(
    TokenSequences(vocabulary=(*TARGET_SPECIAL, *"abc"), max_length=6),
    max_length=24,
    vocabulary=(*SPECIAL, *"abcdefgh"),
)
SHARED = TextSpec(
    TokenSequences(vocabulary=(*TARGET_SPECIAL, *"abc"), max_length=6),
    max_length=24,
    vocabulary=(*TARGET_SPECIAL, *"abc"),
)
SMALL = {"num_units": 8, "num_layers": 2}
MADE: list[tuple[type[TransducerNet], dict[str, Any]]] = [
    (Seq2Seq, {"embedding": 4, **SMALL}),
    (Seq2Seq, {"embedding": 4, "cell": "gru", "backwards": False, **SMALL}),
    (Seq2SeqAttention, {"embedding": 4, **SMALL}),
    (Seq2SeqAttention, {"embedding": 4, "attention": "multiplicative", "cell": "lstm", **SMALL}),
    (Transformer, {"num_heads": 2, "norm": "post", **SMALL}),
    (Transformer, {"num_heads": 2, "positions": "learned", "embeddings": "separate", **SMALL}),
    (Transformer, {"num_heads": 2, "positions": "rotary", **SMALL}),
]
every_net = pytest.mark.parametrize(("cls", "options"), MADE, ids=lambda value: getattr(value, "__name__", ""))
pytestmark = pytest.mark.usefixtures("one_thread")


def make(cls: type[TransducerNet], options: dict[str, Any], spec: TextSpec = SPEC, seed: int = 0) -> TransducerNet:
    """With weights so large that outputs depend on inputs."""
    torch.manual_seed(seed)
    net = cls(spec, **options).eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.3 * torch.randn(weight.shape))
    return net


def test_every_transducer_is_tested_here() -> None:
    assert {cls for cls, _ in MADE} == {cls for cls in ALL if issubclass(cls, TransducerNet)}


@every_net
def test_padding_changes_nothing(cls: type[TransducerNet], options: dict[str, Any]) -> None:
    net, (x, y) = make(cls, options), SPEC.example(5)
    assert (x == PAD).any()
    whole = net(x, y)
    torch.testing.assert_close(net(torch.cat([x, x.new_full((5, 7), PAD)], 1), y), whole)
    for row, (source, target) in enumerate(zip(x, y, strict=True)):
        alone = net(source[source != PAD][None], target[target != PAD][None])
        torch.testing.assert_close(alone[0], whole[row, : alone.shape[1]])
    assert not torch.equal(net(x.roll(1, 0), y), whole), "the input matters"


@every_net
def test_outputs_depend_on_earlier_tokens_alone(cls: type[TransducerNet], options: dict[str, Any]) -> None:
    net, (x, y) = make(cls, options), SPEC.example(5)
    changed = y.clone()
    changed[:, 2:] = 4 + (y[:, 2:] + 1) % 3
    before, after = net(x, y), net(x, changed)
    torch.testing.assert_close(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2:], after[:, 2:])


@every_net
def test_steps_with_a_state_equal_the_whole(cls: type[TransducerNet], options: dict[str, Any]) -> None:
    net, (x, y) = make(cls, options), SPEC.example(5)
    for sizes in ([1] * y.shape[1], [2, y.shape[1] - 2]):
        encoded, parts = net.encode(x), []
        for part in y.split(sizes, 1):
            logits, encoded, _ = net.decode(part, encoded)
            parts.append(logits)
        torch.testing.assert_close(torch.cat(parts, 1), net(x, y))


@every_net
def test_attention_is_a_mean_over_the_tokens_without_padding(cls: type[TransducerNet], options: dict[str, Any]) -> None:
    net, (x, y) = make(cls, options), SPEC.example(5)
    logits, _, weights = net.decode(y, net.encode(x), weights=True)
    torch.testing.assert_close(logits, net(x, y))  # it is what the output was computed with
    assert (weights is not None) == net.attends
    if weights is not None:
        assert weights.shape[1:] == (*y.shape, x.shape[1])
        torch.testing.assert_close(weights.sum(3), torch.ones(weights.shape[:3]))
        assert not weights.masked_select((x == PAD)[None, :, None]).any()


@every_net
def test_every_parameter_gets_a_gradient(cls: type[TransducerNet], options: dict[str, Any]) -> None:
    net, (x, y) = make(cls, options), SPEC.example(31)
    cross_entropy(net(x, shifted(y)), y).sum().backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]


@every_net
def test_equal_seeds_give_equal_weights_and_reloading_equal_outputs(
    cls: type[TransducerNet], options: dict[str, Any]
) -> None:
    one, same, other = make(cls, options), make(cls, options), make(cls, options, seed=1)
    x, y = SPEC.example(3)
    assert torch.equal(one(x, y), same(x, y))
    assert not torch.equal(one(x, y), other(x, y))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(x, y), other(x, y))


# decoding


@every_net
def test_a_beam_of_one_is_greedy(cls: type[TransducerNet], options: dict[str, Any]) -> None:
    net, (x, _) = make(cls, options), SPEC.example(20)
    one, other = greedy(net, x, 6), beam_search(net, x, 6, beam_size=1, length_penalty=0.6)
    assert torch.equal(one.tokens, other.tokens)
    torch.testing.assert_close(one.scores, beam_search(net, x, 6, beam_size=1).scores)


@every_net
def test_a_beam_finds_what_is_at_least_as_probable(cls: type[TransducerNet], options: dict[str, Any]) -> None:
    net, (x, _) = make(cls, options), SPEC.example(20)
    scores = beam_search(net, x, 6, beam_size=8).scores
    assert (scores >= greedy(net, x, 6).scores - 1e-5).all()
    assert (scores > greedy(net, x, 6).scores + 1e-3).any(), "greedy is not always best, or this shows nothing"


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_of_all_outputs(alpha: float) -> None:
    net, (x, _) = make(*MADE[2]), SPEC.example(6)
    found = beam_search(net, x, 3, beam_size=60, length_penalty=alpha)
    outputs = [[*words, END] for num in range(4) for words in itertools.product((4, 5, 6), repeat=num)]
    outputs += [[*words] for words in itertools.product((4, 5, 6), repeat=4)]  # cut
    scores = torch.stack([score(net, x, output) / ((5 + len(output)) / 6) ** alpha for output in outputs], 1)
    torch.testing.assert_close(found.scores, scores.max(1).values)
    for tokens, best in zip(found.tokens.tolist(), scores.argmax(1).tolist(), strict=True):
        assert [token for token in tokens if token != PAD] == outputs[best]


def score(net: TransducerNet, x: Tensor, output: list[int]) -> Tensor:
    """The log-probability (B,) of one output for each input, from a single pass."""
    y = torch.tensor([output] * len(x))
    logits = net(x, shifted(y)).clone()
    logits[..., [PAD, UNKNOWN, START]] = -torch.inf
    return logits.log_softmax(2).gather(2, y[..., None])[..., 0].sum(1)


def test_the_length_penalty_favours_long_outputs() -> None:
    net, (x, _) = make(*MADE[0]), SPEC.example(40)
    lengths = [(beam_search(net, x, 6, beam_size=6, length_penalty=alpha).tokens != PAD).sum() for alpha in (0.0, 3.0)]
    assert lengths[1] > lengths[0]


# options


def test_shared_and_tied_embeddings() -> None:
    shared = Transformer(SHARED, embeddings="shared", num_heads=2, **SMALL)
    assert shared.source is shared.target
    assert shared.output.weight is shared.target.weight
    tied = Transformer(SPEC, num_heads=2, **SMALL)
    assert tied.source is not tied.target
    assert tied.output.weight is tied.target.weight
    with pytest.raises(UserError, match=r"net\.embeddings=shared needs .* data\.shared_vocabulary=true"):
        Transformer(SPEC, embeddings="shared")


@pytest.mark.parametrize("cls", [Seq2Seq, Seq2SeqAttention, Transformer])
def test_another_target_is_refused(cls: type[TransducerNet]) -> None:
    with pytest.raises(SpecError, match="writes token sequences, but the data gives classes"):
        cls(SPEC.with_target(Classes(("a", "b"))))


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (Transformer, {"norm": "both"}, r"net\.norm=both is unknown"),
        (Transformer, {"num_units": 9, "num_heads": 2}, r"net\.num_units=9 must be a multiple of net\.num_heads=2"),
        (Seq2SeqAttention, {"attention": "addditive"}, r"net\.attention=addditive is unknown; did you mean 'additive'"),
        (Seq2Seq, {"embedding": 0}, r"net\.embedding=0 must be at least 1"),
    ],
)
def test_options_that_do_not_exist(cls: type[TransducerNet], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cls(SPEC, **options)
