"""Several inputs and targets by name: stored, compared, split, and refused where names do not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dlzoo.errors import UserError
from dlzoo.specs import Classes, Column, Labels, NamedSpec, TableSpec, Targets, Values
from dlzoo.specs.base import Target
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.plain import from_plain, to_plain
from dlzoo.specs.tokenizer import SPECIAL

PRICE, COAST, TAGS = Values(("price",), ("$",)), Classes(("inland", "coastal", "island")), Labels(("old", "new"))
TARGETS = Targets.of({"price": PRICE, "coast": COAST, "tags": TAGS})


def spec(target: Target = TARGETS) -> NamedSpec:
    left = TableSpec((Column("a"), Column("b")), target, (1.0, 2.0), (3.0, 4.0))
    right = TableSpec((Column("c"),), target)
    return NamedSpec.of({"left": left, "right": right}, target)


def test_a_stored_spec_comes_back_with_its_parts() -> None:
    assert from_plain(to_plain(spec())) == spec()


def test_each_part_keeps_its_statistics_when_the_target_changes() -> None:
    changed = spec().with_target(PRICE)
    assert changed.by_name["left"].mean == (1.0, 2.0)
    assert changed.by_name["right"].mean == ()
    assert {part.target for part in changed.parts} == {changed.target} == {PRICE}


@pytest.mark.parametrize(
    "change", [{"names": ["left", "left"]}, {"names": ["left"]}, {"names": ["left", "a/b"]}, {"names": []}]
)
def test_stored_names_that_do_not_fit_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"NamedSpec\.names"):
        from_plain(to_plain(spec()) | change)


def test_a_stored_part_with_another_target_is_refused() -> None:
    plain = to_plain(spec())
    plain["parts"][1]["target"] = to_plain(PRICE)
    with pytest.raises(UserError, match="with the target of all"):
        from_plain(plain)


def test_examples_hold_a_tensor_for_each_name() -> None:
    x, y = spec().example(5)
    assert {name: tuple(t.shape) for name, t in x.items()} == {"left": (5, 2), "right": (5, 1)}
    assert {name: tuple(t.shape) for name, t in y.items()} == {"price": (5, 1), "coast": (5,), "tags": (5, 2)}


def test_outputs_side_by_side_are_split_in_the_order_of_the_names() -> None:
    output = torch.arange(12.0).view(2, 6)
    parts = TARGETS.split(output)
    assert torch.equal(parts["price"], output[:, :1])
    assert torch.equal(parts["coast"], output[:, 1:4])
    assert torch.equal(parts["tags"], output[:, 4:])


def test_outputs_of_other_names_or_another_number_are_refused() -> None:
    with pytest.raises(UserError, match="the net's outputs are price, sky"):
        TARGETS.split({"price": torch.zeros(1), "sky": torch.zeros(1)})
    with pytest.raises(UserError, match="the net has 5 outputs, but the targets price, coast, tags need 6"):
        TARGETS.split(torch.zeros(2, 5))


def test_a_difference_names_the_part() -> None:
    other = TARGETS.of(TARGETS.by_name | {"coast": Classes(("inland", "coastal", "reef"))})
    assert TARGETS.difference(TARGETS) is None
    found = TARGETS.difference(other)
    assert found is not None
    assert found[0].startswith("coast: ")
    assert "island" in found[0]
    assert "reef" in found[1]
    assert TARGETS.difference(PRICE) is not None
    assert PRICE.difference(TARGETS) is not None
    columns = replace(spec().by_name["right"], columns=(Column("d"),))  # type: ignore[call-arg]
    found = spec().difference(spec().with_parts(spec().by_name | {"right": columns}))
    assert found is not None
    assert found[0].startswith("right: ")


def test_ports_bear_the_name_of_their_part() -> None:
    assert [port.name for port in spec().ports()] == ["left", "right"]
    assert [port.name for port in TARGETS.ports()] == ["price", "coast", "tags"]


def test_a_free_size_is_that_of_its_part() -> None:
    text = TextSpec(PRICE, vocabulary=(*SPECIAL, "a", "b"))
    shapes = [port.shape for port in NamedSpec.of({"question": text, "answer": text}, PRICE).ports()]
    assert shapes == [("batch", "question_length"), ("batch", "answer_length")]


def test_counts_and_strata_are_those_of_the_parts() -> None:
    y = {"price": torch.zeros(3, 1), "coast": torch.tensor([0, 1, 1]), "tags": torch.tensor([[1.0, 0]] * 3)}
    fitted = TARGETS.fit(y)
    assert fitted.by_name["coast"].classes.counts == (1, 2, 0)  # type: ignore[union-attr]
    assert fitted.by_name["tags"].labels.counts == (3, 0)  # type: ignore[union-attr]
    assert TARGETS.strata(y) is y["coast"]
