"""Recurrent layers as a loop over time, for export.

`torch.export` unrolls a recurrent layer for each step of its example, so that the file accepts sequences of that
length only, and it cannot pack sequences of different lengths. Here the same layers, with the same weights, are
expressed as `torch.scan` of one step: the file contains the step once and accepts any length. It is slower in PyTorch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.export.scan_crf import ScannedCRF
from dlzoo.layers.crf import CRF
from dlzoo.layers.recurrent import PeepholeLSTM, Recurrent, State

M = TypeVar("M", bound=nn.Module)

Step = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(input contribution to the gates, h, c) -> the next (h, c); cells without a c pass it through."""


def scanned(module: M) -> M:
    """A copy of a module with scanned recurrent layers and random fields, for evaluation; it shares the module's
    weights."""
    memo = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    clone = copy.deepcopy(module, memo)
    for parent in list(clone.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Recurrent):
                setattr(parent, name, ScannedRecurrent(child))
            elif isinstance(child, CRF):
                setattr(parent, name, ScannedCRF(child))
    return clone


class ScannedRecurrent(nn.Module):
    """Computes the same as a `Recurrent` in evaluation mode."""

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
                zeros = x.new_zeros(x.shape[1], self.num_units)
                h = zeros if hs is None else hs[len(final)]
                c = zeros if cs is None else cs[len(final)]
                output, *end = _scan(F.linear(x, weight, bias), real, h, c, step, backward=bool(backward))
                outputs.append(output)
                final.append((end[0], end[1]))
            x = torch.cat(outputs, dim=2)
        h = torch.stack([h for h, _ in final])
        return x.transpose(0, 1), (h, torch.stack([c for _, c in final])) if self.has_cells else h

    def _layers(self) -> list[list[tuple[Tensor, Tensor | None, Step]]]:
        """For each layer and direction: its input weight and bias, and its step."""
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
    """from_x: (T, B, G), real: (T, B, 1) -> outputs (T, B, H), zero at padded steps, and the final h and c."""
    from torch._higher_order_ops.scan import scan  # not public yet, but torch.export and its ONNX know it

    def body(state: tuple[Tensor, Tensor], moment: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        before_h, before_c = state
        from_x_t, is_real = moment
        h, c = step(from_x_t, before_h, before_c)
        output = torch.where(is_real, h, 0.0)
        return (torch.where(is_real, h, before_h), torch.where(is_real, c, before_c)), output

    # The two must not alias, nor may a step return its inputs.
    state, outputs = scan(body, (h.clone(), c.clone()), (from_x, real), reverse=backward)
    return outputs, state[0], state[1]


def _library_layer(layers: Any, name: str) -> tuple[Tensor, Tensor | None, Step]:
    """One direction of one of PyTorch's layers; the equations are in its documentation."""
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

    if isinstance(layers, nn.GRU):  # its reset gate is applied between the two biases
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
