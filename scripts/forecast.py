"""Forecast a series: ``python scripts/forecast.py ckpt=<run>/checkpoints/best.ckpt input=recent.csv``; see --help."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # a checkout need not be installed

from dlzoo.commands.forecast import main

if __name__ == "__main__":
    main()
