"""Fixed filters on a picture: ``python scripts/filter_image.py input=photo.png kernel=sobel``; --help says more."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # a checkout need not be installed

from dlzoo.filter_image import main

if __name__ == "__main__":
    main()
