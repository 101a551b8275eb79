"""Features of a frozen backbone, computed once and cached, so that epochs train only the head."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor

from dlzoo.data.base import DataModule, InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.errors import UserError
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch


class CachedFeatures(InMemoryData):
    """The training and validation rows of a data module with features (N, F) float32 as inputs.

    Args:
        data: after ``setup("fit")``.
        features: inputs (B, …) of a prepared batch -> (B, F).
        device: where ``features`` is computed.
        context: entered around each call, for autocast.
    """

    def __init__(
        self,
        data: DataModule,
        features: Callable[[Tensor], Tensor],
        *,
        device: torch.device,
        context: Callable[[], AbstractContextManager[object]],
    ) -> None:
        if data.augment is not None:
            raise UserError(
                "cache_features=true processes each image once, but data.augment changes it in every epoch: use "
                "augment=none or cache_features=false"
            )
        super().__init__(batch_size=data.batch_size, eval_batch_size=data.eval_batch_size, seed=data.seed)
        self.data = data
        self.spec = data.spec
        for split in ("train", "val"):
            parts = []
            for batch in data.batches(split):
                x, y, weight = data.prepared(batch.map(lambda t: t.to(device)))
                with torch.inference_mode(), context():
                    parts.append(Batch(features(x).float(), y, weight).map(Tensor.cpu))
            columns = zip(*parts, strict=True)
            self._arrays[split] = Arrays(*(None if column[0] is None else torch.cat(column) for column in columns))

    def declare(self) -> Spec:
        return self.data.declare()

    def load(self, split: Literal["train", "test"]) -> Arrays:
        raise NotImplementedError("rows are loaded when the features are computed")
