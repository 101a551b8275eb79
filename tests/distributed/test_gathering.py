"""The state that a rank resumes from, also when the number of ranks has changed."""

from __future__ import annotations

import pytest
import torch

from dlzoo.distributed import collectives as gathering
from dlzoo.errors import UserError
from dlzoo.utils import rng as random_state


def test_with_the_same_number_of_ranks_each_resumes_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "rank_and_world", lambda: (1, 2))
    stored = [{"random": 0, "means": {}, "carried": {}}, {"random": 1, "means": {}, "carried": {}}]
    assert gathering.local_state(stored) is stored[1]


@pytest.mark.parametrize("rank", [0, 1])
def test_with_another_number_of_ranks_the_first_takes_over_all_means(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = [
        {"random": 0, "means": {"loss": [torch.tensor(6.0), 3]}, "carried": {"state": torch.ones(1)}},
        {"random": 1, "means": {"loss": [torch.tensor(1.0), 2], "kl": [None, 0]}, "carried": {}},
    ]
    monkeypatch.setattr(gathering, "rank_and_world", lambda: (rank, 3))
    means = {"loss": [torch.tensor(7.0), 5], "kl": [torch.tensor(0.0), 0]} if rank == 0 else {}
    assert gathering.local_state(stored) == {"random": None, "means": means, "carried": {}}


def test_ranks_start_with_different_random_numbers() -> None:
    def drawn(rank: int) -> float:
        torch.manual_seed(5)
        random_state.offset_seed(rank)
        return float(torch.rand(()))

    alone = float(torch.rand((), generator=torch.Generator().manual_seed(5)))
    assert drawn(0) == alone  # a single process is not affected
    assert len({drawn(rank) for rank in range(4)}) == 4


def test_ranks_that_resume_from_different_steps_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "gather_objects", lambda step: [step, 0])
    gathering.check_same_step(0)
    with pytest.raises(UserError, match=r"different steps, \[12, 0\]"):
        gathering.check_same_step(12)
