"""Look into a trained classifier: ``python scripts/inspect.py ckpt=<run>/checkpoints/best.ckpt``; --help says more."""

import os
import sys

# A checkout need not be installed; and this folder must go at once: who imports Python's own `inspect`, as dataclasses
# do, would get this file. Hence here and in the other scripts os, which Python has loaded already, and not pathlib.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from dlzoo.commands.inspect_model import main

if __name__ == "__main__":
    main()
