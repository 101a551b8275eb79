"""Recurrent layers by name: the simple cell, LSTM, GRU, and the LSTM with peepholes; stacked and bidirectional.

J. L. Elman, "Finding structure in time", 1990; S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", 1997, with the
forget gate of F. A. Gers, J. Schmidhuber, F. Cummins, 2000; K. Cho et al., "Learning Phrase Representations using RNN
Encoder-Decoder", 2014; F. A. Gers, N. N. Schraudolph, J. Schmidhuber, "Learning Precise Timing with LSTM Recurrent
Networks", 2002; M. Schuster, K. K. Paliwal, "Bidirectional Recurrent Neural Networks", 1997.
The first three are PyTorch's. The peephole cell is implemented here, since PyTorch has none.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dlzoo.errors import UserError, pick

CellName = Literal["rnn", "lstm", "gru", "peephole_lstm"]
"""Kind of recurrent layer."""
State = Tensor | tuple[Tensor, ...]
"""Hidden state (layers * directions, B, H); for an LSTM also the cells', of the same shape."""


class Recurrent(nn.Module):
    """One or several recurrent layers of one kind.

    Args:
        num_units: units of each layer, in each direction.
        dropout: dropout rate of the outputs of each layer but the last.
        bidirectional: add a reverse direction to each layer; the outputs of both are concatenated.
    """

    def __init__(
        self,
        cell: CellName,
        num_inputs: int,
        num_units: int,
        *,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        for key, value in {"num_units": num_units, "num_layers": num_layers}.items():
            if value < 1:
                raise UserError(f"net.{key}={value} must be at least 1")
        if not 0 <= dropout < 1:
            raise UserError(f"net.dropout={dropout} must be at least 0 and below 1")
        if dropout and num_layers == 1:
            raise UserError(
                f"net.dropout={dropout} acts between recurrent layers, but net.num_layers=1; give 2 or more"
            )
        kind = pick(cell, {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU, "peephole_lstm": PeepholeLSTM}, "net.cell")
        self.num_units = num_units
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.num_outputs = num_units * (2 if bidirectional else 1)
        self.layers = kind(
            num_inputs, num_units, num_layers=num_layers, dropout=dropout, bidirectional=bidirectional, batch_first=True
        )

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """x: (B, T, D) -> outputs (B, T, num_outputs), and the state after the last step, to be passed in again.

        ``lengths`` (B,), at least 1, are the lengths without padding; the outputs of padded steps are zero.
        """
        if state is not None:
            self.check(state, len(x))
        if isinstance(self.layers, PeepholeLSTM):
            return self.layers(x, state, lengths)
        if lengths is None:
            return self.layers(x, state)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, state = self.layers(packed, state)
        return pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])[0], state

    def check(self, state: State, batch_size: int) -> None:
        """Reject a state of the wrong shape or type for this batch size: it may come from a checkpoint."""
        parts = (state,) if isinstance(state, Tensor) else tuple(state)
        wanted = (self.num_layers * (2 if self.bidirectional else 1), batch_size, self.num_units)
        has_cells = isinstance(self.layers, nn.LSTM | PeepholeLSTM)
        if (
            isinstance(state, Tensor) == has_cells
            or len(parts) != 1 + has_cells
            or any(not isinstance(part, Tensor) or part.shape != wanted for part in parts)
        ):
            what = f"{1 + has_cells} x {wanted}" if has_cells else f"{wanted}"
            raise UserError(f"the state passed to the recurrent layers is not {what}: restart the run")

    def last(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T, num_outputs) -> (B, num_outputs): the final output of each direction."""
        if lengths is None:
            final = outputs[:, -1]
        else:
            final = outputs[torch.arange(outputs.shape[0], device=outputs.device), lengths.to(outputs.device) - 1]
        if not self.bidirectional:
            return final
        return torch.cat([final[:, : self.num_units], outputs[:, 0, self.num_units :]], dim=1)


class PeepholeLSTM(nn.Module):
    """An LSTM whose gates also see the cells: input and forget gate the old ones, output gate the new ones.

    Each gate sees the cell of its own unit only, by one weight. Parameters and state are arranged as in `nn.LSTM`
    (gates in the order i, f, g, o), but with one bias; with peepholes of zero the outputs are the same.
    """

    def __init__(
        self,
        num_inputs: int,
        num_units: int,
        *,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
        batch_first: bool = True,
    ) -> None:
        super().__init__()
        assert batch_first
        num_directions = 2 if bidirectional else 1
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.ModuleList(_PeepholeLayer(size, num_units, backward=bool(d)) for d in range(num_directions))
            for size in [num_inputs, *[num_units * num_directions] * (num_layers - 1)]
        )

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x: (B, T, D) -> outputs (B, T, H * directions), (h, c) each (layers * directions, B, H)."""
        mask = None
        if lengths is not None:
            steps = torch.arange(x.shape[1], device=x.device)
            mask = (steps < lengths.to(x.device)[:, None])[..., None]  # (B, T, 1)
        final: list[tuple[Tensor, Tensor]] = []
        for i, directions in enumerate(self.layers):
            if i:
                x = self.dropout(x)
            outputs = []
            for layer in directions:  # type: ignore[attr-defined]
                start = None if state is None else (state[0][len(final)], state[1][len(final)])
                output, end = layer(x, start, mask)
                outputs.append(output)
                final.append(end)
            x = torch.cat(outputs, dim=2)
        return x, (torch.stack([h for h, _ in final]), torch.stack([c for _, c in final]))


class _PeepholeLayer(nn.Module):
    """One layer in one direction.

    i = sigmoid(W_i x + U_i h + p_i * c + b_i), f likewise, g = tanh(W_g x + U_g h + b_g),
    c' = f * c + i * g, o = sigmoid(W_o x + U_o h + p_o * c' + b_o), h' = o * tanh(c').
    """

    def __init__(self, num_inputs: int, num_units: int, *, backward: bool) -> None:
        super().__init__()
        self.backward = backward
        self.weight_ih = nn.Parameter(torch.empty(4 * num_units, num_inputs))
        self.weight_hh = nn.Parameter(torch.empty(4 * num_units, num_units))
        self.bias = nn.Parameter(torch.empty(4 * num_units))
        self.peepholes = nn.Parameter(torch.empty(3, num_units))  # of i, f and o
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(num_units**-0.5), num_units**-0.5)  # like nn.LSTM

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None, mask: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x: (B, T, D), mask: (B, T, 1), true for real steps -> (B, T, H), (h, c) each (B, H)."""
        num_units = self.peepholes.shape[1]
        h, c = state or (x.new_zeros(x.shape[0], num_units),) * 2
        p_i, p_f, p_o = self.peepholes
        from_x = nn.functional.linear(x, self.weight_ih, self.bias).unbind(1)  # all steps at once
        outputs: list[Tensor] = [h] * len(from_x)
        for t in range(len(from_x))[:: -1 if self.backward else 1]:
            i, f, g, o = (from_x[t] + h @ self.weight_hh.T).chunk(4, dim=1)
            new_c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
            new_h = torch.sigmoid(o + p_o * new_c) * torch.tanh(new_c)
            if mask is None:
                h, c, outputs[t] = new_h, new_c, new_h
            else:  # a padded step leaves the state as it is
                real = mask[:, t]
                h, c, outputs[t] = torch.where(real, new_h, h), torch.where(real, new_c, c), new_h.where(real, 0.0)
        return torch.stack(outputs, dim=1), (h, c)
