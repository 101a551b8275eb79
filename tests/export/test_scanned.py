"""Scanned recurrent layers equal the original ones, and can be exported for any length."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from dlzoo.export.scan_rnn import ScannedRecurrent, scanned
from dlzoo.layers.recurrent import CellName, Recurrent

every_cell = pytest.mark.parametrize("cell", get_args(CellName))


@pytest.mark.parametrize("bidirectional", [False, True])
@every_cell
def test_outputs_and_state_equal_those_of_the_layer(cell: CellName, bidirectional: bool) -> None:
    layer = Recurrent(cell, 3, 4, num_layers=2, bidirectional=bidirectional).eval()
    x, lengths = torch.randn(5, 7, 3), torch.tensor([7, 1, 3, 6, 2])
    with torch.no_grad():
        torch.testing.assert_close(ScannedRecurrent(layer)(x), layer(x))
        torch.testing.assert_close(ScannedRecurrent(layer)(x, None, lengths), layer(x, None, lengths))
        _, state = layer(x)
        torch.testing.assert_close(ScannedRecurrent(layer)(x, state), layer(x, state))


@every_cell
def test_one_export_accepts_any_length(cell: CellName) -> None:
    net = scanned(nn.ModuleDict({"inner": Recurrent(cell, 3, 4, bidirectional=True)}))["inner"].eval()  # type: ignore[index]
    dims = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    with torch.no_grad():
        program = torch.export.export(net, (torch.randn(2, 5, 3),), dynamic_shapes=(dims,))
        x = torch.randn(4, 9, 3)
        torch.testing.assert_close(program.module()(x)[0], net(x)[0])


def test_the_copy_shares_weights_and_does_not_change_the_net() -> None:
    net = nn.Sequential(nn.Linear(3, 3), Recurrent("gru", 3, 4))
    twin = scanned(net)
    assert isinstance(net[1], Recurrent)
    assert isinstance(twin[1], ScannedRecurrent)  # type: ignore[index]
    assert {id(p) for p in twin.parameters()} == {id(p) for p in net.parameters()}
