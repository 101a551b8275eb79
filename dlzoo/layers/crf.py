"""A linear-chain conditional random field: a score for each tag of each word and for each pair of neighbouring tags.

J. Lafferty, A. McCallum, F. Pereira, "Conditional Random Fields", 2001; on top of a net: Z. Huang, W. Xu, K. Yu,
"Bidirectional LSTM-CRF Models for Sequence Tagging", 2015. The probability of a sequence of tags y is
exp(score(y)) / Z, where score(y) = start[y_1] + sum_t emission[t, y_t] + sum_t transition[y_t-1, y_t] + end[y_L].

Emissions are (B, L, K), and masks (B, L), true for the words of a sentence, which come before its padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MAX_START = 0.1
"""Transitions start between minus this and this."""


class CRF(nn.Module):
    """Args:
    num_tags: K.
    """

    def __init__(self, num_tags: int) -> None:
        super().__init__()
        self.num_tags = num_tags
        self.start = nn.Parameter(torch.empty(num_tags))
        self.end = nn.Parameter(torch.empty(num_tags))
        self.transitions = nn.Parameter(torch.empty(num_tags, num_tags))
        """From the row's tag to the column's."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -MAX_START, MAX_START)

    def score(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """The score of each sequence of tags, (B,). tags: (B, L), anything where the mask is false."""
        tags = tags.where(mask, 0)
        each = emissions.gather(2, tags[..., None]).squeeze(2).where(mask, 0.0).sum(1)
        pairs = self.transitions[tags[:, :-1], tags[:, 1:]].where(mask[:, 1:], 0.0).sum(1)
        last = tags.gather(1, mask.sum(1, keepdim=True) - 1).squeeze(1)
        return self.start[tags[:, 0]] + each + pairs + self.end[last]

    def log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """log Z, the logarithm of the sum over all sequences of tags, by the forward algorithm, (B,)."""
        forward = self.start + emissions[:, 0]
        for t in range(1, emissions.shape[1]):
            after = (forward[:, :, None] + self.transitions).logsumexp(1) + emissions[:, t]
            forward = torch.where(mask[:, t, None], after, forward)
        return (forward + self.end).logsumexp(1)

    def log_likelihood(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """log P(tags), (B,)."""
        return self.score(emissions, tags, mask) - self.log_partition(emissions, mask)

    def decode(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """The most probable sequence of tags, by the Viterbi algorithm, (B, L) int64; 0 where the mask is false."""
        best = self.start + emissions[:, 0]
        before: list[Tensor] = []
        stay = torch.arange(self.num_tags, device=emissions.device).expand(len(emissions), -1)
        for t in range(1, emissions.shape[1]):
            after, origin = (best[:, :, None] + self.transitions).max(1)
            best = torch.where(mask[:, t, None], after + emissions[:, t], best)
            before.append(torch.where(mask[:, t, None], origin, stay))  # a padded step leaves the tag as it is
        tags = [(best + self.end).argmax(1)]
        for origin in reversed(before):
            tags.append(origin.gather(1, tags[-1][:, None]).squeeze(1))
        return torch.stack(tags[::-1], dim=1).where(mask, 0)
