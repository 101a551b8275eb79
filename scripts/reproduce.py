"""Run experiments over seeds and write RESULTS.md: ``python scripts/reproduce.py mlp_wine --seeds 10``."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # a checkout need not be installed

from dlzoo.reproduce import main

if __name__ == "__main__":
    main()
