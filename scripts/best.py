"""The command that reproduces the winner of a sweep: ``python scripts/best.py <sweep folder>``; see --help."""

import os
import sys

# A checkout need not be installed; and this folder must go at once, for its inspect.py is not Python's.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from dlzoo.commands.best import main

if __name__ == "__main__":
    main()
