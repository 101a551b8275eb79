"""Specs of each kind, and nets for them, made alike each time."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dlzoo.specs.audio import AudioSpec
from dlzoo.specs.base import Spec
from dlzoo.specs.environments import EnvSpec, StatesSpec
from dlzoo.specs.inputs import Column, ImageSpec, SequenceSpec, SeriesSpec, TableSpec, TextSpec
from dlzoo.specs.named import NamedSpec
from dlzoo.specs.ratings import ItemRatings, RatingsSpec
from dlzoo.specs.sentences import SentenceSpec, Tags
from dlzoo.specs.targets import Actions, Classes, NextTokens, Values
from dlzoo.specs.tokenizer import SPECIAL, Tokenizer


def table(num_features: int, target: Classes | Values) -> TableSpec:
    return TableSpec(tuple(Column(f"x{i}") for i in range(num_features)), target)


TEN = Classes(tuple("0123456789"))
MNIST = ImageSpec(1, 28, 28, TEN)
SPECS: dict[str, Spec] = {
    "grey8": ImageSpec(1, 8, 8, TEN),
    "grey28": MNIST,
    "colour32": ImageSpec(3, 32, 32, TEN),
    "angles": ImageSpec(1, 12, 20, Values(("sine", "cosine"))),
    "wine": table(13, Classes(("a", "b", "c"))),
    "bits": table(2, Classes(("false", "true"))),
    "california": table(8, Values(("price",))),
    "recordings": AudioSpec(4000, 2000, TEN),
    "sequences": SequenceSpec(10, 1, Values(("ones",))),
    "gestures": SequenceSpec(9, 3, Classes(("a", "b", "c")), is_padded=True),
    "series": SeriesSpec(Values(("sales", "visits")), window=12, horizon=3),
    "reviews": TextSpec(Classes(("negative", "positive")), vocabulary=(*SPECIAL, *"abcdefghijklmnopqr")),
    "tagged": SentenceSpec(Tags(tuple("abcd")), vocabulary=(*SPECIAL, *"abcdefgh"), characters=(*SPECIAL, *"abcdefgh")),
    "pole": EnvSpec("CartPole-v1", (4,), Actions(("left", "right"))),
    "screen": EnvSpec("Breakout", (4, 44, 40), Actions(tuple("0123"))),
    "lake": StatesSpec("FrozenLake-v1", 16, Actions(tuple("0123"))),
    "ratings": RatingsSpec(ItemRatings(tuple("abcdef")), (1.0, 2.0, 3.0, 4.0, 5.0)),
    "pairs": NamedSpec.of({"left": table(3, TEN), "right": table(3, TEN)}, TEN),
    "topics": TextSpec(Classes(("a", "b", "c")), Tokenizer("char"), vocabulary=(*SPECIAL, *"abcdefghijklmnopqr")),
}
STREAMS = {
    level: TextSpec(NextTokens(20), Tokenizer(level), vocabulary=(*SPECIAL, *"abcdefghijklmnopqr"))
    for level in ("char", "word")
}


def make(cls: type[nn.Module], spec: Spec, seed: int = 0, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    return cls(spec, **options)
