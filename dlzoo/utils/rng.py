"""The random-number state of a process as plain data, so that a resumed run draws the same numbers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

State = dict[str, Any]


def capture() -> State:
    """The state of Python, NumPy and PyTorch, on the CPU and the current GPU."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002  # libraries may use the global state
    state: State = {
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore(state: State) -> None:
    """Restore a captured state: the same numbers are drawn as after `capture`."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


def offset_seed(rank: int) -> None:
    """Reseed by rank, so that ranks draw different numbers from here on; before, all drew the same, as for weights."""
    if rank:
        seed = torch.initial_seed() + rank
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
