"""What the nets on the pages of the zoo are drawn for: specs of well-known data, without reading any."""

from __future__ import annotations

from dlzoo.specs.audio import AudioSpec
from dlzoo.specs.base import Spec
from dlzoo.specs.boxes import Boxes
from dlzoo.specs.environments import EnvSpec, StatesSpec
from dlzoo.specs.inputs import Column, ImageSpec, SequenceSpec, SeriesSpec, TableSpec, TextSpec
from dlzoo.specs.named import NamedSpec, Targets
from dlzoo.specs.ratings import ItemRatings, RatingsSpec
from dlzoo.specs.sentences import SentenceSpec, Tags
from dlzoo.specs.targets import Actions, Classes, NextTokens, Values
from dlzoo.specs.token_sequences import TokenSequences
from dlzoo.specs.tokenizer import SPECIAL, Tokenizer

DIGITS = Classes(tuple("0123456789"))
SPECIES = Classes(("setosa", "versicolor", "virginica"))


def table(num_columns: int, target: Classes | Values) -> TableSpec:
    return TableSpec(tuple(Column(f"x{i}") for i in range(num_columns)), target)


def vocabulary(size: int) -> tuple[str, ...]:
    return (*SPECIAL, *(f"w{i}" for i in range(size - len(SPECIAL))))


def named_specs() -> dict[str, Spec]:
    """The specs that docs/zoo/*.yaml name."""
    return {
        "gates": table(2, Classes(("false", "true"))),
        "iris": table(4, SPECIES),
        "wine": table(13, Classes(("a", "b", "c"))),
        "california": table(8, Values(("price",))),
        "pairs": NamedSpec.of({"left": table(2, SPECIES), "right": table(2, SPECIES)}, SPECIES),
        "mnist": ImageSpec(1, 28, 28, DIGITS),
        "placed_digits": ImageSpec(
            1, 64, 64, Targets.of({"class": Classes((*DIGITS.names, "none")), "box": Boxes("none")})
        ),
        "encoder": ImageSpec(1, 2, 4, Classes(("0", "1", "2", "3"))),
        "cifar10": ImageSpec(3, 32, 32, DIGITS),
        "photos": ImageSpec(3, 224, 224, DIGITS),
        "photos299": ImageSpec(3, 299, 299, DIGITS),
        "load": SeriesSpec(Values(("load",)), window=48, horizon=1200),
        "gestures": SequenceSpec(100, 3, SPECIES, is_padded=True),
        "spoken_digits": AudioSpec(8000, 8000, DIGITS),
        "counting": SequenceSpec(10, 1, Values(("ones",))),
        "passengers": SeriesSpec(Values(("passengers",)), window=48, horizon=12),
        "sentences": TextSpec(Classes(("negative", "positive")), vocabulary=vocabulary(5000)),
        "reviews": TextSpec(Classes(("negative", "positive")), vocabulary=vocabulary(10000)),
        "tagged": SentenceSpec(
            Tags(tuple(f"tag {i}" for i in range(17))), vocabulary=vocabulary(16_656), characters=vocabulary(110)
        ),
        "characters": TextSpec(NextTokens(90), Tokenizer("char"), vocabulary=vocabulary(90)),
        "words": TextSpec(NextTokens(5000), Tokenizer("word"), vocabulary=vocabulary(5000)),
        "translation": TextSpec(
            TokenSequences(vocabulary=vocabulary(10_000), max_length=20), vocabulary=vocabulary(10_000)
        ),
        "cartpole": EnvSpec("CartPole-v1", (4,), Actions(("left", "right"))),
        "ratings": RatingsSpec(ItemRatings(tuple(f"item {i}" for i in range(100))), (1.0, 2.0, 3.0, 4.0, 5.0)),
        "frozen_lake": StatesSpec("FrozenLake-v1", 16, Actions(("left", "down", "right", "up"))),
    }
