"""A conditional random field's decoding as a loop over time, for export; see dlzoo/export/scan_rnn.py."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlzoo.layers.crf import CRF


class ScannedCRF(nn.Module):
    """Decodes as a `CRF` does."""

    def __init__(self, crf: CRF) -> None:
        super().__init__()
        self.crf = crf

    def decode(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """As `CRF.decode`: forwards with the best tag before each tag, and backwards along these."""
        from torch._higher_order_ops.scan import scan  # not public yet, but torch.export and its ONNX know it

        start, transitions, end = (p.detach() for p in (self.crf.start, self.crf.transitions, self.crf.end))
        steps = emissions.detach().transpose(0, 1)
        stay = torch.arange(self.crf.num_tags, device=emissions.device).expand(emissions.shape[0], -1)
        is_first = (torch.arange(emissions.shape[1], device=emissions.device) == 0)[:, None, None]
        real = mask.transpose(0, 1)[..., None]

        def forward(best: Tensor, moment: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            emission, first, is_real = moment
            paths = best[:, :, None] + transitions
            after = torch.where(first, start, paths.amax(1)) + emission
            origin = torch.where(is_real & ~first, paths.argmax(1), stay)
            return torch.where(is_real, after, best), origin

        def backward(tag: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
            return origin.gather(1, tag), tag.clone()

        best, origins = scan(forward, torch.zeros_like(steps[0]), (steps, is_first, real))
        last = (best + end).argmax(1, keepdim=True)
        _, tags = scan(backward, last, origins, reverse=True)
        return tags.squeeze(2).transpose(0, 1).where(mask, 0)
