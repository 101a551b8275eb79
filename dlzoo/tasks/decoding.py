"""The most probable output of a net that writes token sequences: greedily, or by beam search.

Beam search with the length penalty of Y. Wu et al., "Google's Neural Machine Translation System", 2016, eq. 14, without
its coverage penalty.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.losses.functional import widen
from dlzoo.nets.base import Encoded, TransducerNet
from dlzoo.specs.token_sequences import END, START
from dlzoo.specs.tokenizer import PAD, UNKNOWN


class Outputs(NamedTuple):
    """tokens: (B, T) int64, each row up to its END, then padding; scores: (B,) their log-probabilities, penalised."""

    tokens: Tensor
    scores: Tensor


def greedy(net: TransducerNet, x: Tensor, max_length: int) -> Outputs:
    """The most probable token at each step. x: (B, S) token ids.

    Args:
        max_length: tokens without END; longer outputs are cut.
    """
    encoded, token = net.encode(x), x.new_full((len(x), 1), START)
    total, is_over = torch.zeros(len(x), device=x.device), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    tokens = []
    for _ in range(max_length + 1):
        scores, encoded = _next(net, token, encoded)
        best = scores.max(1)
        total += best.values.masked_fill(is_over, 0)
        tokens.append(best.indices.masked_fill(is_over, PAD))
        is_over = is_over | (best.indices == END)
        token = tokens[-1][:, None]
        if is_over.all():
            break
    return Outputs(torch.stack(tokens, 1), total)


def beam_search(
    net: TransducerNet, x: Tensor, max_length: int, *, beam_size: int, length_penalty: float = 0.0
) -> Outputs:
    """The best of ``beam_size`` outputs, whose beginnings had the highest probabilities at each step.

    An output ends when END is among the ``beam_size`` most probable continuations; a row is over when so many outputs
    have ended and no other one is better so far.

    Args:
        max_length: tokens without END; longer outputs are cut.
        length_penalty: alpha; log-probabilities are divided by ((5 + T) / 6)^alpha, T with END.
    """
    rows = len(x)
    encoded = net.encode(x).take(torch.arange(rows, device=x.device).repeat_interleave(beam_size))
    first = torch.arange(rows, device=x.device)[:, None] * beam_size
    alive = torch.zeros(rows, beam_size, device=x.device)
    alive[:, 1:] = -torch.inf  # at first all beams are the same
    written = x.new_full((rows, beam_size, 0), PAD)
    best, tokens = alive.new_full((rows,), -torch.inf), x.new_full((rows, max_length + 1), PAD)
    num_ended, is_over = x.new_zeros(rows), torch.zeros(rows, dtype=torch.bool, device=x.device)
    token = x.new_full((rows * beam_size, 1), START)
    for step in range(max_length + 1):
        scores, encoded = _next(net, token, encoded)
        num_tokens, penalty = scores.shape[1], ((6 + step) / 6) ** length_penalty
        totals = (alive[:, :, None] + scores.view(rows, beam_size, -1)).flatten(1)
        found = totals.topk(min(2 * beam_size, totals.shape[1]), dim=1)
        origin, new = found.indices // num_tokens, found.indices % num_tokens
        candidates = torch.cat([written.gather(1, origin[:, :, None].expand(-1, -1, step)), new[:, :, None]], 2)
        ends = ((new == END) | (step == max_length)) & (found.values > -torch.inf) & ~is_over[:, None]
        ends[:, beam_size:] = False
        ended = (found.values / penalty).masked_fill(~ends, -torch.inf).max(1)
        is_better = ended.values > best
        chosen = candidates[torch.arange(rows, device=x.device), ended.indices]
        tokens = torch.where(is_better[:, None], F.pad(chosen, (0, max_length - step), value=PAD), tokens)
        best, num_ended = torch.where(is_better, ended.values, best), num_ended + ends.sum(1)
        alive, going = found.values.masked_fill(new == END, -torch.inf).topk(beam_size, dim=1)
        is_over = is_over | ((num_ended >= beam_size) & (alive[:, 0] / penalty <= best))
        if is_over.all():
            break
        written = candidates.gather(1, going[:, :, None].expand(-1, -1, step + 1))
        token = written[:, :, -1].reshape(-1, 1)
        encoded = encoded.with_state_of((first + origin.gather(1, going)).flatten())
    return Outputs(tokens[:, : int((tokens != PAD).sum(1).max())], best)


def _next(net: TransducerNet, token: Tensor, encoded: Encoded) -> tuple[Tensor, Encoded]:
    """Log-probabilities (B, V) of the token after this one (B, 1); padding, unknown tokens and START are never
    written."""
    logits, encoded, _ = net.decode(token, encoded)
    scores = widen(logits[:, 0]).clone()
    scores[:, [PAD, UNKNOWN, START]] = -torch.inf
    return scores.log_softmax(1), encoded
