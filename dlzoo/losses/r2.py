"""The coefficient of determination, R², which is undefined for a single row."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import R2Score


class R2(R2Score):
    """R²; NaN for fewer than two rows, for which `R2Score` raises an error."""

    def compute(self) -> Tensor:
        return super().compute() if self.total >= 2 else torch.tensor(torch.nan, device=self.residual.device)
