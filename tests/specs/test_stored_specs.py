"""A stored spec may come from a stranger: values that contradict one another, or that no run has, are a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from dlzoo.errors import UserError
from dlzoo.specs.audio import AudioSpec
from dlzoo.specs.environments import EnvSpec, StatesSpec
from dlzoo.specs.inputs import ImageSpec, SequenceSpec, SeriesSpec, TableSpec, TextSpec
from dlzoo.specs.plain import from_plain, spec_from_plain, to_plain
from dlzoo.specs.sentences import SentenceSpec, Tags
from dlzoo.specs.series_transform import Transform
from dlzoo.specs.targets import Actions, Classes, NextTokens, Values
from dlzoo.specs.token_sequences import TokenSequences
from dlzoo.specs.tokenizer import SPECIAL, Tokenizer

TWO = Classes(("a", "b"), (3, 4))
GOOD = {
    "image": ImageSpec(1, 8, 8, TWO, (0.5,), (1.0,)),
    "table": TableSpec((), TWO),
    "text": TextSpec(TWO, vocabulary=(*SPECIAL, "word")),
    "pieces": TextSpec(NextTokens(5, 8), Tokenizer("bpe", merges=(("a", "b"),)), vocabulary=(*SPECIAL, "a", "b", "ab")),
    "sentences": SentenceSpec(
        Tags(("a", "b"), (3, 4)), vocabulary=(*SPECIAL, "word"), characters=(*SPECIAL, "w"), max_characters=5
    ),
    "pairs": TextSpec(TokenSequences(), vocabulary=(*SPECIAL, "word")),
    "sequence": SequenceSpec(4, 1, TWO),
    "audio": AudioSpec(8000, 100, TWO),
    "series": SeriesSpec(
        Values(("sales",)), 12, 12, transform=Transform(differences=(12,), mean=(0.0,), std=(1.0,)), scales=(2.0,)
    ),
    "environment": EnvSpec("CartPole-v1", (4,), Actions(("0", "1")), 500),
    "states": StatesSpec("Taxi-v3", 500, Actions(("0", "1"))),
}
BAD: list[tuple[str, str, Any]] = [
    ("image", "height", 0), ("image", "channels", -1), ("image", "width", 2**60), ("image", "mean", [0.5, 0.5]),
    ("image", "std", []), ("image", "target.names", []), ("image", "target.counts", [1]),
    ("image", "target.counts", [-1, 2]), ("image", "target.counts", [1, "x"]), ("table", "mean", [1.0]),
    ("sentences", "max_characters", 1), ("sentences", "max_characters", 10**6), ("sentences", "vocabulary", []),
    ("sentences", "characters", []), ("sentences", "characters", [*SPECIAL, "too long"]),
    ("sentences", "target.names", []), ("sentences", "target.counts", [1]),
    ("text", "vocabulary", []), ("text", "max_length", 0), ("text", "max_length", -5),
    ("pieces", "target.num_steps", 0), ("pieces", "target.num_steps", 2**40), ("pieces", "tokenizer.merges", [["a"]]),
    ("pieces", "tokenizer.merges", [["a", 1]]), ("pieces", "tokenizer.merges", ["ab"]),
    ("pieces", "tokenizer.merges", [["a", ""]]),
    ("text", "vocabulary", [*SPECIAL, "x" * 10**6]), ("sequence", "length", 0), ("audio", "length", 0),
    ("audio", "length", 2**40), ("audio", "sample_rate", 0), ("audio", "sample_rate", 99),
    ("audio", "sample_rate", 2**40), ("series", "window", 0),
    ("series", "horizon", 0), ("series", "horizon", -4), ("series", "horizon", 10**7), ("series", "period", 0),
    ("series", "transform.differences", [0]), ("series", "transform.differences", [12, -3]),
    ("series", "transform.mean", [1.0, 2.0]), ("series", "scales", [1.0, 2.0]), ("series", "target.units", ["a", "b"]),
    ("pairs", "target.max_length", 0), ("pairs", "target.max_length", 2001),
    ("environment", "shape", []), ("environment", "shape", [4, 0]), ("environment", "shape", [4, "4"]),
    ("environment", "max_steps", -1), ("states", "num_states", 0),
]  # fmt: skip


@pytest.mark.parametrize("kind", GOOD)
def test_what_a_run_stores_comes_back(kind: str) -> None:
    assert from_plain(to_plain(GOOD[kind])) == GOOD[kind]


@pytest.mark.parametrize(("kind", "place", "value"), BAD)
def test_a_stored_spec_that_no_run_has(kind: str, place: str, value: Any) -> None:
    node = plain = to_plain(GOOD[kind])
    *above, last = place.split(".")
    for key in above:
        node = node[key]
    node[last] = value
    with pytest.raises(UserError, match=f"the stored spec, .*{last}"):
        from_plain(plain)


@pytest.mark.parametrize("value", [None, [], "ImageSpec", {"type": "Spec"}, to_plain(TWO), {"type": "Answer"}])
def test_a_stored_spec_is_of_data(value: Any) -> None:
    with pytest.raises(UserError, match=r"what data it was trained on|only the base of others"):
        spec_from_plain(value)
    assert spec_from_plain(to_plain(GOOD["table"])) == GOOD["table"]


@pytest.mark.parametrize("kind", ["Target", "Answer", "Spec"])
def test_a_base_is_no_part_of_a_stored_spec(kind: str) -> None:
    with pytest.raises(UserError, match="only the base of others"):
        from_plain(to_plain(GOOD["table"]) | {"target": {"type": kind}})
