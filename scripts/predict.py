"""Predict on new inputs: ``python scripts/predict.py ckpt=<run>/checkpoints/best.ckpt input=photo.png``; see --help."""

import os
import sys

# A checkout need not be installed; and this folder must go at once, for its inspect.py is not Python's.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from dlzoo.commands.predict import main

if __name__ == "__main__":
    main()
