"""Try every model in every format of scripts/export.py: ``python scripts/export_matrix.py``; see --help."""

import os
import sys

# A checkout need not be installed; and this folder must go at once, for its inspect.py is not Python's.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from dlzoo.export.matrix import main

if __name__ == "__main__":
    main()
