"""Recurrent layers as one loop over time, for files that leave the house.

`torch.export` copies a recurrent layer once for each step of its example, so that the file reads sequences of that one
length only, and it cannot pack sequences of several lengths at all. Here the same layers, with the same weights, are
`torch.scan`s of one step: a file then holds the step once and takes any length. It is far slower in PyTorch itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.layers.recurrent import PeepholeLSTM, Recurrent, State

M = TypeVar("M", bound=nn.Module)

Step = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(what the input gives the gates, h, c) -> (h, c) of the next moment; cells without a c hand it on."""


def scanned(module: M) -> M:
    """A copy of a module whose recurrent layers are scanned. Its weights are the module's own; it is for evaluation."""
    memo = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    twin = copy.deepcopy(module, memo)
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Recurrent):
                setattr(parent, name, ScannedRecurrent(child))
    return twin


class ScannedRecurrent(nn.Module):
    """Gives what a `Recurrent` gives in evaluation mode."""

    def __init__(self, recurrent: Recurrent) -> None:
        super().__init__()
        self.layers = recurrent.layers
        self.num_units = recurrent.num_units
        self.bidirectional = recurrent.bidirectional
        self.num_outputs = recurrent.num_outputs
        self.has_cells = isinstance(recurrent.layers, nn.LSTM | PeepholeLSTM)

    last = Recurrent.last

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """x: (B, T, D) -> outputs (B, T, num_outputs), and the state after the last step."""
        steps = torch.arange(x.shape[1], device=x.device)[:, None]  # (T, 1)
        real = (steps < lengths if lengths is not None else steps.expand(-1, x.shape[0]) >= 0)[..., None]  # (T, B, 1)
        hs, cs = _parts(state)
        final: list[tuple[Tensor, Tensor]] = []
        x = x.transpose(0, 1)
        for directions in self._layers():
            outputs = []
            for backward, (weight, bias, step) in enumerate(directions):
                nothing = x.new_zeros(x.shape[1], self.num_units)
                h = nothing if hs is None else hs[len(final)]
                c = nothing if cs is None else cs[len(final)]
                output, *end = _scan(F.linear(x, weight, bias), real, h, c, step, backward=bool(backward))
                outputs.append(output)
                final.append((end[0], end[1]))
            x = torch.cat(outputs, dim=2)
        h = torch.stack([h for h, _ in final])
        return x.transpose(0, 1), (h, torch.stack([c for _, c in final])) if self.has_cells else h

    def _layers(self) -> list[list[tuple[Tensor, Tensor | None, Step]]]:
        """Of each layer and direction: the map of its inputs, and its step."""
        layers: Any = self.layers
        if isinstance(layers, PeepholeLSTM):
            return [[(d.weight_ih, d.bias, _peephole_step(d)) for d in directions] for directions in layers.layers]  # type: ignore[attr-defined]
        suffixes = ("", "_reverse") if self.bidirectional else ("",)
        return [[_library_layer(layers, f"l{i}{suffix}") for suffix in suffixes] for i in range(layers.num_layers)]


def _parts(state: State | None) -> tuple[Tensor | None, Tensor | None]:
    if isinstance(state, tuple):
        return state[0], state[1]
    return state, None


def _scan(
    from_x: Tensor, real: Tensor, h: Tensor, c: Tensor, step: Step, *, backward: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """from_x: (T, B, G), real: (T, B, 1) -> outputs (T, B, H), zero where a step is not real, and the last h and c."""
    from torch._higher_order_ops.scan import scan  # not public yet, but torch.export and its ONNX know it

    def body(state: tuple[Tensor, Tensor], moment: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        before_h, before_c = state
        from_x_t, is_real = moment
        h, c = step(from_x_t, before_h, before_c)
        output = torch.where(is_real, h, 0.0)
        return (torch.where(is_real, h, before_h), torch.where(is_real, c, before_c)), output

    # The two must not be one tensor, nor may a step hand on what it was given.
    state, outputs = scan(body, (h.clone(), c.clone()), (from_x, real), reverse=backward)
    return outputs, state[0], state[1]


def _library_layer(layers: Any, name: str) -> tuple[Tensor, Tensor | None, Step]:
    """One direction of one layer of PyTorch's; the equations are in its documentation."""
    weight_ih, weight_hh, bias_ih, bias_hh = (
        getattr(layers, f"{what}_{name}") for what in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    recurrence = weight_hh.T

    def simple(from_x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tanh(from_x + h @ recurrence), c.clone()

    def gru(from_x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        x_r, x_z, x_n = from_x.chunk(3, dim=1)
        h_r, h_z, h_n = (h @ recurrence + bias_hh).chunk(3, dim=1)
        z = torch.sigmoid(x_z + h_z)
        return (1 - z) * torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n) + z * h, c.clone()

    def lstm(from_x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = (from_x + h @ recurrence).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    if isinstance(layers, nn.GRU):  # its reset gate stands between the two biases
        return weight_ih, bias_ih, gru
    return weight_ih, bias_ih + bias_hh, lstm if isinstance(layers, nn.LSTM) else simple


def _peephole_step(layer: Any) -> Step:
    recurrence = layer.weight_hh.T
    peepholes = layer.peepholes

    def step(from_x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        p_i, p_f, p_o = peepholes.unbind(0)
        i, f, g, o = (from_x + h @ recurrence).chunk(4, dim=1)
        c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
        return torch.sigmoid(o + p_o * c) * torch.tanh(c), c

    return step
