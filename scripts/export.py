"""Take a trained model out of the house: ``python scripts/export.py ckpt=<run>/checkpoints/best.ckpt``; see --help."""

import os
import sys

# A checkout need not be installed; and this folder must go at once, for its inspect.py is not Python's.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from dlzoo.commands.export import main

if __name__ == "__main__":
    main()
