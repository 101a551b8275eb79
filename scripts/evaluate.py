"""Test a checkpoint again: ``python scripts/evaluate.py ckpt=<run>/checkpoints/best.ckpt``; --help says more."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # a checkout need not be installed

from dlzoo.evaluate import main

if __name__ == "__main__":
    main()
