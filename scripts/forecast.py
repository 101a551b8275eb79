"""Forecast a series: ``python scripts/forecast.py ckpt=<run>/checkpoints/best.ckpt input=recent.csv``; see --help."""

from dlzoo.commands.forecast import main

if __name__ == "__main__":
    main()
