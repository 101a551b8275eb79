"""Series of several columns that a net forecasts one at a time, by the same weights.

One net for many series is the global method of P. Montero-Manso, R. J. Hyndman, "Principles and algorithms for
forecasting groups of time series: Locality and globality", 2021.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dlzoo.specs.inputs import SeriesSpec


def columnwise(net: Callable[[Tensor], Tensor], x: Tensor, spec: SeriesSpec) -> Tensor:
    """The outputs of a net for one column, for each of the D columns of windows x, (B, W, D + K).

    Args:
        net: (B, W, 1 + K) -> (B, 1), (B, S, 1), or with quantiles (B, S, 1, Q).

    Returns:
        The same with D in the place of 1.
    """
    num, axis = spec.num_columns, -2 if spec.quantiles else -1
    windows = x[..., :num].movedim(2, 1)[..., None]  # (B, D, W, 1)
    if spec.known:
        ahead = x[:, None, :, num:].expand(-1, num, -1, -1)
        windows = torch.cat([windows, ahead], dim=-1)
    outputs = net(windows.flatten(0, 1)).unflatten(0, (-1, num))
    return outputs.squeeze(axis).movedim(1, axis)
