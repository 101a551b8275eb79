"""What all tests share: real data where there are some, and quiet, seeded, two-threaded torch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def real_data_dir() -> Path:
    """The folder with the real data sets; the test is skipped where DLZOO_DATA_DIR names none."""
    folder = os.environ.get("DLZOO_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DLZOO_DATA_DIR names no folder with real data")
    return Path(folder)
