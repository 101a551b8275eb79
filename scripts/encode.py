"""Write the codes of pictures: ``python scripts/encode.py ckpt=<run>/checkpoints/best.ckpt``; see --help."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # a checkout need not be installed

from dlzoo.encode import main

if __name__ == "__main__":
    main()
