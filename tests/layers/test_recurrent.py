"""Recurrent layers against their equations, step by step, and with padding."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.layers.recurrent import CellName, PeepholeLSTM, Recurrent

CELLS = get_args(CellName)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def make(cell: CellName, *, num_layers: int = 1, bidirectional: bool = False) -> Recurrent:
    return Recurrent(cell, 3, 4, num_layers=num_layers, bidirectional=bidirectional).double()


def sequences() -> tuple[Tensor, Tensor]:
    return torch.randn(3, 6, 3, dtype=torch.double), torch.tensor([6, 2, 4])


def parts(state) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def step(cell: CellName, net: Recurrent, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One step of one sequence, by the published equations."""
    if cell == "peephole_lstm":
        layer = net.layers.layers[0][0]
        w, u, b, (p_i, p_f, p_o) = layer.weight_ih, layer.weight_hh, layer.bias, layer.peepholes
        b_h = torch.zeros_like(b)
    else:
        w, u, b, b_h = net.layers.weight_ih_l0, net.layers.weight_hh_l0, net.layers.bias_ih_l0, net.layers.bias_hh_l0
        p_i = p_f = p_o = torch.zeros_like(h)
    if cell == "rnn":
        return torch.tanh(w @ x + u @ h + b + b_h), c
    from_x, from_h = (w @ x + b).view(-1, 4), (u @ h + b_h).view(-1, 4)
    if cell == "gru":
        r, z = torch.sigmoid(from_x[0] + from_h[0]), torch.sigmoid(from_x[1] + from_h[1])
        n = torch.tanh(from_x[2] + r * from_h[2])
        return (1 - z) * n + z * h, c
    i = torch.sigmoid(from_x[0] + from_h[0] + p_i * c)
    f = torch.sigmoid(from_x[1] + from_h[1] + p_f * c)
    c = f * c + i * torch.tanh(from_x[2] + from_h[2])
    o = torch.sigmoid(from_x[3] + from_h[3] + p_o * c)
    return o * torch.tanh(c), c


@pytest.mark.parametrize("cell", CELLS)
def test_cells_match_their_equations(cell: CellName) -> None:
    net, (x, _) = make(cell), sequences()
    outputs, _ = net(x)
    for b in range(len(x)):
        h = c = torch.zeros(4, dtype=torch.double)
        for t in range(x.shape[1]):
            h, c = step(cell, net, x[b, t], h, c)
            torch.testing.assert_close(outputs[b, t], h)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_zero_peepholes_equal_pytorch_lstm(num_layers: int, bidirectional: bool) -> None:
    reference = nn.LSTM(3, 4, num_layers=num_layers, bidirectional=bidirectional, batch_first=True).double()
    ours = PeepholeLSTM(3, 4, num_layers=num_layers, bidirectional=bidirectional).double()
    for i, directions in enumerate(ours.layers):
        for layer, suffix in zip(directions, (f"_l{i}", f"_l{i}_reverse"), strict=False):
            layer.weight_ih.data = getattr(reference, "weight_ih" + suffix).data
            layer.weight_hh.data = getattr(reference, "weight_hh" + suffix).data
            layer.bias.data = (getattr(reference, "bias_ih" + suffix) + getattr(reference, "bias_hh" + suffix)).data
            layer.peepholes.data.zero_()
    state = torch.randn(2, num_layers * (1 + bidirectional), 5, 4, dtype=torch.double).unbind(0)
    x = torch.randn(5, 7, 3, dtype=torch.double)
    torch.testing.assert_close(ours(x, state), reference(x, state))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_padding_changes_nothing(cell: CellName, bidirectional: bool) -> None:
    net, (x, lengths) = make(cell, num_layers=2, bidirectional=bidirectional), sequences()
    outputs, state = net(x, None, lengths)
    assert outputs.shape == (3, 6, net.num_outputs)
    for b, n in enumerate(lengths.tolist()):
        alone, end = net(x[b : b + 1, :n])
        torch.testing.assert_close(outputs[b : b + 1, :n], alone)
        assert not outputs[b, n:].any()
        for whole, single in zip(parts(state), parts(end), strict=True):
            torch.testing.assert_close(whole[:, b : b + 1], single)
    x[1, 2:] = torch.nan
    torch.testing.assert_close(net(x, None, lengths)[0], outputs)


@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_can_be_continued_from_its_state(cell: CellName) -> None:
    net, (x, _) = make(cell, num_layers=2), sequences()
    whole, end = net(x)
    first, state = net(x[:, :2])
    second, state = net(x[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(state, end)


@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_last_is_the_final_hidden_state(cell: CellName, bidirectional: bool, with_lengths: bool) -> None:
    net, (x, lengths) = make(cell, bidirectional=bidirectional), sequences()
    given = lengths if with_lengths else None
    outputs, state = net(x, None, given)
    hidden = parts(state)[0]  # (directions, B, H)
    torch.testing.assert_close(net.last(outputs, given), torch.cat(list(hidden), dim=1))


@pytest.mark.parametrize("cell", CELLS)
def test_every_parameter_gets_a_gradient_through_padding(cell: CellName) -> None:
    net, (x, lengths) = make(cell, num_layers=2, bidirectional=True), sequences()
    net(x, None, lengths)[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in net.parameters())


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_acts_between_layers_in_training(cell: CellName) -> None:
    net, (x, _) = Recurrent(cell, 3, 4, num_layers=2, dropout=0.5).double(), sequences()
    assert not torch.equal(net(x)[0], net(x)[0])
    net.eval()
    assert torch.equal(net(x)[0], net(x)[0])


def test_invalid_options_are_reported_with_their_key() -> None:
    for options, key in [({"num_units": 0}, "num_units=0"), ({"num_layers": 0}, "num_layers=0")]:
        with pytest.raises(UserError, match=rf"net\.{key}"):
            Recurrent("lstm", **{"num_inputs": 3, "num_units": 4} | options)
    with pytest.raises(UserError, match=r"net\.dropout=1\.0 must be"):
        Recurrent("gru", 3, 4, num_layers=2, dropout=1.0)
    with pytest.raises(UserError, match=r"net\.dropout=0\.5 acts between recurrent layers, but net\.num_layers=1"):
        Recurrent("gru", 3, 4, dropout=0.5)
    with pytest.raises(UserError, match=r"net\.cell=lsmt is unknown; did you mean 'lstm'"):
        Recurrent("lsmt", 3, 4)
