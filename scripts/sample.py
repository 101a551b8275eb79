"""Make new pictures: ``python scripts/sample.py ckpt=<run>/checkpoints/best.ckpt n=64``; see --help."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # a checkout need not be installed

from dlzoo.sample import main

if __name__ == "__main__":
    main()
