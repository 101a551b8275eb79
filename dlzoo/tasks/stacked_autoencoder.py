"""Stacked autoencoders: greedy layer-wise pretraining, then joint training.

Y. Bengio, P. Lamblin, D. Popovici, H. Larochelle, "Greedy Layer-Wise Training of Deep Networks", NeurIPS 2006.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.errors import SpecError, at_least
from dlzoo.nets.base import LayeredEncoderDecoder
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.tasks.autoencoder import Autoencoding


class StackedAutoencoding(Autoencoding):
    """For nets whose ``decoder`` mirrors their ``encoder``, layer by layer.

    In each stage, a layer and its mirror learn to reconstruct the features of the layers below, which stay
    frozen. The stage depends only on the epoch, so a run can be resumed. Validation always uses the whole net.

    Args:
        pretrain_epochs: epochs per layer; the rest of trainer.max_epochs trains the whole net.
    """

    net_type = LayeredEncoderDecoder
    net: LayeredEncoderDecoder
    has_parts = True

    def __init__(self, net: LayeredEncoderDecoder, spec: Spec, *, pretrain_epochs: int = 3, **options: Any) -> None:
        super().__init__(net, spec, **options)
        at_least(0, "task", pretrain_epochs=pretrain_epochs)
        self.pretrain_epochs = pretrain_epochs
        encoder_sizes, decoder_sizes = sizes(self.net.encoder), sizes(self.net.decoder)
        if not encoder_sizes or [size[::-1] for size in reversed(decoder_sizes)] != encoder_sizes:
            raise SpecError(
                f"layers are trained with their mirrors, but the encoder's are {encoder_sizes} and the decoder's "
                f"{decoder_sizes}: set net.decoder=null"
            )

    @property
    def stage(self) -> int:
        """Index of the layer being pretrained; the number of layers once the whole net is trained."""
        num = len(self.net.encoder)
        return min(self.current_epoch // self.pretrain_epochs, num) if self.pretrain_epochs else num

    def diagnostics(self) -> Iterator[str]:
        yield from super().diagnostics()
        needed = self.pretrain_epochs * len(self.net.encoder)
        if self.stage < len(self.net.encoder) and 0 <= (self.trainer.max_epochs or -1) <= needed:
            yield (
                f"the whole net is never trained: pretraining takes {needed} epochs, and trainer.max_epochs is "
                f"{self.trainer.max_epochs}; raise it, or lower task.pretrain_epochs={self.pretrain_epochs}"
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        stage = self.stage
        if stage == len(self.net.encoder):
            return super().training_step(batch, batch_idx)
        x = batch[0]
        with torch.no_grad():
            below = self.net.encoder[:stage]
            inputs, targets = (below(self.standardize(t).flatten(1)) for t in (self.corrupt(x), x))
        latents = self.net.encoder[stage](inputs)
        outputs = self.net.decoder[-1 - stage](latents)
        loss = self.loss(outputs.view_as(x), x) if stage == 0 else F.mse_loss(outputs, targets)
        self.log_step(len(x), loss=loss)
        return loss


def sizes(part: nn.Module) -> list[tuple[int, int]]:
    """(inputs, outputs) of each layer."""
    return [(layer.in_features, layer.out_features) for layer in part.modules() if isinstance(layer, nn.Linear)]
