"""Run experiments over seeds and write RESULTS.md: ``python scripts/reproduce.py mlp_wine --seeds 10``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dlzoo.reproduce import main

if __name__ == "__main__":
    main()
