"""Linear-chain conditional random fields: against sums over all sequences of tags."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from dlzoo.layers.crf import CRF

NUM_TAGS = 3
LENGTHS = (4, 1, 3)


def field() -> CRF:
    torch.manual_seed(0)
    crf = CRF(NUM_TAGS).double()
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.normal_()
    return crf


def batch() -> tuple[Tensor, Tensor]:
    """Emissions, also of padding, and the mask."""
    emissions = torch.randn(len(LENGTHS), max(LENGTHS), NUM_TAGS, dtype=torch.float64)
    return emissions, torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]


def score(crf: CRF, emissions: Tensor, tags: tuple[int, ...]) -> Tensor:
    """Of one sentence, term by term."""
    total = crf.start[tags[0]] + crf.end[tags[-1]]
    for t, tag in enumerate(tags):
        total = total + emissions[t, tag] + (crf.transitions[tags[t - 1], tag] if t else 0)
    return total


def every(length: int) -> list[tuple[int, ...]]:
    return [*itertools.product(range(NUM_TAGS), repeat=length)]


def test_the_partition_function_is_the_sum_over_all_sequences() -> None:
    crf, (emissions, mask) = field(), batch()
    found = crf.log_partition(emissions, mask)
    for i, length in enumerate(LENGTHS):
        scores = torch.stack([score(crf, emissions[i], tags) for tags in every(length)])
        torch.testing.assert_close(found[i], scores.logsumexp(0))


def test_scores_are_sums_of_emissions_and_transitions_whatever_the_padding() -> None:
    crf, (emissions, mask) = field(), batch()
    for garbage in (0, 2, -100):
        tags = torch.randint(NUM_TAGS, mask.shape)
        found = crf.score(emissions, tags.where(mask, garbage), mask)
        for i, length in enumerate(LENGTHS):
            torch.testing.assert_close(found[i], score(crf, emissions[i], tuple(tags[i, :length].tolist())))


def test_probabilities_of_all_sequences_add_up_to_one() -> None:
    crf, (emissions, _) = field(), batch()
    tags = torch.tensor(every(4))
    same = emissions[:1].expand(len(tags), -1, -1)
    total = crf.log_likelihood(same, tags, torch.ones_like(tags, dtype=torch.bool)).exp().sum()
    torch.testing.assert_close(total, torch.ones((), dtype=torch.float64))


def test_decoding_finds_the_best_of_all_sequences() -> None:
    crf = field()
    for seed in range(20):
        torch.manual_seed(seed)
        emissions, mask = batch()
        found = crf.decode(emissions, mask)
        for i, length in enumerate(LENGTHS):
            best = max(every(length), key=lambda tags: float(score(crf, emissions[i], tags)))
            assert tuple(found[i, :length].tolist()) == best
            assert not found[i, length:].any()


def test_transitions_change_what_is_decoded() -> None:
    """Otherwise decoding each word on its own would pass the tests above."""
    crf, mask = field(), torch.ones(1, 4, dtype=torch.bool)
    emissions = [torch.randn(1, 4, NUM_TAGS, dtype=torch.float64) for _ in range(20)]
    assert any(not torch.equal(crf.decode(each, mask), each.argmax(2)) for each in emissions)


def test_padding_and_company_change_nothing() -> None:
    crf, (emissions, mask) = field(), batch()
    tags = torch.randint(NUM_TAGS, mask.shape)
    together = crf.log_likelihood(emissions, tags, mask)
    decoded = crf.decode(emissions, mask)
    for i, length in enumerate(LENGTHS):
        alone = emissions[i : i + 1, :length], tags[i : i + 1, :length], mask[i : i + 1, :length]
        torch.testing.assert_close(crf.log_likelihood(*alone)[0], together[i])
        assert torch.equal(crf.decode(alone[0], alone[2])[0], decoded[i, :length])
    garbage = emissions.masked_fill(~mask[..., None], 1e9)
    torch.testing.assert_close(crf.log_likelihood(garbage, tags, mask), together)


def test_gradients_are_those_of_finite_differences() -> None:
    crf, (emissions, mask) = field(), batch()
    tags = torch.randint(NUM_TAGS, mask.shape)

    def likelihood(emissions: Tensor, *parameters: Tensor) -> Tensor:
        names = [name for name, _ in crf.named_parameters()]
        arguments = (emissions, tags, mask)
        return torch.func.functional_call(
            _Likelihood(crf), dict(zip([f"crf.{n}" for n in names], parameters, strict=True)), arguments
        )

    assert torch.autograd.gradcheck(likelihood, (emissions.requires_grad_(), *crf.parameters()))


def test_the_gradient_of_the_partition_function_holds_the_marginals() -> None:
    crf, (emissions, mask) = field(), batch()
    emissions.requires_grad_()
    (marginals,) = torch.autograd.grad(crf.log_partition(emissions, mask).sum(), emissions)
    torch.testing.assert_close(marginals.sum(2), mask.double())
    weights = torch.stack([score(crf, emissions[2], tags) for tags in every(3)]).softmax(0)
    second = torch.tensor([tags[1] for tags in every(3)])
    expected = torch.stack([weights[second == k].sum() for k in range(NUM_TAGS)])
    torch.testing.assert_close(marginals[2, 1], expected)


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_large_scores_do_not_overflow(scale: float) -> None:
    crf, (emissions, mask) = field().float(), batch()
    loss = -crf.log_likelihood(emissions.float() * scale, torch.zeros(mask.shape, dtype=torch.long), mask)
    assert loss.isfinite().all()
    assert (loss >= -1e-2).all()


class _Likelihood(torch.nn.Module):
    def __init__(self, crf: CRF) -> None:
        super().__init__()
        self.crf = crf

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        return self.crf.log_likelihood(emissions, tags, mask)
