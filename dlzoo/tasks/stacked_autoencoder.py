"""Stacked autoencoders: one layer learns after another, then the whole.

Y. Bengio, P. Lamblin, D. Popovici, H. Larochelle, "Greedy Layer-Wise Training of Deep Networks", NeurIPS 2006.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.errors import SpecError, UserError
from dlzoo.nets.base import LayeredEncoderDecoder
from dlzoo.specs.batch import Batch
from dlzoo.tasks.autoencoder import Autoencoding


class StackedAutoencoding(Autoencoding):
    """For nets whose ``decoder`` mirrors their ``encoder``, layer by layer.

    In its turn, a layer and its mirror learn to reconstruct what the layers below make of the picture, which stay as
    they are. The stage depends on the epoch alone, so a run can be continued. Validation is always of the whole.

    Args:
        pretrain_epochs: of each layer; the rest of trainer.max_epochs is for the whole.
    """

    net_type = LayeredEncoderDecoder
    has_parts = True

    def __init__(self, *args: Any, pretrain_epochs: int = 3, **options: Any) -> None:
        super().__init__(*args, **options)
        if pretrain_epochs < 0:
            raise UserError(f"task.pretrain_epochs={pretrain_epochs} must not be negative")
        self.pretrain_epochs = pretrain_epochs
        there, back = sizes(self.net.encoder), sizes(self.net.decoder)
        if not there or [size[::-1] for size in reversed(back)] != there:
            raise SpecError(
                f"a layer learns together with its mirror, but the encoder's layers are {there} and the decoder's "
                f"{back}: set net.decoder=null"
            )

    @property
    def stage(self) -> int:
        """The layer that learns now, from 0; as many as there are layers when it is the whole."""
        num = len(self.net.encoder)
        return min(self.current_epoch // self.pretrain_epochs, num) if self.pretrain_epochs else num

    def diagnostics(self) -> Iterator[str]:
        yield from super().diagnostics()
        needed = self.pretrain_epochs * len(self.net.encoder)
        if self.stage < len(self.net.encoder) and 0 <= (self.trainer.max_epochs or -1) <= needed:
            yield (
                f"the whole net never learns: its layers alone take {needed} epochs, and trainer.max_epochs is "
                f"{self.trainer.max_epochs}; raise it, or lower task.pretrain_epochs={self.pretrain_epochs}"
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        stage = self.stage
        if stage == len(self.net.encoder):
            return super().training_step(batch, batch_idx)
        x = batch[0]
        with torch.no_grad():
            below = self.net.encoder[:stage]
            given, wanted = (below(self.standardize(t).flatten(1)) for t in (self.corrupt(x), x))
        codes = self.net.encoder[stage](given)
        made = self.net.decoder[-1 - stage](codes)
        loss = self.loss(made.view_as(x), x) if stage == 0 else F.mse_loss(made, wanted)
        self.log_step(len(x), loss=loss)
        return loss


def sizes(part: nn.Module) -> list[tuple[int, int]]:
    """Inputs and outputs of each layer."""
    return [(layer.in_features, layer.out_features) for layer in part.modules() if isinstance(layer, nn.Linear)]
