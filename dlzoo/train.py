"""One run from config to results: ``python train.py model=lenet data=mnist``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlzoo.training.launch import main

if TYPE_CHECKING:
    pass

# torch, lightning and all that needs them are imported in run(): a typo and --help answer without them.


if __name__ == "__main__":
    main()
