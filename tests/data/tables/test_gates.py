"""The gates: their truth tables by hand, and that the defaults are enough to learn XOR."""

import typing

import pytest
import torch
from torch import nn

from dlzoo.data.tables.gates import GATES, GateName, Gates
from dlzoo.errors import UserError

OUTPUTS = {"and": "0001", "or": "0111", "nand": "1110", "nor": "1000", "xor": "0110", "xnor": "1001"}
OUTPUTS |= {"not": "10", "identity": "01"}
INPUTS = {1: [[0], [1]], 2: [[0, 0], [0, 1], [1, 0], [1, 1]]}


def test_every_gate_is_listed() -> None:
    assert {name.lower() for name in typing.get_args(GateName)} == set(GATES) == set(OUTPUTS)


@pytest.mark.parametrize("gate", typing.get_args(GateName))
def test_truth_table(gate: GateName) -> None:
    data = Gates(gate=gate, repeats=3)
    expected = [int(bit) for bit in OUTPUTS[gate.lower()]]
    num_inputs = len(expected).bit_length() - 1
    assert data.declare().num_features == num_inputs
    for split, repeats in {"train": 3, "val": 1, "test": 1}.items():
        rows = data.arrays(split)  # type: ignore[arg-type]
        assert rows.x.tolist() == INPUTS[num_inputs] * repeats
        assert rows.y.tolist() == expected * repeats
    assert data.spec.columns == data.declare().columns
    assert data.spec.target.names == ("0", "1")


def test_defaults_learn_xor_in_a_tenth_of_20_epochs(one_thread: None) -> None:
    torch.manual_seed(0)
    data = Gates(gate="xor")
    net = nn.Sequential(nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    loader = data.train_dataloader()
    for epoch in range(2):
        loader.set_epoch(epoch)
        for x, y, _ in loader:
            loss = nn.functional.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    table = data.arrays("test")
    assert nn.functional.cross_entropy(net(table.x), table.y) < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [({"gate": "xro"}, r"data.gate=xro is unknown; did you mean 'xor'"), ({"repeats": 0}, r"data.repeats=0")],
)
def test_errors(options: dict[str, typing.Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Gates(**options)
