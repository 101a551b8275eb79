"""N-BEATS: blocks that explain a part of the window, each given what those before it left, and forecasts that add up.

B. N. Oreshkin, D. Carpov, N. Chapados, Y. Bengio, "N-BEATS: Neural basis expansion analysis for interpretable time
series forecasting", ICLR 2020. A block is a perceptron whose outputs are coefficients of two bases: the backcast is
subtracted from the input of the next block, the forecast is added to those of the other blocks. A trend stack has
polynomials as its basis, a seasonality stack sines and cosines, a generic stack the identity.
The paper's net for one series is applied to each column, with the same weights; columns that are known ahead are inputs
of each block. Differs in smaller layers by default:
256 and 2,048 units were for 100,000 series. The last backcast, which nothing reads, is omitted.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Values
>>> passengers = SeriesSpec(Values(("passengers",)), window=24, horizon=12, steps=12)
>>> num_parameters(NBEATS(passengers))  # 2 shared blocks
30720
>>> num_parameters(NBEATS(passengers, stacks=["generic"], num_blocks=1))  # 12 outputs: the only block has no backcast
14860
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dlzoo.errors import UserError, at_least, pick
from dlzoo.nets.base import Net
from dlzoo.nets.mlp import hidden_layers
from dlzoo.specs.inputs import SeriesSpec

StackName = Literal["trend", "seasonality", "generic"]


class NBEATS(Net):
    """For series.

    Args:
        stacks: trend, seasonality or generic, each for one stack of blocks.
        num_blocks: blocks in each stack.
        num_units: units of each hidden layer.
        num_layers: hidden layers of each block.
        degree: of the polynomials of a trend stack.
        share_weights: the blocks of a trend or seasonality stack are one block, as in the paper's interpretable net.
        dropout: dropout rate of each hidden layer.
    """

    accepts = (SeriesSpec,)

    def __init__(
        self,
        spec: SeriesSpec,
        *,
        stacks: Sequence[StackName] = ("trend", "seasonality"),
        num_blocks: int = 3,
        num_units: int = 64,
        num_layers: int = 4,
        degree: int = 2,
        share_weights: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        at_least(1, "net", num_blocks=num_blocks, num_units=num_units, num_layers=num_layers)
        at_least(0, "net", degree=degree)
        if not stacks:
            raise UserError("net.stacks=[] must name at least one of trend, seasonality, generic")
        self.num_columns = spec.num_columns
        self.output_shape = spec.output_shape
        self.blocks = nn.ModuleList()
        self.order: list[int] = []
        """The number of the block at each place, and so of the stack's blocks."""
        self.names: list[str] = []
        for i, name in enumerate(stacks):
            pick(name, {key: key for key in get_args(StackName)}, "net.stacks")
            is_shared = share_weights and name != "generic"
            for j in range(1 if is_shared else num_blocks):
                is_last = i == len(stacks) - 1 and (num_blocks == 1 if is_shared else j == num_blocks - 1)
                block = Block(
                    spec,
                    bases(name, spec, degree),
                    num_units=num_units,
                    num_layers=num_layers,
                    dropout=dropout,
                    has_backcast=not is_last,
                )
                self.order += [len(self.blocks)] * (num_blocks if is_shared else 1)
                self.names += [name] * (num_blocks if is_shared else 1)
                self.blocks.append(block)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, W, D) -> (B, D), the next value, or (B, S, D), the next S; (B, S, D, Q) of quantiles."""
        return torch.stack(list(self.parts(x).values())).sum(0)

    def parts(self, x: Tensor) -> dict[str, Tensor]:
        """x: (B, W, D) -> what each kind of stack adds to the forecast, of its shape."""
        residual = x[..., : self.num_columns].transpose(1, 2).flatten(0, 1)  # (B * D, W)
        ahead = x[..., self.num_columns :].flatten(1).repeat_interleave(self.num_columns, dim=0)  # (B * D, W * K)
        parts: dict[str, Tensor] = {}
        for number, name in zip(self.order, self.names, strict=True):
            backcast, forecast = self.blocks[number](torch.cat([residual, ahead], dim=1))
            residual = residual if backcast is None else residual - backcast
            parts[name] = parts[name] + forecast if name in parts else forecast
        return {name: self.arranged(part, x.shape[0]) for name, part in parts.items()}

    def arranged(self, forecast: Tensor, num_rows: int) -> Tensor:
        """(B * D, Q, S) -> (B, D), (B, S, D) or (B, S, D, Q)."""
        columns = forecast.unflatten(0, (num_rows, self.num_columns)).permute(0, 3, 1, 2)
        return columns.reshape(num_rows, *self.output_shape)


class Block(nn.Module):
    """Hidden layers, and the coefficients of two bases.

    Args:
        bases: of the backcast (P, W) and of the forecast (P', S); None: one output for each value.
    """

    def __init__(
        self,
        spec: SeriesSpec,
        bases: tuple[Tensor, Tensor] | None,
        *,
        num_units: int,
        num_layers: int,
        dropout: float,
        has_backcast: bool,
    ) -> None:
        super().__init__()
        back, ahead = bases or (None, None)
        self.hidden = hidden_layers(spec.window * (1 + len(spec.known)), [num_units] * num_layers, dropout=dropout)
        self.forecast = Expansion(num_units, spec.steps, ahead, num_sets=max(len(spec.quantiles), 1))
        self.backcast = Expansion(num_units, spec.window, back) if has_backcast else None

    def forward(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """x: (B, W + K W), known columns behind the window -> (B, W), (B, Q, S), where Q is 1 without quantiles."""
        h = self.hidden(x)
        return None if self.backcast is None else self.backcast(h)[:, 0], self.forecast(h)


class Expansion(nn.Module):
    """Sets of coefficients of a basis (P, T), times the basis; without one, T linear outputs for each set."""

    basis: Tensor | None

    def __init__(self, num_units: int, num_steps: int, basis: Tensor | None, num_sets: int = 1) -> None:
        super().__init__()
        self.register_buffer("basis", basis, persistent=False)
        self.num_sets = num_sets
        num = num_steps if basis is None else len(basis)
        self.coefficients = nn.Linear(num_units, num_sets * num, bias=basis is None)

    def forward(self, h: Tensor) -> Tensor:
        """h: (B, U) -> (B, sets, T)"""
        theta = self.coefficients(h).unflatten(1, (self.num_sets, -1))
        return theta if self.basis is None else theta @ self.basis


def bases(name: StackName, spec: SeriesSpec, degree: int) -> tuple[Tensor, Tensor] | None:
    """The bases of backcast and forecast of a stack; None if it is generic."""
    if name == "generic":
        return None
    sizes = spec.window, spec.steps
    back, ahead = (polynomials(n, degree) if name == "trend" else harmonics(n) for n in sizes)
    return back, ahead


def polynomials(num: int, degree: int) -> Tensor:
    """Powers 0, …, degree of t = 0, 1/T, …, (T - 1)/T: (P, T); no more than can be told apart at T points."""
    t = torch.arange(num) / num
    return torch.stack([t**power for power in range(min(degree, num - 1) + 1)])


def harmonics(num: int) -> Tensor:
    """Cosines and sines of 0, 1, …, T/2 - 1 waves over T steps, (P, T), without the sine of none.

    >>> harmonics(4).round().long().tolist()
    [[1, 1, 1, 1], [1, 0, -1, 0], [0, 1, 0, -1]]
    """
    angles = 2 * math.pi * torch.outer(torch.arange(max(num // 2, 1)), torch.arange(num) / num)
    return torch.cat([angles.cos(), angles[1:].sin()])
