"""The random numbers of a process as plain data, so that a continued run draws what it would have drawn."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

State = dict[str, Any]


def capture() -> State:
    """Of Python, NumPy and PyTorch, on the CPU and on the current GPU."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002  # what libraries may draw from
    state: State = {
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore(state: State) -> None:
    """Draw from here on what was drawn after `capture`."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


def differ(rank: int) -> None:
    """Other numbers on each rank from here on: until then all have drawn the same, such as the weights."""
    if rank:
        seed = torch.initial_seed() + rank
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
