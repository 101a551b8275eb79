"""Train a model: ``dlzoo train model=lenet data=mnist``, in a checkout also ``python train.py …``."""

from __future__ import annotations

from dlzoo import sweep
from dlzoo.training import launch


def main() -> None:
    """One run, or with ``-m`` a sweep of many."""
    launch.main(sweep)


if __name__ == "__main__":
    main()
