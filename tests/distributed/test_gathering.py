"""What a rank goes on with, when the number of ranks is another than before."""

from __future__ import annotations

import pytest
import torch

from dlzoo.distributed import collectives as gathering
from dlzoo.errors import UserError
from dlzoo.utils import rng as random_state


def test_with_as_many_ranks_each_goes_on_with_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "rank_and_world", lambda: (1, 2))
    stored = [{"random": 0, "means": {}, "carried": {}}, {"random": 1, "means": {}, "carried": {}}]
    assert gathering.own_of(stored) is stored[1]


@pytest.mark.parametrize("rank", [0, 1])
def test_with_another_number_the_first_goes_on_with_the_means_of_all(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = [
        {"random": 0, "means": {"loss": [torch.tensor(6.0), 3]}, "carried": {"state": torch.ones(1)}},
        {"random": 1, "means": {"loss": [torch.tensor(1.0), 2], "kl": [None, 0]}, "carried": {}},
    ]
    monkeypatch.setattr(gathering, "rank_and_world", lambda: (rank, 3))
    means = {"loss": [torch.tensor(7.0), 5], "kl": [torch.tensor(0.0), 0]} if rank == 0 else {}
    assert gathering.own_of(stored) == {"random": None, "means": means, "carried": {}}


def test_ranks_begin_with_random_numbers_of_their_own() -> None:
    def drawn(rank: int) -> float:
        torch.manual_seed(5)
        random_state.differ(rank)
        return float(torch.rand(()))

    alone = float(torch.rand((), generator=torch.Generator().manual_seed(5)))
    assert drawn(0) == alone  # one process is not disturbed
    assert len({drawn(rank) for rank in range(4)}) == 4


def test_ranks_that_found_different_checkpoints_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "gathered", lambda step: [step, 0])
    gathering.check_together(0)
    with pytest.raises(UserError, match=r"different steps, \[12, 0\]"):
        gathering.check_together(12)
