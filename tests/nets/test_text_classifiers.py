"""Bags of n-grams and Transformer encoders: by hand, and blind to padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dlzoo.errors import UserError
from dlzoo.layers.basic import num_parameters
from dlzoo.nets.fasttext import FastText
from dlzoo.nets.transformer_classifier import TransformerClassifier
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import Classes
from dlzoo.specs.tokenizer import SPECIAL

TOPICS = TextSpec(Classes(("a", "b", "c")), max_length=8, vocabulary=(*SPECIAL, *"abcdefgh"))
TWO = TextSpec(Classes(("no", "yes")), vocabulary=(*SPECIAL, *"abcdefgh"))


def make(cls: type[nn.Module], spec: TextSpec = TOPICS, **options: Any) -> Any:
    torch.manual_seed(0)
    small = {"num_buckets": 50} if cls is FastText else {"num_units": 8, "num_heads": 2}
    return cls(spec, **small | options).eval()


def test_fasttext_by_hand() -> None:
    net, text = make(FastText, ngrams=2), [3, 4, 3]
    ids = net.ngrams(torch.tensor([text]))[0]
    vectors = [net.table.weight[i] for i in ids.tolist() if i]
    assert len(vectors) == 5, "three words and two pairs"
    expected = net.output(sum(vectors) / 5)
    torch.testing.assert_close(net(torch.tensor([[*text, 0, 0]]))[0], expected)


def test_pairs_of_words_see_order() -> None:
    one, other = torch.tensor([[3, 4, 5]]), torch.tensor([[5, 4, 3]])
    words, pairs = make(FastText, ngrams=1), make(FastText, ngrams=2)
    torch.testing.assert_close(words(one), words(other))
    assert not torch.allclose(pairs(one), pairs(other))
    assert num_parameters(pairs) - num_parameters(words) == 50 * 10


def test_n_grams_are_left_out_in_training_alone() -> None:
    net, x = make(FastText, dropout=0.5), torch.tensor([[3, 4, 5, 6, 7]])
    assert torch.equal(net(x), net(x))
    net.train()
    assert len({tuple(net(x)[0].tolist()) for _ in range(10)}) > 3


@pytest.mark.parametrize("options", [{}, {"positions": "learned"}, {"positions": "sinusoidal"}])
def test_a_transformer_reads_past_padding(options: dict[str, Any]) -> None:
    net = make(TransformerClassifier, **options)
    alone, x = torch.tensor([[3, 4, 5]]), torch.tensor([[3, 4, 5, 0, 0, 0, 0, 0], [2, 3, 4, 5, 6, 7, 8, 9]])
    torch.testing.assert_close(net(x)[:1], net(alone), atol=1e-6, rtol=1e-5)
    hidden, _ = net.blocks(net.positions(net.embedding(alone)))
    torch.testing.assert_close(net(alone), net.output(hidden.mean(1)), atol=1e-6, rtol=1e-5)


def test_a_transformer_sees_order_and_later_tokens() -> None:
    net = make(TransformerClassifier)
    outputs = [net(torch.tensor([text])) for text in ([3, 4, 5], [5, 4, 3], [3, 4, 6])]
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-6)
    assert not torch.allclose(outputs[0], outputs[2], atol=1e-6)


@pytest.mark.parametrize("cls", [FastText, TransformerClassifier])
def test_one_logit_for_two_classes(cls: type[nn.Module]) -> None:
    assert make(cls, TWO)(torch.tensor([[3, 4]])).shape == (1, 1)
    assert make(cls)(torch.tensor([[3, 4]])).shape == (1, 3)


def test_mistakes() -> None:
    with pytest.raises(UserError, match=r"net\.positions=learned needs data\.max_length"):
        make(TransformerClassifier, TWO, positions="learned")
    with pytest.raises(UserError, match=r"net\.dropout=1\.0 must be at least 0 and below 1"):
        make(FastText, dropout=1.0)
    with pytest.raises(UserError, match=r"net\.embedding=0"):
        make(FastText, embedding=0)
