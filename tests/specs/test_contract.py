"""Every spec and target says what others want to know, so that nobody asks for its class."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dlzoo.specs import (
    Actions,
    AudioSpec,
    Classes,
    Column,
    EnvSpec,
    ImageSpec,
    Labels,
    SentenceSpec,
    SequenceSpec,
    SeriesSpec,
    Spec,
    StatesSpec,
    TableSpec,
    Tags,
    Target,
    TextSpec,
    TokenSequences,
    Values,
)
from dlzoo.specs.plain import from_plain, to_plain

CLASSES, LABELS, VALUES = Classes(("a", "b", "c")), Labels(("spam", "urgent")), Values(("y", "z"), ("m", "s"))
SPECS: list[Spec] = [
    ImageSpec(1, 4, 4, LABELS),
    TableSpec((Column("size"), Column("kind", categories=("x", "y"))), LABELS),
    TextSpec(LABELS, vocabulary=("<pad>", "<unk>", "hello")),
    SentenceSpec(Tags(("NOUN", "VERB")), vocabulary=("<pad>", "<unk>", "hello"), characters=("<pad>", "<unk>", "h")),
    SequenceSpec(5, 2, LABELS),
    AudioSpec(8000, 100, LABELS),
    SeriesSpec(VALUES, window=4, horizon=2),
    TextSpec(TokenSequences(), vocabulary=("<pad>", "<unk>", "hello")),
    EnvSpec("CartPole-v1", (4,), Actions(("left", "right"))),
    StatesSpec("Taxi-v3", 500, Actions(("left", "right"))),
]
KINDS = ("classes", "labels", "values", "next_tokens", "tags", "actions")
READ_AS = ("images", "table", "texts", "sequences", "series", "states", "audio")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
def test_every_spec_describes_itself(spec: Spec) -> None:
    x, y = spec.example(3)
    assert len(x) == len(y) == 3
    assert torch.equal(x, spec.example(3)[0])
    assert spec.describe()
    assert spec.ports()[0].shape[0] == "batch"
    assert spec.metadata().items() >= spec.target.metadata().items()
    assert spec.difference(spec) is None
    assert from_plain(to_plain(spec)) == spec
    assert sum(getattr(spec, name) is not None for name in (*READ_AS, "environment")) in (1, 2)


@pytest.mark.parametrize("target", [CLASSES, LABELS, VALUES], ids=lambda target: type(target).__name__)
def test_every_target_describes_itself(target: Target) -> None:
    assert [name for name in KINDS if getattr(target, name) is target] == [target.what]
    assert target.ports()[0].shape == ("batch", target.num_outputs)
    assert target.metadata()[target.what] == list(target.names)
    assert target.describe() == f"{target.num_outputs} {target.what}: {', '.join(target.names)}"


def test_two_targets_differ_by_kind_name_and_unit() -> None:
    assert CLASSES.difference(Labels(("a", "b", "c"))) == ("3 classes: a, b, c", "3 labels: a, b, c")
    assert CLASSES.difference(Classes(("a", "c", "b"))) == ("3 classes: a, b, c", "3 classes: a, c, b")
    assert CLASSES.difference(dataclasses.replace(CLASSES, counts=(1, 2, 3))) is None
    assert VALUES.difference(Values(("y", "z"), ("m", "h"))) == ("z in s", "z in h")
    assert VALUES.difference(Values(("y", "z"))) is None, "a unit that is not known is no difference"


def test_two_specs_differ_by_kind_then_inputs_then_target() -> None:
    table = SPECS[1]
    assert table.difference(SPECS[0]) == ("a table of 3 features", "images of 1x4x4")
    other = TableSpec((Column("size"), Column("kind", categories=("x", "z"))), VALUES)
    assert table.difference(other) == ("column 2 kind (one of x, y)", "kind (one of x, z)")
    assert table.difference(table.with_target(VALUES)) == ("2 labels: spam, urgent", "2 values: y, z")


def test_what_is_fitted_on_the_targets_of_the_training_rows() -> None:
    assert CLASSES.fit(torch.tensor([0, 0, 2])) == Classes(("a", "b", "c"), (2, 0, 1))
    assert LABELS.fit(torch.tensor([[1.0, 0.0], [1.0, 1.0]])) == Labels(("spam", "urgent"), (2, 1))
    assert VALUES.fit(torch.zeros(2, 2)) == VALUES
    assert CLASSES.strata(torch.tensor([1])).tolist() == [1]
    assert LABELS.strata(torch.zeros(1, 2)) is None
