"""Take a step again whose numbers were not finite: ``python scripts/rerun_step.py ckpt=<run>/nonfinite.ckpt``."""

import os
import sys

# A checkout need not be installed; and this folder must go at once, for its inspect.py is not Python's.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from dlzoo.commands.rerun_step import main

if __name__ == "__main__":
    main()
