"""The siamese net: one encoder for both inputs, an output for each target; trained, tested and predicting."""

from __future__ import annotations

import pytest
import torch

from dlzoo.errors import SpecError
from dlzoo.nets.siamese import Siamese
from dlzoo.specs import Classes, Column, NamedSpec, TableSpec, Targets, Values
from dlzoo.specs.base import Target

TARGET = Targets.of({"same": Classes(("no", "yes")), "distance": Values(("distance",))})


def spec(*sizes: int, target: Target = TARGET) -> NamedSpec:
    tables = {f"input{i}": TableSpec(tuple(Column(f"x{k}") for k in range(n)), target) for i, n in enumerate(sizes)}
    return NamedSpec.of(tables, target)


def test_inputs_that_change_places_compare_alike() -> None:
    x, _ = spec(3, 3).example(4)
    x["input1"] = x["input1"].flip(0) * 2
    net = Siamese(spec(3, 3))
    one, other = net(x), net({"input0": x["input1"], "input1": x["input0"]})
    assert one.keys() == {"same", "distance"}
    for name in one:
        torch.testing.assert_close(one[name], other[name])
    assert not torch.equal(one["distance"], net(x | {"input1": x["input0"]})["distance"])


def test_each_output_has_a_gradient_of_the_shared_encoder() -> None:
    x, _ = spec(3, 3).example(4)
    x["input1"] = x["input1"].flip(0) * 2
    for name in ("same", "distance"):
        net = Siamese(spec(3, 3))
        net(x)[name].sum().backward()
        assert net.encoder[0].weight.grad.abs().sum() > 0  # type: ignore[union-attr]


def test_one_target_is_one_tensor() -> None:
    target = Values(("y",))
    x, _ = spec(3, 3, target=target).example(4)
    assert Siamese(spec(3, 3, target=target))(x).shape == (4, 1)


@pytest.mark.parametrize("sizes", [(3,), (3, 2), (3, 3, 3)])
def test_other_inputs_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(SpecError, match="two inputs of equally many features"):
        Siamese(spec(*sizes))
